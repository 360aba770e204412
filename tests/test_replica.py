"""Reads go to a standby where the URL names one, see what was written when they must, and never fail for its sake."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg
import pytest

from pliers_db import Database, aio, run_transaction
from pliers_db.aio import AsyncConnection, AsyncDatabase
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Connection, connect
from pliers_db.db.replica import read_target, write_target
from pliers_db.errors import CircuitOpen, ConnectFailed
from pliers_db.postgres import Server, run_program
from tests.fix_aio import in_a_loop
from tests.fix_tcp import free_port, tcp_server, tcp_target

LIMITS = PoolSettings(min_size=1, max_size=3, checkout_timeout=15.0)


@dataclass
class Pair:
    """A primary and its streaming standby."""

    primary: Server
    standby: Server

    @property
    def target(self) -> Target:
        """Both hosts; the standby is named first, so the order alone would send writes the wrong way."""
        one = tcp_target(self.primary)
        return replace(one, host="127.0.0.1,127.0.0.1", port=f"{self.standby.port},{self.primary.port}")

    def on_standby(self, statement: str) -> object:
        with connect(self.standby.target()) as admin:
            row = admin.execute(statement).fetchone()  # type: ignore[call-overload]
            return row and row[0]

    def catch_up(self) -> None:
        with connect(self.primary.target()) as admin:
            row = admin.execute("select pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        deadline = time.monotonic() + 30
        while not self.on_standby(f"select pg_last_wal_replay_lsn() >= '{row[0]}'"):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """PostgreSQL's own streaming replication between two servers of ours."""
    with tcp_server({"synchronous_commit": "on"}) as primary:
        folder = primary.data.parent / "standby"
        run_program(
            primary.binaries, "pg_basebackup", ["-D", folder, "-R", "-X", "stream", "--no-sync", "-c", "fast"],
            target=primary.target(),
        )  # fmt: skip
        standby = replace(primary, data=folder, socket_dir=primary.socket_dir.with_name("s2"), port=free_port())
        standby.adopt()
        standby.start()
        try:
            both = Pair(primary, standby)
            with connect(tcp_target(primary)) as conn:
                conn.execute("create table t (n int)")
            both.catch_up()
            yield both
        finally:
            if standby.running():
                standby.stop("immediate")


@pytest.fixture
def database(pair: Pair) -> Iterator[Database]:
    """A pool on both; the table is empty on both."""
    with connect(tcp_target(pair.primary)) as conn:
        conn.execute("truncate t")
    pair.on_standby("select pg_wal_replay_resume()")
    pair.catch_up()
    with Database(pair.target, LIMITS) as pool:
        pool.breaker._close()  # an earlier test may have opened it; it belongs to the URL
        yield pool


def where(conn: Connection) -> str:
    row = conn.execute("select pg_is_in_recovery()").fetchone()
    assert row is not None
    return "standby" if row[0] else "primary"


def count(conn: Connection) -> tuple[str, int]:
    row = conn.execute("select count(*) from t").fetchone()
    assert row is not None
    return where(conn), row[0]


def add(conn: Connection) -> None:
    conn.execute("insert into t values (1)")


def test_reads_go_to_the_standby_and_writes_to_the_primary(database: Database) -> None:
    assert run_transaction(database, where, read_only=True) == "standby"
    assert run_transaction(database, where) == "primary"
    run_transaction(database, add)
    with database.connection() as conn:
        assert where(conn) == "primary"


def test_a_read_sees_the_write_that_it_names(database: Database) -> None:
    for written in range(1, 20):
        run_transaction(database, add)
        assert run_transaction(database, count, read_only=True, after=database.position()) == ("standby", written)


def test_a_standby_that_lags_is_passed_over_for_the_primary(pair: Pair, database: Database) -> None:
    run_transaction(database, where, read_only=True)
    pair.on_standby("select pg_wal_replay_pause()")
    run_transaction(database, add)
    assert run_transaction(database, count, read_only=True) == ("standby", 0), "without a position: the past"
    assert run_transaction(database, count, read_only=True, after=database.position()) == ("primary", 1)


def test_serializable_reads_go_to_the_primary(database: Database) -> None:
    """A standby refuses them."""
    assert run_transaction(database, where, read_only=True, isolation="serializable") == "primary"
    assert run_transaction(database, where, read_only=True, isolation="repeatable read") == "standby"


def test_a_mistake_in_a_read_is_not_repeated_on_the_primary(database: Database) -> None:
    calls = []

    def wrong(conn: Connection) -> None:
        calls.append(where(conn))
        conn.execute("select * from nowhere")

    with pytest.raises(psycopg.errors.UndefinedTable):
        run_transaction(database, wrong, read_only=True)
    assert calls == ["standby"]


def test_when_the_standby_goes_reads_go_on(pair: Pair, database: Database) -> None:
    assert run_transaction(database, where, read_only=True) == "standby"
    pair.standby.stop("immediate")
    try:
        for _ in range(5):
            assert run_transaction(database, where, read_only=True) == "primary"
        run_transaction(database, add)
    finally:
        pair.standby.start()


def test_when_the_primary_goes_writes_fail_fast_and_reads_go_on(pair: Pair, database: Database) -> None:
    run_transaction(database, add)
    assert run_transaction(database, where, read_only=True) == "standby"
    pair.primary.stop("immediate")
    try:
        began = time.monotonic()
        with pytest.raises(ConnectFailed) as caught:  # a session can outlive its postmaster by a moment: one retry
            run_transaction(database, add, retries=1)
        assert time.monotonic() - began < LIMITS.checkout_timeout
        assert caught.value.kind in ("standby", "unreachable")
        with pytest.raises(CircuitOpen):
            for _ in range(100):
                with pytest.raises(ConnectFailed):
                    run_transaction(database, add, retries=0)
                time.sleep(0.1)
        assert run_transaction(database, where, read_only=True) == "standby", "the open circuit is the writers' own"
    finally:
        pair.primary.start()


@in_a_loop
async def test_tasks_read_from_the_standby_too(pair: Pair, database: Database) -> None:
    async def aio_count(conn: AsyncConnection) -> tuple[str, int]:
        row = await (await conn.execute("select pg_is_in_recovery(), (select count(*) from t)")).fetchone()
        assert row is not None
        return ("standby" if row[0] else "primary", row[1])

    async def aio_add(conn: AsyncConnection) -> None:
        await conn.execute("insert into t values (1)")

    async with AsyncDatabase(pair.target, LIMITS) as tasks:
        await aio.run_transaction(tasks, aio_add)
        position = await tasks.position()
        assert await aio.run_transaction(tasks, aio_count, read_only=True, after=position) == ("standby", 1)
        assert (await aio.run_transaction(tasks, aio_count))[0] == "primary"
        pair.on_standby("select pg_wal_replay_pause()")
        await aio.run_transaction(tasks, aio_add)
        position = await tasks.position()
        assert await aio.run_transaction(tasks, aio_count, read_only=True, after=position) == ("primary", 2)


HOSTS = Target(dbname="shop", host="a,b", port="1,2")


def test_one_host_is_no_choice() -> None:
    alone = Target(dbname="shop", host="a")
    assert write_target(alone) == alone
    assert read_target(alone) is None


def test_what_the_url_says_itself_is_kept() -> None:
    chosen = replace(HOSTS, params={"target_session_attrs": "any"})
    assert write_target(chosen) == chosen
    assert read_target(chosen) is None


def test_of_several_hosts_writes_want_the_primary_and_reads_a_standby() -> None:
    assert write_target(HOSTS).params == {"target_session_attrs": "read-write"}
    reads = read_target(HOSTS)
    assert reads is not None
    assert reads.params == {"target_session_attrs": "prefer-standby", "load_balance_hosts": "random"}
