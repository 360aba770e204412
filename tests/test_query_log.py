"""Statements are logged by name, with what it takes to understand them, and without anybody's secrets or data."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pliers_db.aio import AsyncConnection, AsyncDatabase
from pliers_db.aio import run_transaction as run_transaction_async
from pliers_db.config import PoolSettings, Secret, Target
from pliers_db.db import Connection, Database, RetryPolicy, load_queries, run_transaction
from pliers_db.errors import ConnectFailed
from pliers_db.log import JsonFormatter, configure_logging
from pliers_db.postgres import Server
from pliers_db.redaction import forget_secrets
from tests.fix_aio import in_a_loop
from tests.fix_tcp import tcp_target

LIMITS = PoolSettings(min_size=1, max_size=2, checkout_timeout=10.0, slow_query=0.1)
QUERY = "pliers_db.query"


class Keep(logging.Handler):
    """An application's handler."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """What reaches the handler of an application that asked for everything."""
    caplog.set_level(logging.DEBUG, logger="pliers_db")
    keep = Keep()
    logging.getLogger("pliers_db").addHandler(keep)
    yield keep.records
    logging.getLogger("pliers_db").removeHandler(keep)


def queries(records: list[logging.LogRecord]) -> list[Any]:
    return [record for record in records if record.name == QUERY]


def test_a_statement_is_logged_with_its_name_its_duration_and_the_wait_for_a_connection(
    target: Target, records: list[logging.LogRecord]
) -> None:
    stamp = load_queries("pliers_db.db", "stamp.sql")
    with Database(target, LIMITS) as database, database.connection() as conn:
        conn.execute("/* name=find_one */ select %s::int", [4711])
        conn.execute("-- name: find_two\nselect\n  2")
        conn.execute("select 3")
        conn.execute(stamp["read_stamp"]) if "read_stamp" in stamp else conn.execute(next(iter(stamp.values())))
    found = queries(records)
    assert [record.query for record in found[:3]] == ["find_one", "find_two", ""]
    assert found[3].query in stamp
    for record in found:
        assert record.levelno == logging.DEBUG
        assert record.duration_ms > 0
        assert record.pool_wait_ms > 0
        assert "4711" not in record.getMessage(), "parameters are other people's data"
    assert found[1].getMessage().startswith("-- name: find_two select 2 after")


def test_values_that_were_composed_into_a_statement_are_not_logged(
    target: Target, records: list[logging.LogRecord]
) -> None:
    with Database(target, LIMITS) as database, database.connection() as conn:
        conn.execute(sql.SQL("select {} as {}").format(sql.Literal("private"), sql.Identifier("column")))
        conn.execute(b"select 2")
    assert [record.getMessage().split(" after")[0] for record in queries(records)] == [
        'select ? as "column"',
        "select 2",
    ]


def test_a_slow_statement_is_a_warning_and_a_failed_one_tells_its_sqlstate(
    target: Target, records: list[logging.LogRecord]
) -> None:
    with Database(target, LIMITS) as database:
        with database.connection() as conn:
            conn.execute("select pg_sleep(0.15)")
        with pytest.raises(psycopg.errors.DivisionByZero), database.connection() as conn:
            conn.execute("select 1 / 0")
    slow, failed = queries(records)
    assert (slow.levelno, slow.getMessage()[:21]) == (logging.WARNING, "slow: select pg_sleep")
    assert slow.duration_ms >= 100
    assert (failed.levelno, failed.sqlstate) == (logging.INFO, "22012")


def test_slow_query_0_warns_of_nothing(target: Target, records: list[logging.LogRecord]) -> None:
    with Database(target, replace(LIMITS, slow_query=0.0)) as database, database.connection() as conn:
        conn.execute("select pg_sleep(0.15)")
    assert [record.levelno for record in queries(records)] == [logging.DEBUG]


def test_a_slow_commit_is_told_too(target: Target, records: list[logging.LogRecord]) -> None:
    with Database(target, LIMITS) as database:
        with database.connection() as conn:
            conn.execute(
                "create table t (n int); create function nap() returns trigger language plpgsql as"
                " $$ begin perform pg_sleep(0.15); return null; end $$;"
                " create constraint trigger late after insert on t deferrable initially deferred"
                " for each row execute function nap()"
            )
        with database.connection() as conn:
            conn.execute("insert into t values (1)")
    assert any(record.getMessage().startswith("slow: commit after") for record in queries(records))


def test_the_attempts_of_a_transaction_can_be_told_apart(target: Target, records: list[logging.LogRecord]) -> None:
    calls = 0

    def place_order(conn: Connection) -> None:
        nonlocal calls
        calls += 1
        conn.execute("select 1")
        if calls == 1:
            conn.execute("do $$ begin raise exception 'lost' using errcode = '40001'; end $$")

    with Database(target, LIMITS) as database:
        run_transaction(database, place_order, name="place_order", retry=RetryPolicy(base=0.001))
        with database.connection() as conn:
            conn.execute("select 2")
    found = queries(records)
    assert [(r.transaction, r.attempt) for r in found[:3]] == [("place_order", n) for n in (1, 1, 2)]
    assert found[1].sqlstate == "40001"
    assert not hasattr(found[3], "attempt")
    retried = next(record for record in records if record.name == "pliers_db.db.retry")
    assert (retried.attempt, retried.sqlstate) == (1, "40001")  # type: ignore[attr-defined]


@in_a_loop
async def test_tasks_are_logged_like_threads(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="pliers_db")

    async def work(conn: AsyncConnection) -> None:
        await conn.execute("/* name: first */ select 1")
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with conn.transaction():
                await conn.execute("select 1 / 0")
        await conn.execute("select pg_sleep(0.15)")

    async with AsyncDatabase(target, LIMITS) as database:
        await run_transaction_async(database, work, name="work")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), database.connection() as conn:
                await conn.execute("select pg_sleep(600)")
    first, failed, slow, cancelled = queries(caplog.records)
    assert (first.query, first.transaction, first.attempt) == ("first", "work", 1)
    assert failed.sqlstate == "22012"
    assert slow.levelno == logging.WARNING
    assert cancelled.getMessage().startswith("cancelled: ")


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def secret() -> Iterator[str]:
    forget_secrets()
    yield Secret("tell-nobody-2026!").reveal()
    forget_secrets()


def test_no_handler_of_an_application_sees_a_secret(secret: str, target: Target, password_server: Server) -> None:
    """Neither in a message nor in its arguments, extra fields or traceback."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with Database(target, LIMITS) as database:
            with database.connection() as conn:
                conn.execute(f"select '{secret}'")  # type: ignore[call-overload]
                conn.execute("/*" + "x" * 290 + f"*/ select '{secret}'")  # type: ignore[call-overload]
            for statement in (f"select '{secret}'::int", "alter role nobody_here password 'brand-new-secret'"):
                with pytest.raises(psycopg.Error), database.connection() as conn:
                    conn.execute(statement)  # type: ignore[call-overload]

            def fail(_: Connection) -> None:
                raise psycopg.OperationalError(f"password={secret}")

            with pytest.raises(psycopg.OperationalError):
                run_transaction(database, fail, name=secret, retries=1)
        with Database(tcp_target(password_server, password=secret)) as database:
            with pytest.raises(ConnectFailed), database.connection():
                pass
        logging.getLogger("pliers_db.db.supply").error("seen %s", secret, extra={"with": {"it": [secret]}})
        try:
            raise ValueError(secret)
        except ValueError:
            logging.getLogger("pliers_db.db.watchdog").exception("a job")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    text = written.getvalue()
    ours = [json.loads(line) for line in text.splitlines() if '"pliers_db' in line]
    assert {"pliers_db.query", "pliers_db.db.supply", "pliers_db.db.retry"} <= {entry["logger"] for entry in ours}
    for entry in ours:
        whole = json.dumps(entry)
        assert secret not in whole
        assert secret[:8] not in whole, "not even its first half"
        assert "brand-new-secret" not in whole


def test_json_lines_and_console(target: Target) -> None:
    for form in ("json", "text"):
        stream = io.StringIO()
        try:
            configure_logging({"PLIERS_LOG": form, "PLIERS_LOG_LEVEL": "debug"}, stream)
            with Database(target, LIMITS) as database, database.connection() as conn:
                conn.execute("/* name=hello */ select 1")
        finally:
            for name in ("pliers_db", "psycopg"):
                logger = logging.getLogger(name)
                logger.handlers.clear()
                logger.propagate = True
                logger.setLevel(logging.NOTSET)
        (line,) = [line for line in stream.getvalue().splitlines() if "hello" in line]
        if form == "json":
            entry = json.loads(line)
            assert (entry["logger"], entry["level"], entry["query"]) == (QUERY, "debug", "hello")
            assert entry["duration_ms"] > 0
        else:
            assert "debug pliers_db.query: /* name=hello */ select 1 after" in line
            assert "query=hello" in line
