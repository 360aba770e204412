"""Cancelled tasks lose no connection, leave no statement running, and are never kept waiting by a silent server."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace

import pytest

from pliers_db.aio import AsyncDatabase, connection, run_transaction
from pliers_db.config import PoolSettings, Target
from pliers_db.db import connect
from tests.fix_aio import eventually, in_a_loop
from tests.fix_proxy import FaultProxy

LIMITS = PoolSettings(min_size=1, max_size=4, checkout_timeout=30.0)


async def pid_of(database: AsyncDatabase) -> int:
    async with database.connection(autocommit=True) as conn:
        return conn.info.backend_pid


def running(target: Target) -> int:
    """How many of the pool's statements or transactions are under way on the server."""
    with connect(target, application_name="outside") as conn:
        row = conn.execute(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name = 'pliers-db' and state <> 'idle'"
        ).fetchone()
        assert row is not None
        return int(row[0])


@in_a_loop
async def test_a_timeout_ends_the_statement_on_the_server_and_keeps_the_connection(target: Target) -> None:
    async with AsyncDatabase(target, replace(LIMITS, max_size=1)) as database:
        pid = await pid_of(database)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                async with database.connection() as conn:
                    await conn.execute("create table never (n int)")
                    await conn.execute("select pg_sleep(600)")
        assert await pid_of(database) == pid
        assert running(target) == 0
        async with database.connection() as conn:
            row = await (await conn.execute("select to_regclass('never') is null")).fetchone()
        assert row == (True,), "it was rolled back"


@in_a_loop
async def test_a_task_that_catches_its_cancellation_may_go_on_with_the_connection(target: Target) -> None:
    async with AsyncDatabase(target, LIMITS) as database:
        async with database.connection() as conn:
            await conn.execute("create table kept (n int)")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    async with conn.transaction():  # a savepoint
                        await conn.execute("insert into kept values (1)")
                        await conn.execute("select pg_sleep(600)")
            await conn.execute("insert into kept values (2)")
        async with database.connection() as conn:
            assert await (await conn.execute("select n from kept")).fetchall() == [(2,)]


@in_a_loop
async def test_a_silent_server_does_not_keep_a_cancelled_task_waiting(proxy: FaultProxy) -> None:
    """psycopg's own connection waits for the cancellation, and then for the statement (psycopg #1371)."""
    async with AsyncDatabase(proxy.target(), replace(LIMITS, min_size=0, max_size=1)) as database:
        await pid_of(database)
        conn_out = await database.borrow()
        proxy.blackhole()
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await conn_out.execute("select 1")
        assert time.monotonic() - begin < connection.GRACE
        database.give_back(conn_out)
        assert database.stats().size == 1
        await eventually(lambda: conn_out.closed)
        proxy.heal()
        proxy.cut()
        assert await pid_of(database)


@pytest.mark.parametrize("what", ["borrowing", "a statement", "a transaction"])
@in_a_loop
async def test_a_storm_of_cancellations_loses_nothing(what: str, target: Target) -> None:
    chance = random.Random(7)
    async with AsyncDatabase(target, LIMITS) as database:
        async with database.connection() as conn:
            await conn.execute("create table t (n int)")

        async def work() -> None:
            if what == "borrowing":
                database.give_back(await database.borrow())
            elif what == "a statement":
                async with database.connection(autocommit=True) as conn:
                    await conn.execute("select pg_sleep(0.01)")
            else:
                async with database.connection() as conn:
                    await conn.execute("insert into t values (1)")

        for _ in range(6):
            tasks = [asyncio.create_task(work()) for _ in range(50)]
            while not all(task.done() for task in tasks):
                await asyncio.sleep(chance.random() * 0.01)
                for task in chance.sample(tasks, 15):
                    task.cancel()
        stats = database.stats()
        assert (stats.lent, stats.waiting, stats.dropped) == (0, 0, 0)
        await eventually(lambda: running(target) == 0)
        held = [await database.borrow(timeout=5.0) for _ in range(LIMITS.max_size)]  # every slot is still there
        for conn in held:
            await conn.execute("select 1")
            database.give_back(conn)
        assert database.stats().size == LIMITS.max_size
        with connect(target) as outside:
            row = outside.execute(
                "select count(*) from pg_stat_activity where application_name = 'pliers-db'"
                " and datname = current_database() and pid <> pg_backend_pid()"
            ).fetchone()
        assert row is not None
        assert row[0] <= LIMITS.max_size


@in_a_loop
async def test_cancelled_in_the_moment_when_its_turn_has_come_it_hands_the_connection_on(target: Target) -> None:
    async with AsyncDatabase(target, replace(LIMITS, max_size=1)) as database:
        conn = await database.borrow()
        waiting = asyncio.create_task(database.borrow())
        await eventually(lambda: database.stats().waiting == 1)
        database.give_back(conn)  # it is the waiting task's now, which has not run yet
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await database.borrow(timeout=5.0) is conn
        database.give_back(conn)


@in_a_loop
async def test_cancelled_while_connecting_the_slot_is_free_again(proxy: FaultProxy) -> None:
    async with AsyncDatabase(proxy.target(), replace(LIMITS, min_size=0, max_size=1)) as database:
        proxy.latency = 0.1
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await pid_of(database)
        proxy.latency = 0.0
        assert await pid_of(database)
        assert database.stats().connected == 1, "the connection that was under way served the next one"


@in_a_loop
async def test_a_commit_that_was_sent_is_not_taken_back(proxy: FaultProxy, target: Target) -> None:
    with connect(target) as outside:
        outside.execute("create table t (n int)")
    async with AsyncDatabase(proxy.target(), LIMITS) as database:

        async def insert() -> None:
            async with database.connection() as conn:
                await conn.execute("insert into t values (1)")
                proxy.latency = 0.2

        task = asyncio.create_task(insert())
        await eventually(lambda: proxy.latency > 0)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.latency = 0.0
        with connect(target) as outside:
            await eventually(lambda: outside.execute("select count(*) from t").fetchone() == (1,))
        assert await pid_of(database)
        assert database.stats().hung_up == 0


@in_a_loop
async def test_a_cancelled_transaction_is_not_tried_again(target: Target) -> None:
    calls = 0
    async with AsyncDatabase(target, LIMITS) as database:

        async def work(conn: object) -> None:
            nonlocal calls
            calls += 1
            await conn.execute("select pg_sleep(600)")  # type: ignore[attr-defined]

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await run_transaction(database, work)
        assert calls == 1
        await eventually(lambda: running(target) == 0)


def test_a_program_that_ends_in_the_middle_of_everything_ends_quietly(target: Target) -> None:
    async def main() -> None:
        database = AsyncDatabase(target, LIMITS)

        async def work() -> None:
            async with database.connection() as conn:
                await conn.execute("select pg_sleep(600)")

        for _ in range(6):
            asyncio.get_running_loop().create_task(work())
        await asyncio.sleep(0.1)

    begin = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - begin < 30
