"""A migration and its record stand or fall together, whoever dies when; one run at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from tests.fix_cli import Cli, Result, url_of
from tests.fix_migrate import Write, applied_ids, marks, tables, wait_until

# While somebody holds this advisory lock, a migration that calls GATE waits inside its file.
GATE_KEY = 424242
GATE = f"select pg_advisory_xact_lock({GATE_KEY});"


def waiting_at_gate(conn: Connection) -> bool:
    row = conn.execute(
        "select count(*) from pg_locks where locktype = 'advisory' and objid = %s and not granted"
        " and database = (select oid from pg_database where datname = current_database())",
        [GATE_KEY],
    ).fetchone()
    return row == (1,)


def kill_at_gate(cli: Cli, conn: Connection, number: int = signal.SIGKILL) -> subprocess.Popen[str]:
    """Run ``migrate up`` until it stands at the gate, and kill it there."""
    conn.execute("select pg_advisory_lock(%s)", [GATE_KEY])
    running = cli.start("migrate", "up")
    wait_until(lambda: waiting_at_gate(conn) or running.poll() is not None)
    assert running.poll() is None
    os.kill(running.pid, number)
    running.communicate(timeout=20)
    return running


@pytest.mark.parametrize("statements", ["{work} {gate}", "{gate} {work}", "{work} {gate} select 1;"])
def test_a_run_killed_inside_a_file_leaves_it_undone_and_the_next_succeeds(
    statements: str, cli: Cli, write: Write, conn: Connection
) -> None:
    write("0001_a", "create table a ();")
    write("0002_b", statements.format(work="create table b ();", gate=GATE))
    write("0003_c", "create table c ();")
    kill_at_gate(cli, conn)
    conn.execute("select pg_advisory_unlock_all()")
    wait_until(lambda: not waiting_at_gate(conn))
    again = cli("migrate", "up")
    assert again.code == 0, again.err
    assert applied_ids(conn) == ["0001_a", "0002_b", "0003_c"]
    assert tables(conn) == {"a", "b", "c"}
    assert conn.execute("select count(*) from _yoyo_log where operation = 'apply'").fetchone() == (3,)


def test_a_run_killed_between_files_leaves_whole_migrations_and_the_next_succeeds(
    cli: Cli, write: Write, conn: Connection
) -> None:
    for number in range(1, 41):
        write(f"{number:04}_t{number}", f"create table t{number} (); select pg_sleep(0.02);")
    for _ in range(3):
        running = cli.start("migrate", "up")
        seen = len(applied_ids(conn))
        wait_until(lambda before=seen: len(applied_ids(conn)) > before + 2)  # type: ignore[misc]
        os.kill(running.pid, signal.SIGKILL)
        running.communicate(timeout=20)
        wait_until(
            lambda: (
                conn.execute(
                    "select count(*) from pg_stat_activity where application_name like 'pliers-db/%' and"
                    " datname = current_database()"
                ).fetchone()
                == (0,)
            )
        )
        assert tables(conn) == {i.partition("_")[2] for i in applied_ids(conn)}
    again = cli("migrate", "up")
    assert again.code == 0, again.err
    assert "removed the lock of a run that died" in again.err
    assert len(applied_ids(conn)) == len(tables(conn)) == 40


def test_the_lock_row_of_a_killed_run_does_not_stop_stock_yoyo_for_ever(
    cli: Cli, abc: list[str], write: Write, conn: Connection, yoyo: Callable[..., Result]
) -> None:
    write("0004_d", GATE)
    kill_at_gate(cli, conn)
    conn.execute("select pg_advisory_unlock_all()")
    assert conn.execute("select count(*) from yoyo_lock").fetchone() == (1,)
    result = cli("migrate", "up")
    assert result.code == 0
    assert conn.execute("select count(*) from yoyo_lock").fetchone() == (0,)
    assert conn.execute("select count(*) from _pliers_lock").fetchone() == (0,)
    assert set(marks(yoyo("list")).values()) == {"A"}


def test_a_backend_whose_client_was_killed_gives_the_lock_back(cli: Cli, write: Write, conn: Connection) -> None:
    """The server notices within seconds that nobody listens, though its statement would sleep on."""
    write("0001_a", "create table a (); select pg_sleep(600);")
    running = cli.start("migrate", "up")
    wait_until(lambda: conn.execute("select to_regclass('yoyo_lock')").fetchone() != (None,))
    wait_until(
        lambda: conn.execute("select count(*) from pg_stat_activity where wait_event = 'PgSleep'").fetchone() == (1,)
    )
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=20)
    write("0001_a", "create table a ();")
    again = cli("migrate", "up", "--wait", "30")
    assert again.code == 0, again.err
    assert applied_ids(conn) == ["0001_a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_cancels_rolls_back_and_frees_the_lock(
    number: int, cli: Cli, abc: list[str], write: Write, conn: Connection
) -> None:
    write("0002_b", f"create table b (); {GATE}")
    stopped = kill_at_gate(cli, conn, number)
    assert stopped.returncode == 130
    assert applied_ids(conn) == ["0001_a"]
    assert tables(conn) == {"a"}
    assert not waiting_at_gate(conn)
    assert conn.execute("select count(*) from yoyo_lock").fetchone() == (0,)
    conn.execute("select pg_advisory_unlock_all()")
    again = cli("migrate", "up", "--wait", "0")
    assert again.code == 0, again.err
    assert "died" not in again.err


def test_who_asks_a_second_time_is_not_made_to_wait(cli: Cli, write: Write, conn: Connection) -> None:
    """A server that does not answer the cancel must not keep a person waiting."""
    write("0001_a", f"create table a (); {GATE}")
    conn.execute("select pg_advisory_lock(%s)", [GATE_KEY])
    running = cli.start("migrate", "up")
    wait_until(lambda: waiting_at_gate(conn))
    query = "select pid from pg_locks where locktype = 'advisory' and objid = %s and not granted"
    (backend,) = conn.execute(query, [GATE_KEY]).fetchone() or ()
    os.kill(backend, signal.SIGSTOP)
    try:
        running.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=20)
        assert running.returncode == -signal.SIGTERM
    finally:
        os.kill(backend, signal.SIGCONT)
    conn.execute("select pg_advisory_unlock_all()")
    again = cli("migrate", "up", "--wait", "30")
    assert again.code == 0, again.err
    assert applied_ids(conn) == ["0001_a"]


def test_a_run_whose_connection_is_terminated_says_so_and_the_next_succeeds(
    cli: Cli, write: Write, conn: Connection
) -> None:
    write("0001_a", f"create table a (); {GATE}")
    conn.execute("select pg_advisory_lock(%s)", [GATE_KEY])
    running = cli.start("migrate", "up")
    wait_until(lambda: waiting_at_gate(conn))
    conn.execute(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = %s and not granted",
        [GATE_KEY],
    )
    _, err = running.communicate(timeout=20)
    assert running.returncode == 3, err
    assert "connection was lost while 0001_a ran" in err
    conn.execute("select pg_advisory_unlock_all()")
    assert applied_ids(conn) == []
    assert cli("migrate", "up").code == 0
    assert applied_ids(conn) == ["0001_a"]


@pytest.mark.slow
def test_twenty_at_once_apply_each_migration_once_and_all_exit_0(cli: Cli, write: Write, conn: Connection) -> None:
    for number in range(1, 11):
        write(f"{number:04}_t{number}", f"create table t{number} (id int); insert into t{number} values (1);")
    running = [cli.start("migrate", "up") for _ in range(20)]
    ends = [(r.communicate(timeout=100), r.returncode) for r in running]
    assert [code for _, code in ends] == [0] * 20, [err for (_, err), code in ends if code]
    assert conn.execute("select count(*), count(distinct migration_id) from _yoyo_log").fetchone() == (10, 10)
    assert len(applied_ids(conn)) == 10
    assert conn.execute("select count(*) from yoyo_lock").fetchone() == (0,)
    assert sum(int("Applied 10 migrations" in out) for (out, _), _ in ends) == 1


def test_a_live_holder_is_named(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", GATE)
    conn.execute("select pg_advisory_lock(%s)", [GATE_KEY])
    running = cli.start("migrate", "up")
    try:
        wait_until(lambda: waiting_at_gate(conn))
        result = cli("migrate", "up", "--wait", "0.3", "--json")
        assert result.code == 5
        assert "pliers-db/migrate up (pid " in result.json["error"]["message"]
        # status asks nobody.
        assert cli("migrate", "status").code == 0
    finally:
        conn.execute("select pg_advisory_unlock_all()")
        _, err = running.communicate(timeout=20)
    assert running.returncode == 0, err


def test_a_waiting_run_does_not_stop_create_index_concurrently(cli: Cli, write: Write, conn: Connection) -> None:
    """A session that waits inside pg_advisory_lock would: it holds a snapshot, and both would wait for each other."""
    conn.execute("create table a (id int); insert into a select generate_series(1, 10)")
    write("0001_a", GATE)
    write("0002_i", "-- transactional: false\ncreate index concurrently i on a (id);", "drop index i;")
    conn.execute("select pg_advisory_lock(%s)", [GATE_KEY])
    first = cli.start("migrate", "up")
    wait_until(lambda: waiting_at_gate(conn))
    second = cli.start("migrate", "up")
    time.sleep(1.0)
    conn.execute("select pg_advisory_unlock_all()")
    for running in (first, second):
        _, err = running.communicate(timeout=30)
        assert running.returncode == 0, err
    assert conn.execute("select indisvalid from pg_index where indexrelid = 'i'::regclass").fetchone() == (True,)


def test_the_pool_of_one_connection_is_enough(cli: Cli, abc: list[str], conn: Connection) -> None:
    result = cli("migrate", "up", env={"DB_POOL_MIN": "0", "DB_POOL_MAX": "1"})
    assert result.code == 0, result.err
    assert applied_ids(conn) == abc


def test_an_idle_session_timeout_does_not_part_a_migration_from_its_record(
    cli: Cli, write: Write, conn: Connection, target: Target
) -> None:
    conn.execute(f'alter database "{target.dbname}" set idle_session_timeout = 300')
    write("0001_a", "create table a (); select pg_sleep(0.8);")
    write("0002_b", "create table b ();")
    result = cli("migrate", "up")
    assert result.code == 0, result.err
    assert applied_ids(conn) == ["0001_a", "0002_b"]


def test_a_user_without_a_name_can_migrate_and_nobody_asks_the_dns(cli: Cli, abc: list[str], conn: Connection) -> None:
    """Containers run under random numbers; stock yoyo fails there after the DDL is committed."""
    code = (
        "import getpass, os, socket\n"
        "def nobody(): raise KeyError('getpwuid(): uid not found: 123456')\n"
        "getpass.getuser = nobody; os.getuid = lambda: 123456; socket.getfqdn = nobody\n"
        "import sys; sys.argv = ['pliers-db', 'migrate', 'up']\n"
        "from pliers_db.cli.main import main; main()"
    )
    command = [cli.command()[0], "-c", code]
    done = subprocess.run(command, cwd=cli.folder, env=cli.environ(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert conn.execute("select distinct username from _yoyo_log").fetchall() == [("uid:123456",)]


def test_two_databases_do_not_lock_each_other(cli: Cli, write: Write, conn: Connection, server: object) -> None:
    write("0001_a", GATE)
    conn.execute("select pg_advisory_lock(%s)", [GATE_KEY])
    running = cli.start("migrate", "up")
    other = f"{conn.info.dbname}_other"
    conn.execute(f'create database "{other}"')
    try:
        wait_until(lambda: waiting_at_gate(conn))
        url = url_of(Target(dbname=other, host=conn.info.host, port=str(conn.info.port), user=conn.info.user))
        assert cli("migrate", "up", "--wait", "0", env={"DATABASE_URL": url}).code == 0
    finally:
        conn.execute("select pg_advisory_unlock_all()")
        running.communicate(timeout=20)
        conn.execute(f'drop database "{other}" with (force)')
    with connect(Target(dbname="postgres", host=conn.info.host, port=str(conn.info.port), user=conn.info.user)):
        assert applied_ids(conn) == ["0001_a"]
