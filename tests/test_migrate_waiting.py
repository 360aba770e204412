"""A migration that waits for a lock does not wait for ever, says for whom it waits, and tries again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, Database, LockName, advisory_lock, connect
from pliers_db.errors import MigrationLocked
from pliers_db.migrate import Options, read_folder, up
from tests.fix_cli import Cli
from tests.fix_migrate import Write, applied_ids, tables, wait_until


@pytest.fixture
def other(target: Target) -> Iterator[Connection]:
    """Somebody else's session."""
    with connect(target, application_name="nightly report") as conn:
        yield conn


@contextmanager
def holding(conn: Connection, table: str, mode: str = "access share") -> Iterator[None]:
    conn.execute(f"begin; lock table {table} in {mode} mode")
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("rollback")


def waits(conn: Connection) -> bool:
    row = conn.execute(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    ).fetchone()
    return row != (0,)


def test_the_blocker_is_named_while_it_blocks_and_the_migration_goes_on_when_it_leaves(
    cli: Cli, write: Write, conn: Connection, other: Connection
) -> None:
    conn.execute("create table busy (id int)")
    write("0001_a", "create table a (); alter table busy add column x int;")
    with holding(other, "busy"):
        running = cli.start("migrate", "up", "--lock-timeout", "60")
        wait_until(lambda: waits(conn))
        time.sleep(1.8)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    assert f"0001_a waits for nightly report (pid {other.info.backend_pid}, role postgres, idle in transaction" in err
    assert "lock table busy" in err
    assert err.count("waits for") == 1


def test_a_lock_timeout_is_tried_again_each_time_with_the_timeout_set(
    cli: Cli, write: Write, conn: Connection, other: Connection
) -> None:
    """strong_migrations #95: its second attempt ran without a timeout."""
    conn.execute("create table busy (id int)")
    write("0001_a", "create table a (); alter table busy add column x int;")
    with holding(other, "busy"):
        running = cli.start("migrate", "up", "--lock-timeout", "0.2")
        assert running.stderr is not None
        lines: list[str] = []
        while sum("attempt" in line for line in lines) < 3:
            lines.append(running.stderr.readline())
            assert lines[-1], lines
        assert tables(conn) == {"busy"}
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "attempt 2 of 11" in "".join(lines)
    assert tables(conn) == {"a", "busy"}
    assert applied_ids(conn) == ["0001_a"]


def test_it_gives_up_after_the_retries_and_names_the_blocker(
    cli: Cli, write: Write, conn: Connection, other: Connection
) -> None:
    conn.execute("create table busy (id int)")
    write("0001_a", "create table a (); alter table busy add column x int;")
    with holding(other, "busy"):
        result = cli("migrate", "up", "--lock-timeout", "1.5", "--retries", "1", "--json")
    assert result.code == 6
    why = result.json["error"]["why"]
    assert "Tried 2 times." in why
    assert f"blocked by: nightly report (pid {other.info.backend_pid}" in why
    assert tables(conn) == {"busy"}


def test_a_lost_deadlock_is_tried_again(cli: Cli, write: Write, conn: Connection, other: Connection) -> None:
    conn.execute("create table one (id int); create table two (id int)")
    write(
        "0001_a",
        "set local deadlock_timeout = '50ms'; lock table one; select pg_sleep(0.5); alter table two add column x int;",
    )
    other.execute("begin; set local deadlock_timeout = '60s'; lock table two in access share mode")
    running = cli.start("migrate", "up", "--lock-timeout", "0")
    wait_until(
        lambda: conn.execute(
            "select 1 from pg_locks where relation = 'one'::regclass and mode = 'AccessExclusiveLock' and granted"
        ).fetchall()
    )
    other.execute("lock table one in access share mode")  # now each waits for the other
    other.execute("commit")
    _, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    assert "deadlock detected; rolled back, attempt 2 of 11" in err


def test_other_errors_are_not_tried_again(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "create table a (id int primary key); insert into a values (1), (1);")
    result = cli("migrate", "up")
    assert result.code == 6
    assert "attempt" not in result.err


def test_a_pool_of_one_connection_waits_without_a_watch(
    cli: Cli, write: Write, conn: Connection, other: Connection
) -> None:
    conn.execute("create table busy (id int)")
    write("0001_a", "alter table busy add column x int;")
    with holding(other, "busy"):
        env = {"DB_POOL_MIN": "0", "DB_POOL_MAX": "1"}
        result = cli("migrate", "up", "--lock-timeout", "1.2", "--retries", "0", env=env)
    assert result.code == 6
    assert "waits for" not in result.err


def test_a_running_dump_is_pointed_out(cli: Cli, abc: list[str], target: Target) -> None:
    with connect(target, application_name="pg_dump") as dump:
        dump.execute("begin isolation level repeatable read; select 1")
        pid = dump.info.backend_pid
        result = cli("migrate", "up")
    assert result.code == 0
    assert f"a dump is running (pid {pid}," in result.err


def test_a_running_backup_of_ours_is_waited_for_and_named(
    project: Path, abc: list[str], target: Target, conn: Connection
) -> None:
    """An ALTER behind a dump stops everybody who comes after it."""
    folder = read_folder(project / "migrations")
    with (
        connect(target, application_name="pliers-db/backup") as backup,
        advisory_lock(backup, LockName.SCHEMA, shared=True),
        Database(target) as database,
    ):
        with pytest.raises(MigrationLocked, match=r"pliers-db/backup \(pid \d+, for "):
            up(database, folder, environment=Environment.TEST, options=Options(wait=0.2))
    assert tables(conn) == set()


def test_the_watch_says_who_blocks_create_index_concurrently(
    cli: Cli, write: Write, conn: Connection, other: Connection
) -> None:
    """It waits for transactions, not for a lock on its table; no timeout may cut it off."""
    conn.execute("create table busy (id int)")
    write("0001_i", "-- transactional: false\ncreate index concurrently i on busy (id);", "drop index i;")
    other.execute("begin; insert into busy values (1)")
    running = cli.start("migrate", "up", "--lock-timeout", "0.2")
    wait_until(lambda: waits(conn))
    time.sleep(1.8)
    other.execute("commit")
    _, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    assert "0001_i waits for nightly report" in err
    assert conn.execute("select indisvalid from pg_index where indexrelid = 'i'::regclass").fetchone() == (True,)
