"""Files without a transaction: statement by statement, on record, and gone on with where they stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pliers_db.db import Connection
from pliers_db.errors import PartlyDone
from pliers_db.migrate.history import Progress
from pliers_db.migrate.steps import Kind, plan_steps, resume_at
from tests.fix_cli import Cli
from tests.fix_migrate import Write, applied_ids, tables, wait_until

HEAD = "-- transactional: false\n"


def state_of(cli: Cli, migration_id: str) -> str:
    found = cli("migrate", "status", "--json").json["migrations"]
    return str(next(m["state"] for m in found if m["id"] == migration_id))


def valid(conn: Connection, index: str) -> bool | None:
    row = conn.execute("select indisvalid from pg_index where indexrelid = to_regclass(%s)", [index]).fetchone()
    return row[0] if row else None


def progress(conn: Connection) -> list[tuple[str, int, bool]]:
    return conn.execute("select migration_id, finished, running from _pliers_progress").fetchall()


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("create table a ()", Kind.ATOMIC),
        ("update a set x = 1", Kind.ATOMIC),
        ("create index i on a (x)", Kind.ATOMIC),
        ("create index concurrently i on a (x)", Kind.CREATE_INDEX),
        ("drop index concurrently if exists i", Kind.REPEATABLE),
        ("drop index concurrently i", Kind.OPAQUE),
        ("reindex index concurrently i", Kind.REPEATABLE),
        ("vacuum analyze a", Kind.REPEATABLE),
        ("alter system set work_mem = '4MB'", Kind.REPEATABLE),
        ("set search_path = x", Kind.SETTING),
        ("call p()", Kind.OPAQUE),
        ("do $$ begin commit; end $$", Kind.OPAQUE),
        ("alter table a detach partition b concurrently", Kind.OPAQUE),
        ("create database x", Kind.OPAQUE),
    ],
)
def test_each_statement_is_of_one_kind(sql: str, kind: Kind) -> None:
    assert [s.kind for s in plan_steps(sql)] == [kind]


def at(finished: int, sql: str, *, running: bool = False) -> Progress:
    return Progress("0001_a", "apply", finished, 3, running, None, sql)


def test_where_a_run_goes_on() -> None:
    text = "create table a (); call p(); vacuum a;"
    steps = plan_steps(text)
    assert resume_at(steps, None, Path("x")) == 0
    assert resume_at(steps, at(1, text), Path("x")) == 1  # failed by an error: it did nothing
    assert resume_at(steps, at(2, text, running=True), Path("x")) == 2  # VACUUM may run twice
    assert resume_at(steps, at(1, "-- earlier\nCREATE TABLE a(); call q(); vacuum a"), Path("x")) == 1
    with pytest.raises(PartlyDone, match="killed while statement 2 of 3 ran"):
        resume_at(steps, at(1, text, running=True), Path("x"))
    with pytest.raises(PartlyDone, match="statement 1, which has run, was edited"):
        resume_at(steps, at(1, "create table b (); call p(); vacuum a;"), Path("x"))


def test_a_statement_that_fails_is_gone_on_with_when_its_cause_is_gone(
    cli: Cli, write: Write, conn: Connection
) -> None:
    conn.execute("create table u (id int); insert into u values (1), (1)")
    text = (
        f"{HEAD}create table log (at int);\ninsert into log values (1);\n"
        "create unique index concurrently i on u (id);\ninsert into log values (2);\n"
    )
    write("0001_u", text, "select 1;")
    result = cli("migrate", "up", "--json")
    assert result.code == 7
    assert "it goes on here" in result.json["error"]["fix"]
    assert state_of(cli, "0001_u") == "partial"
    assert "2 of 4 statements done, could not create unique index" in cli("migrate", "status").out
    assert valid(conn, "i") is None  # the INVALID index is gone at once
    assert cli("migrate", "up").code == 7  # still there
    conn.execute("delete from u")
    again = cli("migrate", "up")
    assert again.code == 0, again.err
    assert "0001_u goes on at statement 3 of 4" in again.err
    assert conn.execute("select at from log order by 1").fetchall() == [(1,), (2,)]
    assert valid(conn, "i") is True
    assert applied_ids(conn) == ["0001_u"]
    assert progress(conn) == []
    assert state_of(cli, "0001_u") == "applied"


def test_the_statement_that_failed_may_be_corrected_those_before_it_not(
    cli: Cli, write: Write, conn: Connection
) -> None:
    write("0001_a", f"{HEAD}create table a (id int);\nvacuum nowhere;\n")
    assert cli("migrate", "up").code == 7
    write("0001_a", f"{HEAD}create table b (id int);\nvacuum a;\n")
    result = cli("migrate", "up", "--json")
    assert result.code == 4
    assert result.json["error"]["code"] == "migrate.partly-done"
    write("0001_a", f"{HEAD}create table a (id int); -- as it was\nvacuum a;\n")
    assert cli("migrate", "up").code == 0
    assert tables(conn) == {"a"}


def kill_while(cli: Cli, conn: Connection, running_query: str) -> None:
    running = cli.start("migrate", "up")
    wait_until(
        lambda: conn.execute(
            "select 1 from pg_stat_activity where query ilike %s and state = 'active' and pid <> pg_backend_pid()",
            [running_query],
        ).fetchall()
    )
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=20)


def test_a_run_killed_inside_create_index_concurrently_builds_it_again(
    cli: Cli, write: Write, conn: Connection, target: object
) -> None:
    """With IF NOT EXISTS and without us, the INVALID index would be taken for done, for ever."""
    conn.execute("create table u (id int)")
    write(
        "0001_u",
        f"{HEAD}set work_mem = '5MB';\ncreate index concurrently if not exists i on u (id);\n",
        "drop index i;",
    )
    with conn.transaction():
        conn.execute("insert into u values (1)")  # the build waits for us
        from pliers_db.db import connect

        with connect(target) as watcher:  # type: ignore[arg-type]
            kill_while(cli, watcher, "create index concurrently%")
    wait_until(
        lambda: (
            not conn.execute("select 1 from pg_stat_activity where query ilike 'create index concurrently%'").fetchall()
        )
    )
    if valid(conn, "i"):  # the orphan may have come to its end before it looked whether anybody listens
        conn.execute("update pg_index set indisvalid = false where indexrelid = 'i'::regclass")
    assert state_of(cli, "0001_u") == "partial"
    again = cli("migrate", "up")
    assert again.code == 0, again.err
    assert valid(conn, "i") is True
    assert "INVALID" in again.err
    assert applied_ids(conn) == ["0001_u"]


def test_an_index_that_was_done_when_its_run_was_killed_is_not_built_twice(
    cli: Cli, write: Write, conn: Connection
) -> None:
    conn.execute("create table u (id int)")
    write("0001_u", f"{HEAD}vacuum nowhere;\n", "select 1;")
    cli("migrate", "up")
    text = f"{HEAD}analyze u;\ncreate index concurrently i on u (id);\n"
    write("0001_u", text, "drop index i;")
    conn.execute("create index i on u (id)")
    conn.execute(
        "insert into _pliers_progress (migration_hash, migration_id, operation, finished, statements, running, sql)"
        " values (encode(sha256('0001_u'), 'hex'), '0001_u', 'apply', 1, 2, true, %s)",
        [text],
    )
    before = conn.execute("select 'i'::regclass::oid").fetchone()
    result = cli("migrate", "up")
    assert result.code == 0, result.err
    assert conn.execute("select 'i'::regclass::oid").fetchone() == before


def test_a_run_killed_inside_something_opaque_asks_before_it_goes_on(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", f"{HEAD}create table a (id int);\ndo $$ begin perform pg_sleep(600); end $$;\ncreate table b ();\n")
    kill_while(cli, conn, "do $$%")
    wait_until(lambda: not conn.execute("select 1 from pg_stat_activity where query like 'do $$%'").fetchall(), 30)
    result = cli("migrate", "up", "--json")
    assert result.code == 4
    error = result.json["error"]
    assert error["code"] == "migrate.partly-done"
    assert "killed while statement 2 of 3 ran" in error["message"]
    assert "--statement 3" in error["fix"]
    cli("env", "set", "test")
    assert cli("migrate", "repair", "--resume", "0001_a", "--statement", "9").code == 2
    assert cli("migrate", "repair", "--resume", "0001_a", "--statement", "3").code == 0
    assert cli("migrate", "up").code == 0
    assert tables(conn) == {"a", "b"}


def test_settings_hold_when_a_run_goes_on(cli: Cli, write: Write, conn: Connection) -> None:
    conn.execute("create schema app; create table app.u (id int)")
    write("0001_u", f"{HEAD}set search_path = app;\ncreate table mine (id int);\nvacuum nowhere;\n", "select 1;")
    assert cli("migrate", "up").code == 7
    write("0001_u", f"{HEAD}set search_path = app;\ncreate table mine (id int);\nvacuum u;\n", "select 1;")
    result = cli("migrate", "up")
    assert result.code == 0, result.err


def test_a_rollback_that_stops_part_way_goes_on_with_down(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "create table a (); create table b ();", f"{HEAD}drop table b;\nvacuum nowhere;\ndrop table a;\n")
    cli("migrate", "up")
    assert cli("migrate", "down").code == 7
    assert state_of(cli, "0001_a") == "partial"
    assert cli("migrate", "up").code == 4, "though nothing is pending"
    write("0002_c", "create table c ();")
    refused = cli("migrate", "up", "--json")
    assert refused.code == 4
    assert "half rolled back" in refused.json["error"]["message"]
    write("0001_a", "create table a (); create table b ();", f"{HEAD}drop table b;\nvacuum;\ndrop table a;\n")
    result = cli("migrate", "down")
    assert result.code == 0, result.err
    assert tables(conn) == set()
    assert progress(conn) == []


def test_marking_a_partial_migration_ends_its_progress(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", f"{HEAD}create table a ();\nvacuum nowhere;\n")
    cli("migrate", "up")
    assert cli("migrate", "repair", "--mark-applied", "0001_a").code == 0
    assert state_of(cli, "0001_a") == "applied"
    assert progress(conn) == []


def test_a_role_that_a_failed_file_has_taken_does_not_hinder_the_lock_or_the_record(
    cli: Cli, write: Write, conn: Connection
) -> None:
    write("0001_a", f"{HEAD}create table a ();\nset role pg_monitor;\nvacuum nowhere;\n")
    result = cli("migrate", "up", "--json")
    assert result.code == 7
    assert "0001_a.sql:4:1" in result.json["error"]["message"]
    assert progress(conn) == [("0001_a", 2, False)]
    assert conn.execute("select count(*) from yoyo_lock").fetchone() == (0,)
