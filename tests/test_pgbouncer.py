"""Behind PgBouncer in transaction mode: noticed, and what needs a session is refused with the way around it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pliers_db.aio import AsyncDatabase
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Database, LockName, advisory_lock, behind_pooler, connect, run_transaction, try_advisory_lock
from pliers_db.errors import ConnectFailed, PoolerInTheWay
from tests.fix_aio import in_a_loop
from tests.fix_cli import Cli, url_of
from tests.fix_proxy import FaultProxy

pytestmark = pytest.mark.slow


def tcp_url(target: Target) -> str:
    return f"postgresql://{target.user}@{target.host}:{target.port}/{target.dbname}"


@pytest.fixture
def shop(project: Path) -> Path:
    (project / "migrations" / "20260101000000_t.sql").write_text("create table t (id int primary key);\n")
    (project / "migrations" / "20260101000000_t.rollback.sql").write_text("drop table t;\n")
    return project


def test_the_pooler_is_noticed(target: Target, bounced: Target) -> None:
    with connect(target) as direct, connect(bounced) as through:
        assert not behind_pooler(direct)
        assert behind_pooler(through)


def test_a_session_lock_is_refused_and_not_left_behind(target: Target, bounced: Target) -> None:
    with connect(bounced) as through:
        with pytest.raises(PoolerInTheWay, match="needs a session"):
            try_advisory_lock(through, LockName.SCHEMA)
        with pytest.raises(PoolerInTheWay), advisory_lock(through, LockName.SEED):
            pytest.fail("locked")
    with connect(target) as direct:
        left = """select count(*) from pg_locks where locktype = 'advisory'
            and database = (select oid from pg_database where datname = current_database())"""
        assert direct.execute(left).fetchone() == (0,)


@pytest.mark.parametrize("command", ["migrate up", "backup create"])
def test_commands_that_need_a_session_refuse_it(
    command: str, shop: Path, make_cli: Callable[..., Cli], bounced: Target
) -> None:
    pliers = make_cli(shop, {"DATABASE_URL": tcp_url(bounced), "PLIERS_ENV": "test"})
    result = pliers(*command.split(), "--json")
    assert result.code == 2, result.err
    assert result.json["error"]["code"] == "db.pooler"
    assert "DIRECT_DATABASE_URL" in result.json["error"]["fix"]


def test_the_direct_url_is_the_way_around(
    shop: Path, make_cli: Callable[..., Cli], target: Target, bounced: Target
) -> None:
    env = {"DATABASE_URL": tcp_url(bounced), "DIRECT_DATABASE_URL": url_of(target), "PLIERS_ENV": "test"}
    pliers = make_cli(shop, env)
    up = pliers("migrate", "up")
    assert up.code == 0, up.err
    assert "local socket" in up.err  # the target that is announced is the one that is written to
    assert pliers("migrate", "status", "--check").code == 0
    made = pliers("backup", "create")
    assert made.code == 0, made.err


def test_reading_works_through_it(shop: Path, make_cli: Callable[..., Cli], target: Target, bounced: Target) -> None:
    assert make_cli(shop, {"DATABASE_URL": url_of(target), "PLIERS_ENV": "test"})("migrate", "up").code == 0
    through = make_cli(shop, {"DATABASE_URL": tcp_url(bounced), "PLIERS_ENV": "test"})
    for _ in range(8):  # more often than there are server sessions: prepared statements would collide
        assert through("migrate", "status", "--check").code == 0


# ── our pools, through it ───────────────────────────────────────────────────────────────────────────────────
LIMITED = PoolSettings(min_size=1, max_size=12, checkout_timeout=30.0, statement_timeout=0.5)


def state(target: Target) -> object:
    """What the clients have left behind in the server sessions that they share."""
    with connect(target) as direct:
        row = direct.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            " and (state <> 'idle' or query like '%statement_timeout%' and state = 'active')"
        ).fetchone()
        assert row is not None
        return row[0]


def test_twelve_threads_share_two_server_sessions_and_no_prepared_statement_collides(
    target: Target, bounced: Target
) -> None:
    with connect(target) as direct:
        direct.execute("create table t (n int primary key, pid int)")
    wrong: list[BaseException] = []
    with Database(bounced, LIMITED) as database:

        def work(number: int) -> None:
            try:
                for turn in range(12):  # more often than psycopg's threshold for preparing
                    with database.connection() as conn:
                        conn.execute("insert into t values (%s, pg_backend_pid())", [number * 100 + turn])
                    with database.connection(autocommit=True) as conn:
                        assert conn.execute("select %s::int + 1", [turn]).fetchone() == (turn + 1,)
            except BaseException as error:  # noqa: BLE001
                wrong.append(error)

        threads = [threading.Thread(target=work, args=[number]) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        with database.connection() as conn:
            assert conn.prepare_threshold is None
            assert conn.execute("select count(*), count(distinct pid) <= 2 from t").fetchone() == (144, True)
    assert state(target) == 0


def test_the_statement_timeout_holds_in_transactions_and_does_not_stay_behind(target: Target, bounced: Target) -> None:
    """PgBouncer refuses ``options``; a plain SET would go on in somebody else's session."""
    with Database(bounced, LIMITED) as database:
        for isolation in (None, "serializable"):
            with pytest.raises(psycopg.errors.QueryCanceled):
                run_transaction(database, lambda conn: conn.execute("select pg_sleep(30)"), isolation=isolation)
        with database.connection() as conn:
            assert conn.execute("show statement_timeout").fetchone() == ("500ms",)
    with Database(bounced, replace(LIMITED, statement_timeout=0.0)) as other:
        for _ in range(8):
            with other.connection() as conn:
                assert conn.execute("show statement_timeout").fetchone() == ("0",)


def test_a_failed_transaction_leaves_nothing_for_the_next_one(target: Target, bounced: Target) -> None:
    with Database(bounced, replace(LIMITED, max_size=1)) as database:
        for _ in range(3):
            with pytest.raises(psycopg.errors.DivisionByZero), database.connection() as conn:
                conn.execute("set local role pg_monitor")
                conn.execute("select 1 / 0")
            with database.connection() as conn:
                assert conn.execute("select current_user = session_user").fetchone() == (True,)
        assert database.stats().connected == 1
    assert state(target) == 0


def test_a_lost_commit_is_resolved_through_it(
    target: Target, bounced: Target, make_proxy: Callable[[Target], FaultProxy]
) -> None:
    with connect(target) as direct:
        direct.execute("create table t (n int)")
    proxy = make_proxy(bounced)
    with Database(proxy.target(), LIMITED) as database:
        proxy.cut_after(b"COMMIT")
        run_transaction(database, lambda conn: conn.execute("insert into t values (1)"), exactly_once=True)
    with connect(target) as direct:
        assert direct.execute("select n from t").fetchall() == [(1,)]


def test_options_of_the_users_own_are_not_dropped_in_silence(bounced: Target) -> None:
    chosen = replace(bounced, params={"options": "-c search_path=shop"})
    with Database(chosen, LIMITED) as database, pytest.raises(ConnectFailed) as caught, database.connection():
        pass
    assert "unsupported startup parameter" in caught.value.why


@in_a_loop
async def test_twelve_tasks_share_two_server_sessions(target: Target, bounced: Target) -> None:
    with connect(target) as direct:
        direct.execute("create table t (n int primary key, pid int)")
    async with AsyncDatabase(bounced, LIMITED) as database:

        async def work(number: int) -> None:
            for turn in range(12):
                async with database.connection() as conn:
                    await conn.execute("insert into t values (%s, pg_backend_pid())", [number * 100 + turn])

        await asyncio.gather(*[work(number) for number in range(12)])
        with pytest.raises(psycopg.errors.QueryCanceled):
            async with database.connection() as conn:
                await conn.execute("select pg_sleep(30)")
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), database.connection() as conn:
                    await conn.execute("insert into t values (-1, 0)")
                    await conn.execute("select pg_sleep(30)")
        async with database.connection() as conn:
            row = await (await conn.execute("select count(*), count(distinct pid) <= 2 from t")).fetchone()
    assert row == (144, True)
    assert state(target) == 0
