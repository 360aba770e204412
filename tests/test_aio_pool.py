"""The async pool keeps what the sync one promises: bounded, loud when it cannot connect, empty-handed for nobody."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import replace

import psycopg
import pytest

from pliers_db.aio import AsyncDatabase
from pliers_db.config import PoolSettings, Target
from pliers_db.db import connect
from pliers_db.errors import ConnectFailed, DeadlinePassed, InputError, PoolClosing, PoolExhausted, TransactionAborted
from pliers_db.postgres import Server
from tests.fix_aio import eventually, in_a_loop
from tests.fix_proxy import FaultProxy
from tests.fix_tcp import free_port, tcp_target

TINY = PoolSettings(min_size=1, max_size=1, checkout_timeout=0.3)
PATIENT = PoolSettings(min_size=2, max_size=10, checkout_timeout=60.0)


async def one(database: AsyncDatabase) -> object:
    async with database.connection(autocommit=True) as conn:
        return await (await conn.execute("select 1")).fetchone()


@in_a_loop
async def test_a_thousand_tasks_share_ten_connections(target: Target) -> None:
    pids: set[int] = set()
    async with AsyncDatabase(target, PATIENT) as database:
        async with database.connection() as conn:
            await conn.execute("create table done (n int)")

        async def work(number: int) -> None:
            async with database.connection() as conn:
                pids.add(conn.info.backend_pid)
                await conn.execute("insert into done values (%s)", [number])

        async with asyncio.TaskGroup() as group:
            for number in range(1000):
                group.create_task(work(number))
        stats = database.stats()
        async with database.connection() as conn:
            row = await (await conn.execute("select count(*), count(distinct n) from done")).fetchone()
    assert row == (1000, 1000)
    assert (stats.borrowed, stats.lent, stats.waiting, stats.dropped) == (1001, 0, 0, 0)
    assert stats.connected == stats.size == len(pids) <= 10
    assert stats.wait.count == 1001
    assert 0 < stats.use.p50 < stats.wait.longest


@in_a_loop
async def test_the_longest_waiting_task_is_served_first(target: Target) -> None:
    order: list[int] = []
    async with AsyncDatabase(target, replace(TINY, checkout_timeout=20.0)) as database:

        async def work(number: int) -> None:
            async with database.connection(autocommit=True):
                order.append(number)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(work(number))
    assert order == list(range(20))


@in_a_loop
async def test_who_waits_too_long_is_told_who_holds_the_connections(target: Target) -> None:
    async with AsyncDatabase(target, TINY) as database, database.connection():
        with pytest.raises(PoolExhausted) as caught:
            await one(database)
        assert database.stats().refused == 1
    assert "All 1 connections stayed in use for 0.3 s" in caught.value.why
    assert "test_aio_pool.py" in caught.value.why
    assert "in test_who_waits_too_long_is_told" in caught.value.why


@in_a_loop
async def test_with_a_limit_on_waiting_the_next_is_refused_at_once(target: Target) -> None:
    async with AsyncDatabase(target, replace(TINY, checkout_timeout=60.0, max_waiting=1)) as database:
        async with database.connection():
            first = asyncio.create_task(one(database))
            await eventually(lambda: database.stats().waiting == 1)
            began = time.monotonic()
            with pytest.raises(PoolExhausted) as caught:
                await one(database)
            assert time.monotonic() - began < 30
            assert "1 others are already waiting" in caught.value.why
        assert await first == (1,), "the one who waited was served when the connection came back"


@in_a_loop
async def test_the_pool_recovers_when_the_connections_come_back(target: Target) -> None:
    async with AsyncDatabase(target, replace(TINY, max_size=3)) as database:
        held = [await database.borrow() for _ in range(3)]
        with pytest.raises(PoolExhausted):
            await one(database)
        for conn in held:
            database.give_back(conn)
            database.give_back(conn)  # twice is once
        assert await asyncio.gather(*[one(database) for _ in range(30)]) == [(1,)] * 30
        assert database.stats().size == 3


# ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────
async def failure(target: Target) -> ConnectFailed:
    """The error of the pool, which must not have waited for the checkout timeout."""
    begin = time.monotonic()
    async with AsyncDatabase(target, PATIENT) as database:
        with pytest.raises(ConnectFailed) as caught:
            await one(database)
    assert time.monotonic() - begin < PATIENT.checkout_timeout / 2
    return caught.value


@in_a_loop
async def test_a_failed_connect_is_told_at_once_with_its_cause(password_server: Server) -> None:
    wrong = await failure(tcp_target(password_server, password="hunter2-wrong"))
    assert wrong.kind == "password"
    assert "hunter2" not in str(wrong.as_dict())
    assert (await failure(password_server.target("no_such_db"))).kind == "database"
    assert (await failure(Target(dbname="x", host="127.0.0.1", port=str(free_port()), user="u"))).kind == "unreachable"
    assert (await failure(Target(dbname="x", host="no-such-host.invalid", user="u"))).kind == "host"
    assert (await failure(replace(password_server.target(), params={"sslmode_": "x"}))).kind == "settings"


@in_a_loop
async def test_everybody_who_waits_hears_of_it_and_the_next_request_is_the_next_try(server: Server) -> None:
    name = "aio_appears_later"
    async with AsyncDatabase(server.target(name), PATIENT) as database:
        heard = await asyncio.gather(*[one(database) for _ in range(50)], return_exceptions=True)
        assert {type(error) for error in heard} == {ConnectFailed}
        assert len({id(error) for error in heard}) == 50, "each has an error of its own"
        with connect(server.target()) as admin:
            admin.execute(f"create database {name}")
            try:
                assert await one(database) == (1,)
            finally:
                await database.close()
                admin.execute(f"drop database {name} with (force)")


@in_a_loop
async def test_nothing_is_opened_before_the_first_use(target: Target) -> None:
    async with AsyncDatabase(target.with_database("no_such_db")):
        pass


@in_a_loop
async def test_the_statement_timeout_is_set(target: Target) -> None:
    async with AsyncDatabase(target, replace(TINY, statement_timeout=0.2)) as database:
        with pytest.raises(psycopg.errors.QueryCanceled):
            async with database.connection() as conn:
                await conn.execute("select pg_sleep(30)")
        assert await one(database) == (1,)


@in_a_loop
async def test_connections_that_the_server_ended_are_not_lent(target: Target) -> None:
    async with AsyncDatabase(target, PATIENT) as database:
        kept = [await database.borrow() for _ in range(4)]
        for conn in kept:
            database.give_back(conn)
        with connect(target, application_name="admin") as admin:
            admin.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'pliers-db'"
                " and datname = current_database() and pid <> pg_backend_pid()"
            )
        await asyncio.sleep(0.1)
        assert [await one(database) for _ in range(6)] == [(1,)] * 6
        assert database.stats().hung_up >= 1


@in_a_loop
async def test_connections_are_replaced_at_the_end_of_their_life_and_closed_when_nobody_needs_them(
    target: Target,
) -> None:
    short = PoolSettings(min_size=1, max_size=4, checkout_timeout=20.0, idle_timeout=0.2, max_lifetime=0.2)
    async with AsyncDatabase(target, short) as database:
        held = [await database.borrow() for _ in range(4)]
        pids = {conn.info.backend_pid for conn in held}
        for conn in held:
            database.give_back(conn)
        await eventually(lambda: database.stats().size == 1)
        await asyncio.sleep(0.3)
        async with database.connection() as conn:
            assert conn.info.backend_pid not in pids


# ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────
@in_a_loop
async def test_a_block_commits_at_its_end_and_rolls_back_on_an_error(target: Target) -> None:
    async with AsyncDatabase(target, TINY) as database:
        async with database.connection() as conn:
            await conn.execute("create table kept (a int)")
        for error in (ValueError(), KeyboardInterrupt(), SystemExit(), psycopg.errors.UniqueViolation()):
            with pytest.raises(type(error)):
                async with database.connection() as conn:
                    await conn.execute("insert into kept values (1)")
                    raise error
        async with database.connection() as conn:
            await conn.execute("insert into kept values (2)")
            raise psycopg.Rollback
        with pytest.raises(TransactionAborted):
            async with database.connection() as conn:
                await conn.execute("insert into kept values (3)")
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await conn.execute("select 1 / 0")
        async with database.connection() as conn:
            assert await (await conn.execute("select count(*) from kept")).fetchone() == (0,)


# ── the watchdog and the leak tracker ───────────────────────────────────────────────────────────────────────
@in_a_loop
async def test_a_server_that_swallows_everything_is_cut_at_the_deadline(proxy: FaultProxy) -> None:
    async with AsyncDatabase(proxy.target(), PATIENT) as database:
        assert await one(database) == (1,)
        proxy.blackhole()
        begin = time.monotonic()
        with pytest.raises(DeadlinePassed) as caught:
            async with database.connection(deadline=0.3) as conn:
                await conn.execute("select 1")
        assert time.monotonic() - begin < 10
        assert "the connection was cut" in caught.value.message
        proxy.heal()
        proxy.cut()
        assert await one(database) == (1,)
        assert database.stats().cut == 1


async def careless(database: AsyncDatabase) -> None:
    """Borrow and forget."""
    await database.borrow()


@in_a_loop
async def test_a_dropped_connection_is_reported_and_its_slot_comes_back(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncDatabase(target, replace(TINY, max_size=2, checkout_timeout=20.0)) as database:
        for _ in range(6):
            await careless(database)
            gc.collect()
        await eventually(lambda: database.stats().dropped == 6)
        async with database.connection(), database.connection():
            pass
    text = [r.getMessage() for r in caplog.records if "dropped without being returned" in r.getMessage()]
    assert len(text) == 6
    assert all("test_aio_pool.py:" in line and "in careless" in line for line in text)


@in_a_loop
async def test_a_connection_that_is_kept_too_long_is_reported_with_its_borrower(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncDatabase(target, replace(TINY, held_warning=0.1)) as database:
        async with database.connection():
            await eventually(lambda: database.stats().held_too_long == 1)
    assert "in test_a_connection_that_is_kept_too_long" in caplog.text


@in_a_loop
async def test_nothing_is_left_of_ten_thousand_checkouts(target: Target) -> None:
    def count() -> int:
        gc.collect()
        return len(gc.get_objects())

    async with AsyncDatabase(target, TINY) as database:

        async def many() -> None:
            for _ in range(5000):
                database.give_back(await database.borrow())

        await many()
        before = count()
        await many()
        assert count() - before < 200
        assert database.stats().size == 1


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────
@in_a_loop
async def test_drain_waits_for_who_works_and_lends_nothing_more(target: Target) -> None:
    database = AsyncDatabase(target, replace(TINY, checkout_timeout=20.0))

    async def work() -> object:
        async with database.connection() as conn:
            return await (await conn.execute("select pg_sleep(0.3), 7")).fetchone()

    task = asyncio.create_task(work())
    await eventually(lambda: database.stats().lent == 1)
    assert await database.drain(timeout=20) == 0
    assert await task == ("", 7)
    with pytest.raises(PoolClosing):
        await one(database)


@in_a_loop
async def test_drain_cuts_who_does_not_come_back(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    database = AsyncDatabase(target, TINY)

    async def stuck() -> None:
        async with database.connection() as conn:
            await conn.execute("select pg_sleep(600)")

    task = asyncio.create_task(stuck())
    await eventually(lambda: database.stats().lent == 1)
    await asyncio.sleep(0.1)
    assert await database.drain(timeout=0.1) == 1
    with pytest.raises(DeadlinePassed):
        await task
    assert "shutting down: cut the connection borrowed by" in caplog.text


@in_a_loop
async def test_close_refuses_who_waits_and_closes_what_comes_back_later(target: Target) -> None:
    database = AsyncDatabase(target, replace(TINY, checkout_timeout=20.0))
    conn = await database.borrow()
    waiting = asyncio.create_task(one(database))
    await eventually(lambda: database.stats().waiting == 1)
    await database.close()
    with pytest.raises(PoolExhausted, match="No free connection"):
        await waiting
    database.give_back(conn)
    assert conn.closed
    assert await one(database) == (1,), "borrowing opens anew"
    await database.close()


def test_it_may_be_used_in_one_loop_after_the_other_but_not_in_two_at_once(target: Target) -> None:
    database = AsyncDatabase(target, TINY)
    for _ in range(2):
        assert asyncio.run(one(database)) == (1,)

    async def elsewhere() -> None:
        with pytest.raises(InputError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(one(database)))

    async def here() -> None:
        await one(database)
        await elsewhere()
        await database.close()

    asyncio.run(here())
