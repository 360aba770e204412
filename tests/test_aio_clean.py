"""The async pool's connections come back as clean as the sync pool's, by the same rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from pliers_db.aio import AsyncConnection, AsyncDatabase
from pliers_db.aio.connection import PooledCursor
from pliers_db.config import PoolSettings, Target
from pliers_db.db import connect
from tests.fix_aio import in_a_loop
from tests.test_pool_clean import DEEDS

ONE = PoolSettings(min_size=1, max_size=1, checkout_timeout=10.0)


async def value(database: AsyncDatabase, query: Any) -> Any:
    async with database.connection(autocommit=True) as conn:
        row = await (await conn.execute(query)).fetchone()
        return row[0] if row else None


@pytest.mark.parametrize("deed", DEEDS)
@in_a_loop
async def test_the_next_task_does_not_see(deed: str, target: Target) -> None:
    statement, question, answer = DEEDS[deed]
    async with AsyncDatabase(target, ONE) as database:
        async with database.connection(autocommit=True) as conn:
            first = conn.info.backend_pid
            await conn.execute(statement)  # type: ignore[arg-type]
        assert await value(database, question) == answer
        assert await value(database, "select pg_backend_pid()") == first, "it was cleaned, not thrown away"


@pytest.mark.parametrize("deed", ["a setting", "an advisory lock", "a temporary table"])
@in_a_loop
async def test_not_even_after_a_cancellation(deed: str, target: Target) -> None:
    statement, question, answer = DEEDS[deed]
    async with AsyncDatabase(target, ONE) as database:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), database.connection(autocommit=True) as conn:
                await conn.execute(statement)  # type: ignore[arg-type]
                await conn.execute("select pg_sleep(600)")
        assert await value(database, question) == answer


def _settings(conn: AsyncConnection) -> None:
    conn._isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    conn._autocommit = False
    conn.row_factory = dict_row
    conn.cursor_factory = psycopg.AsyncClientCursor
    conn.prepare_threshold = None


def _adapters(conn: AsyncConnection) -> None:
    set_json_loads(lambda _: "eve", conn)


def _handlers(conn: AsyncConnection) -> None:
    conn.add_notice_handler(lambda _: pytest.fail("a handler of the last borrower was called"))


@pytest.mark.parametrize("change", [_settings, _adapters, _handlers])
@in_a_loop
async def test_the_object_is_as_new(change: Callable[[AsyncConnection], None], target: Target) -> None:
    async with AsyncDatabase(target, ONE) as database:
        async with database.connection(autocommit=True) as conn:
            change(conn)
        async with database.connection(autocommit=True) as conn:
            assert conn.autocommit
            assert conn.isolation_level is None
            assert conn.prepare_threshold == 5
            assert type(conn.cursor()) is PooledCursor
            assert await (await conn.execute("select '[1]'::json")).fetchone() == ([1],)
            await conn.execute("do $$ begin raise notice 'hello'; end $$")


@in_a_loop
async def test_prepared_statements_go_on_working_over_many_checkouts(target: Target) -> None:
    async with AsyncDatabase(target, ONE) as database:
        for number in range(20):
            assert await value(database, f"select {number % 2} + 1") == number % 2 + 1


@in_a_loop
async def test_a_connection_that_was_closed_or_left_busy_is_replaced(target: Target) -> None:
    async with AsyncDatabase(target, ONE) as database:
        for deed in ("close", "leave busy"):
            async with database.connection(autocommit=True) as conn:
                first = conn.info.backend_pid
                if deed == "close":
                    await conn.close()
                else:
                    conn.pgconn.send_query(b"select pg_sleep(30)")
            assert await value(database, "select pg_backend_pid()") != first
        assert database.stats().size == 1


@in_a_loop
async def test_news_for_the_last_listener_do_not_reach_the_next_one(target: Target) -> None:
    async with AsyncDatabase(target, ONE) as database:
        async with database.connection(autocommit=True) as conn:
            await conn.execute("listen news")
            with connect(target) as outside:
                outside.execute("notify news")
        async with database.connection(autocommit=True) as conn:
            await conn.execute("select 1")
            assert [note async for note in conn.notifies(timeout=0.1)] == []
