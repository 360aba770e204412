"""Stock yoyo and pliers-db on one database: each reads, continues and undoes what the other did."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from tests.fix_cli import Cli, Result
from tests.fix_migrate import Write, applied_ids, marks, start_yoyo, tables, wait_until

Yoyo = Callable[..., Result]


def test_what_ours_applied_stock_yoyo_lists_as_applied(cli: Cli, abc: list[str], yoyo: Yoyo) -> None:
    assert cli("migrate", "up", "--to", "0002_b").code == 0
    assert marks(yoyo("list")) == {"0001_a": "A", "0002_b": "A", "0003_c": "U"}


def test_what_stock_yoyo_applied_ours_shows_as_applied(cli: Cli, abc: list[str], yoyo: Yoyo) -> None:
    assert yoyo("apply", "-r", "0001_a").code == 0
    found = cli("migrate", "status", "--json").json
    assert [m["state"] for m in found["migrations"]] == ["unverified", "pending", "pending"]
    result = cli("migrate", "up", "--json")
    assert [d["id"] for d in result.json["applied"]] == ["0002_b", "0003_c"]


def test_each_rolls_back_what_the_other_applied(cli: Cli, abc: list[str], yoyo: Yoyo, conn: Connection) -> None:
    cli("migrate", "up")
    assert yoyo("rollback", "-a").code == 0
    assert tables(conn) == set()
    assert cli("migrate", "status", "--json").json["pending"] == 3
    assert yoyo("apply").code == 0
    # yoyo does not stamp: somebody has to say what the database is.
    assert cli("migrate", "down", "--steps", "3").code == 0
    assert tables(conn) == set()
    assert marks(yoyo("list")) == {"0001_a": "U", "0002_b": "U", "0003_c": "U"}


def test_the_tables_are_the_ones_that_stock_yoyo_makes(
    cli: Cli, abc: list[str], yoyo: Yoyo, conn: Connection, target: Target
) -> None:
    query = (
        "select table_name, column_name, data_type, character_maximum_length, is_nullable from"
        " information_schema.columns where table_name ~ '^_?yoyo' order by table_name, ordinal_position"
    )
    cli("migrate", "up")
    ours = conn.execute(query).fetchall()
    conn.execute("drop table _yoyo_migration, _yoyo_log, _yoyo_version, yoyo_lock, a, b, c")
    yoyo("apply")
    assert conn.execute(query).fetchall() == ours
    assert len({row[0] for row in ours}) == 4


def test_both_write_the_same_log(cli: Cli, abc: list[str], yoyo: Yoyo, conn: Connection) -> None:
    cli("migrate", "up")
    cli("migrate", "down")
    yoyo("apply")
    yoyo("rollback", "-r", "0003_c")
    log = conn.execute("select migration_id, operation from _yoyo_log order by created_at_utc").fetchall()
    assert log == [
        ("0001_a", "apply"),
        ("0002_b", "apply"),
        ("0003_c", "apply"),
        ("0003_c", "rollback"),
        ("0003_c", "apply"),
        ("0003_c", "rollback"),
    ]
    rows = conn.execute("select length(id), length(migration_hash), username <> '', hostname <> '' from _yoyo_log")
    assert set(rows.fetchall()) == {(36, 64, True, True)}


def test_a_migration_that_stock_yoyo_reads_differently_is_refused(
    cli: Cli, write: Write, yoyo: Yoyo, conn: Connection
) -> None:
    """yoyo passes over a capital letter and then fails in the middle; ours says so before."""
    write("0001_a", "-- Transactional: false\ncreate table a ();")
    result = cli("migrate", "up", "--json")
    assert result.code == 2
    assert result.json["error"]["code"] == "migrate.bad-directive"
    assert applied_ids(conn) == []


def test_stock_yoyo_waits_for_ours(cli: Cli, write: Write, yoyo: Yoyo, conn: Connection) -> None:
    write("0001_a", "create table a (); select pg_sleep(2);")
    running = cli.start("migrate", "up")
    try:
        while (
            conn.execute("select to_regclass('yoyo_lock')").fetchone() == (None,)
            or not conn.execute("select pid from yoyo_lock").fetchall()
        ):
            assert running.poll() is None
        assert conn.execute("select pid from yoyo_lock").fetchall() == [(running.pid,)]
        stock = yoyo("apply")
        assert stock.code == 0, stock.err
        assert running.wait(timeout=20) == 0
    finally:
        running.communicate()
    assert applied_ids(conn) == ["0001_a"]
    assert conn.execute("select count(*) from _yoyo_log").fetchone() == (1,)


def test_ours_waits_for_stock_yoyo_and_names_it(cli: Cli, abc: list[str], yoyo: Yoyo, conn: Connection) -> None:
    yoyo("list")
    conn.execute("insert into yoyo_lock (locked, ctime, pid) values (1, now() at time zone 'utc', 4242)")
    result = cli("migrate", "up", "--wait", "0.5", "--json")
    assert result.code == 5
    error = result.json["error"]
    assert error["code"] == "migrate.locked"
    assert "process 4242" in error["message"]
    assert "migrate unlock" in error["fix"]
    assert applied_ids(conn) == []
    # A foreign row is never removed.
    assert conn.execute("select pid from yoyo_lock").fetchall() == [(4242,)]
    yoyo("break-lock")
    assert cli("migrate", "up").code == 0


# ── killed ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def killed_yoyo(project: Path, target: Target, conn: Connection) -> Callable[..., int]:
    """Stock yoyo, killed with SIGKILL in the moment when it waits for a lock of ours: its process id."""

    def kill(locking: str, waiting_for: str) -> int:
        waits = (
            "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query ilike %s"
            " and datname = current_database()"
        )
        with connect(target) as holder:
            holder.execute(locking)
            with start_yoyo(project, target, "apply") as running:
                try:
                    wait_until(lambda: conn.execute(waits, [waiting_for]).fetchall())
                finally:
                    running.kill()
                    running.communicate()
        return running.pid

    return kill


def nobody_else(conn: Connection) -> bool:
    """Whether this is the only session of the database."""
    query = "select count(*) from pg_stat_activity where datname = current_database() and backend_type ~ 'client'"
    return conn.execute(query).fetchone() == (1,)


def test_a_yoyo_that_was_killed_inside_a_file_is_named_and_its_work_finished_by_ours(
    cli: Cli, abc: list[str], write: Write, yoyo: Yoyo, killed_yoyo: Callable[..., int], conn: Connection
) -> None:
    write("0002_b", "create table b (id int); select pg_advisory_xact_lock(1717);", "drop table b;")
    pid = killed_yoyo("select pg_advisory_lock(1717)", "%pg_advisory_xact_lock(1717)%")
    wait_until(lambda: nobody_else(conn))
    assert (applied_ids(conn), tables(conn)) == (["0001_a"], {"a"})
    held = cli("migrate", "up", "--wait", "0", "--json")
    assert held.code == 5
    assert f"yoyo (process {pid}" in held.json["error"]["message"]
    assert "migrate unlock" in held.json["error"]["fix"]
    assert cli("migrate", "status").code == 0
    cli("env", "set", "test")
    conn.close()  # a session as old as that could be behind the row
    removed = cli("migrate", "unlock", "--json")
    assert removed.json["removed"] is True, removed.out
    assert cli("migrate", "up").code == 0
    assert marks(yoyo("list")) == dict.fromkeys(abc, "A")


def test_what_a_killed_yoyo_has_done_and_not_recorded_is_marked_and_gone_on_with(
    cli: Cli, abc: list[str], yoyo: Yoyo, killed_yoyo: Callable[..., int], conn: Connection
) -> None:
    """Stock yoyo commits a file first and records it afterwards, on another connection."""
    yoyo("apply", "-r", "0001_a")
    killed_yoyo("begin; lock table _yoyo_log in exclusive mode", "%insert into%yoyo_log%")
    wait_until(lambda: nobody_else(conn))
    assert (applied_ids(conn), tables(conn)) == (["0001_a"], {"a", "b"})
    assert yoyo("break-lock").code == 0
    result = cli("migrate", "up", "--json")
    assert result.code == 6
    assert 'relation "b" already exists' in result.json["error"]["message"]
    assert "migrate repair --mark-applied 0002_b" in result.json["error"]["fix"]
    cli("env", "set", "test")
    assert cli("migrate", "repair", "--mark-applied", "0002_b").code == 0
    assert cli("migrate", "up").code == 0
    assert tables(conn) == {"a", "b", "c"}
    assert marks(yoyo("list")) == dict.fromkeys(abc, "A")


def test_after_a_kill_of_ours_stock_yoyo_goes_on_when_the_lock_is_taken_off(
    cli: Cli, abc: list[str], write: Write, yoyo: Yoyo, conn: Connection
) -> None:
    write("0002_b", "create table b (id int); select pg_advisory_xact_lock(1717);", "drop table b;")
    conn.execute("select pg_advisory_lock(1717)")
    running: subprocess.Popen[str] = cli.start("migrate", "up")
    waiting = "select 1 from pg_locks where locktype = 'advisory' and objid = 1717 and not granted"
    wait_until(lambda: conn.execute(waiting).fetchall())
    running.kill()
    running.communicate()
    conn.execute("select pg_advisory_unlock_all()")
    wait_until(lambda: nobody_else(conn))
    found = cli("migrate", "unlock")
    assert found.out.startswith("Removed the lock of pliers-db on "), found
    stock = yoyo("apply")
    assert stock.code == 0, stock.err
    assert tables(conn) == {"a", "b", "c"}
    assert cli("migrate", "status", "--check").code == 0
    assert cli("migrate", "down", "--steps", "3").code == 0
    assert tables(conn) == set()
    assert marks(yoyo("list")) == dict.fromkeys(abc, "U")
