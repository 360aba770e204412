"""`run_transaction` for tasks: tried again when that is safe, with a known outcome, as it is for threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pliers_db.aio import AsyncConnection, AsyncDatabase, run_transaction
from pliers_db.config import PoolSettings, Target
from pliers_db.db import BreakerState, Database, RetryPolicy, connect
from pliers_db.errors import CircuitOpen, CommitUnknown, ConnectFailed, DeadlinePassed, InputError
from tests.fix_aio import in_a_loop
from tests.fix_proxy import FaultProxy
from tests.fix_tcp import free_port

LIMITS = PoolSettings(min_size=1, max_size=4, checkout_timeout=20.0)
QUICK = RetryPolicy(base=0.001)


@asynccontextmanager
async def shop(target: Target, direct: Target | None = None) -> AsyncIterator[AsyncDatabase]:
    """A pool on a database with ``t (n int primary key, v int)``. :param direct: past the proxy."""
    with connect(direct or target) as conn:
        conn.execute("create table t (n int primary key, v int not null default 0)")
    async with AsyncDatabase(target, LIMITS) as database:
        yield database


def rows(target: Target) -> list[Any]:
    with connect(target) as conn:
        return conn.execute("select n, v from t order by n").fetchall()


def insert(*numbers: int) -> Callable[[AsyncConnection], Awaitable[str]]:
    async def work(conn: AsyncConnection) -> str:
        for number in numbers:
            await conn.execute("insert into t values (%s)", [number])
        return "done"

    return work


@in_a_loop
async def test_what_the_function_returns_is_returned_and_all_it_did_is_committed(target: Target) -> None:
    async with shop(target) as database:
        assert await run_transaction(database, insert(1, 2)) == "done"
        for error in (ValueError("mine"), KeyboardInterrupt(), psycopg.errors.UniqueViolation("mine")):

            async def fail(conn: AsyncConnection, error: BaseException = error) -> None:
                await conn.execute("insert into t values (3)")
                raise error

            with pytest.raises(type(error)) as caught:
                await run_transaction(database, fail)
            assert caught.value is error
    assert rows(target) == [(1, 0), (2, 0)]


@in_a_loop
async def test_colliding_serializable_transactions_are_run_again_until_each_has_counted_once(target: Target) -> None:
    attempts = 0
    async with shop(target) as database:
        await run_transaction(database, insert(1))

        async def count(conn: AsyncConnection) -> None:
            nonlocal attempts
            attempts += 1
            row = await (await conn.execute("select v from t where n = 1")).fetchone()
            assert row is not None
            await asyncio.sleep(0.001)
            await conn.execute("update t set v = %s where n = 1", [row[0] + 1])

        patient = RetryPolicy(attempts=200, base=0.005, cap=0.05, deadline=60.0)
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(run_transaction(database, count, isolation="serializable", retry=patient))
    assert rows(target) == [(1, 20)]
    assert attempts > 20, "there were collisions"


@in_a_loop
async def test_a_deadlock_is_resolved_by_running_the_victim_again(target: Target) -> None:
    async with shop(target) as database:
        await run_transaction(database, insert(1, 2))
        both = asyncio.Barrier(2)
        calls = 0

        async def swap(conn: AsyncConnection, first: int, second: int) -> None:
            nonlocal calls
            calls += 1
            await conn.execute("set local deadlock_timeout = '50ms'")
            await conn.execute("update t set v = v + 1 where n = %s", [first])
            if calls <= 2:
                await both.wait()
            await conn.execute("update t set v = v + 1 where n = %s", [second])

        await asyncio.gather(
            run_transaction(database, lambda conn: swap(conn, 1, 2), retry=QUICK),
            run_transaction(database, lambda conn: swap(conn, 2, 1), retry=QUICK),
        )
        assert calls == 3
    assert rows(target) == [(1, 2), (2, 2)]


@in_a_loop
async def test_no_retry_where_the_answer_would_be_the_same(target: Target) -> None:
    calls = 0
    async with shop(target) as database:
        await run_transaction(database, insert(1))

        async def again(conn: AsyncConnection) -> None:
            nonlocal calls
            calls += 1
            await conn.execute("insert into t values (1)")

        with pytest.raises(psycopg.errors.UniqueViolation):
            await run_transaction(database, again)
    assert calls == 1


@in_a_loop
async def test_a_connection_lost_before_the_commit_is_no_loss(proxy: FaultProxy, target: Target) -> None:
    calls = 0
    async with shop(proxy.target(), target) as database:

        async def work(conn: AsyncConnection) -> None:
            nonlocal calls
            calls += 1
            await conn.execute("insert into t values (1)")
            if calls == 1:
                proxy.cut()
            await conn.execute("insert into t values (2)")

        await run_transaction(database, work, retry=QUICK)
    assert calls == 2
    assert rows(target) == [(1, 0), (2, 0)]


@in_a_loop
async def test_a_commit_without_an_answer_is_unknown_or_asked_for(proxy: FaultProxy, target: Target) -> None:
    async with shop(proxy.target(), target) as database:
        proxy.cut_after(b"COMMIT")
        with pytest.raises(CommitUnknown) as caught:
            await run_transaction(database, insert(1))
        assert caught.value.exit_code == 7
        proxy.cut_after(b"COMMIT")
        assert await run_transaction(database, insert(2), exactly_once=True) == "done"
        proxy.cut_after(b"COMMIT")
        with pytest.raises(CommitUnknown):
            async with database.connection() as conn:
                await conn.execute("insert into t values (3)")
    assert rows(target) == [(1, 0), (2, 0), (3, 0)]


@in_a_loop
async def test_a_commit_that_never_reached_the_server_is_tried_again(proxy: FaultProxy, target: Target) -> None:
    async with shop(proxy.target(), target) as database:
        proxy.swallow(b"COMMIT")
        assert await run_transaction(database, insert(1), exactly_once=True, retry=QUICK) == "done"
    assert rows(target) == [(1, 0)]


@in_a_loop
async def test_a_deadline_holds_for_everything(proxy: FaultProxy, target: Target) -> None:
    async with shop(proxy.target(), target) as database:
        await run_transaction(database, insert(1))
        proxy.blackhole()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        with pytest.raises((DeadlinePassed, ConnectFailed)):
            await run_transaction(database, insert(2), deadline=0.5)
        assert loop.time() - begin < 15
        proxy.heal()
        proxy.cut()


@in_a_loop
async def test_a_read_falls_back_when_the_database_is_away(target: Target) -> None:
    away = replace(target, host="127.0.0.1", port=str(free_port()))

    async def read(conn: AsyncConnection) -> str:
        return "from the database"

    async def cached(error: Exception) -> str:
        assert isinstance(error, ConnectFailed | CircuitOpen)
        return "from the cache"

    async with AsyncDatabase(away, LIMITS) as database:
        answer = await run_transaction(database, read, read_only=True, retries=0, fallback=cached)
        assert answer == "from the cache"
        with pytest.raises(InputError, match="read_only"):
            await run_transaction(database, read, fallback=cached)
    async with AsyncDatabase(target, LIMITS) as database:
        assert await run_transaction(database, read, read_only=True, fallback=cached) == "from the database"


@in_a_loop
async def test_threads_and_tasks_share_one_breaker(target: Target) -> None:
    away = replace(target, host="127.0.0.1", port=str(free_port()))
    async with AsyncDatabase(away, LIMITS) as database:
        with Database(away, LIMITS) as other:
            assert database.breaker is other.breaker
            for _ in range(20):
                with pytest.raises((ConnectFailed, CircuitOpen)):
                    async with database.connection():
                        pass
                if database.breaker.status().state is BreakerState.OPEN:
                    break
                await asyncio.sleep(0.25)  # failures within a moment count as one
            assert database.stats().breaker.state is BreakerState.OPEN
            with pytest.raises(CircuitOpen) as caught, other.connection():
                pass
            assert "refused" in caught.value.why


@in_a_loop
async def test_a_cancelled_probe_does_not_close_the_circuit(proxy: FaultProxy) -> None:
    async with AsyncDatabase(proxy.target(), replace(LIMITS, max_size=1)) as database:
        conn = await database.borrow()
        database.give_back(conn)
        breaker = database.breaker
        breaker.opened_at = breaker._clock() - 3600  # the cool-down is over: the next call is the probe
        proxy.blackhole()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), database.connection(autocommit=True) as probe:
                await probe.execute("select 1")
        assert breaker.status().state is not BreakerState.CLOSED
        proxy.heal()
        proxy.cut()


@in_a_loop
async def test_inside_a_transaction_it_joins_in_a_savepoint(target: Target) -> None:
    async with shop(target) as database:
        async with database.connection() as conn:
            await run_transaction(conn, insert(1))
            with pytest.raises(psycopg.errors.UniqueViolation):
                await run_transaction(conn, insert(2, 1))
            with pytest.raises(InputError):
                await run_transaction(conn, insert(3), isolation="serializable")
        async with database.connection(autocommit=True) as conn:
            with pytest.raises(InputError, match="no transaction"):
                await run_transaction(conn, insert(4))
    assert rows(target) == [(1, 0)]
