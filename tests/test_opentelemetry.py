"""OpenTelemetry's own instrumentation of psycopg sees the statements of our pools; docs/database.md shows how."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from pliers_db.aio import AsyncConnection, AsyncDatabase
from pliers_db.aio import run_transaction as run_transaction_async
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Connection, Database, run_transaction
from tests.fix_aio import in_a_loop

ONE = PoolSettings(min_size=1, max_size=1, checkout_timeout=10.0)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What an application's tracer exports; psycopg is instrumented before the pool is opened."""
    for owner in (psycopg, psycopg.Connection, psycopg.AsyncConnection):
        # uninstrument() puts back a method that is bound to the base class: subclasses would no longer connect to
        # themselves. The end of the test puts back what stands here.
        monkeypatch.setattr(owner, "connect", vars(owner)["connect"])
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    PsycopgInstrumentor().instrument(tracer_provider=provider)
    yield exporter
    PsycopgInstrumentor().uninstrument()
    provider.shutdown()


def statements(spans: InMemorySpanExporter) -> list[tuple[object, bool]]:
    """Each span's statement, and whether it ended well."""

    def statement(span: ReadableSpan) -> object:
        assert span.attributes is not None
        return span.attributes.get("db.statement") or span.attributes.get("db.query.text")

    return [(statement(span), span.status.status_code is not StatusCode.ERROR) for span in spans.get_finished_spans()]


EXPECTED = [("select 1", True), ("select 2", True), ("select 1 / 0", False), ("select 3", True)]


def test_threads(target: Target, spans: InMemorySpanExporter) -> None:
    def work(conn: Connection) -> None:
        conn.execute("select 2")
        with pytest.raises(psycopg.errors.DivisionByZero), conn.transaction():
            conn.execute("select 1 / 0")

    with Database(target, ONE) as database:
        with database.connection() as conn:
            conn.execute("select 1")
            conn.row_factory = psycopg.rows.dict_row
        run_transaction(database, work)
        with database.connection(autocommit=True) as conn, conn.cursor() as cursor:
            assert cursor.execute("select 3").fetchone() == (3,)
        assert database.stats().connected == 1
    assert statements(spans) == EXPECTED


@in_a_loop
async def test_tasks(target: Target, spans: InMemorySpanExporter) -> None:
    async def work(conn: AsyncConnection) -> None:
        await conn.execute("select 2")
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with conn.transaction():
                await conn.execute("select 1 / 0")

    async with AsyncDatabase(target, ONE) as database:
        async with database.connection() as conn:
            await conn.execute("select 1")
        await run_transaction_async(database, work)
        async with database.connection(autocommit=True) as conn, conn.cursor() as cursor:
            await cursor.execute("select 3")
            assert await cursor.fetchone() == (3,)
        assert database.stats().connected == 1
    assert statements(spans) == EXPECTED
