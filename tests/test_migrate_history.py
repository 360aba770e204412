"""What the database remembers of each migration: edits, missing and late files, repairs, the log, the lock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, connect, write_stamp
from pliers_db.migrate.edits import same_meaning
from tests.fix_cli import Cli, Result, url_of
from tests.fix_migrate import Write, applied_ids, marks, tables

Yoyo = Callable[..., Result]


def states(cli: Cli) -> dict[str, str]:
    return {m["id"]: m["state"] for m in cli("migrate", "status", "--json").json["migrations"]}


def refused(result: Result, code: str = "migrate.history") -> dict[str, str]:
    assert result.code == 4, result.err
    error: dict[str, str] = result.json["error"]
    assert error["code"] == code
    return error


# ── edited ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_edited_migration_is_seen_and_stops_the_next_up(
    cli: Cli, abc: list[str], write: Write, conn: Connection
) -> None:
    cli("migrate", "up")
    write("0002_b", "create table b (id bigint);\n")
    assert states(cli) == {"0001_a": "applied", "0002_b": "edited", "0003_c": "applied"}
    assert cli("migrate", "status", "--check").code == 1
    nothing = cli("migrate", "up")
    assert nothing.code == 0
    assert "0002_b was edited" in nothing.err
    write("0004_d", "create table d ();")
    error = refused(cli("migrate", "up", "--json"))
    assert "0002_b.sql was edited" in error["message"]
    assert "-create table b (id int);" in error["why"]
    assert "+create table b (id bigint);" in error["why"]
    assert "--accept-edit 0002_b" in error["fix"]
    assert applied_ids(conn) == abc


def test_accept_edit_lets_the_present_text_count(cli: Cli, abc: list[str], write: Write, conn: Connection) -> None:
    cli("migrate", "up")
    write("0002_b", "create table b (id bigint);\n")
    assert cli("migrate", "repair", "--accept-edit", "0002_b").code == 0
    assert states(cli)["0002_b"] == "applied"
    assert cli("migrate", "up").code == 0
    assert tables(conn) == {"a", "b", "c"}


def test_comments_layout_and_case_are_no_edit(cli: Cli, abc: list[str], write: Write) -> None:
    cli("migrate", "up")
    write("0002_b", "-- A licence header.\n\nCREATE TABLE b (\n    ID int /* the key */\n)\n;\n")
    found = cli("migrate", "status", "--json").json["migrations"][1]
    assert (found["state"], found["cosmetic_edit"]) == ("applied", True)
    assert "comments or layout changed since" in cli("migrate", "status").out
    assert cli("migrate", "status", "--check").code == 0
    write("0004_d", "create table d ();")
    assert cli("migrate", "up").code == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("select 1", "SELECT  1 ;", True),
        ("select 1 -- x", "/* y /* z */ */ select\n1", True),
        ("select Foo", "select foo", True),
        ("select 1", "select 2", False),
        ("select 'a'", "select 'A'", False),
        ('select "Foo"', "select foo", False),
        ("select $$ a -- b $$", "select $$ a -- c $$", False),
        ("select 1; select 2", "select 2; select 1", False),
        ("select 'open", "select 'open ", False),
        ("", ";;", True),
    ],
)
def test_what_counts_as_the_same(one: str, other: str, same: bool) -> None:
    assert same_meaning(one, other) is same


def test_redo_of_an_edited_migration_undoes_what_was_applied_not_what_the_file_says_now(
    cli: Cli, abc: list[str], write: Write, conn: Connection
) -> None:
    """The everyday loop: change the last migration and its rollback, then redo."""
    cli("migrate", "up")
    write("0003_c", "create table c_renamed (id int);", "drop table c_renamed;")
    result = cli("migrate", "redo")
    assert result.code == 0, result.err
    assert tables(conn) == {"a", "b", "c_renamed"}
    assert states(cli)["0003_c"] == "applied"
    assert cli("migrate", "down").code == 0
    assert tables(conn) == {"a", "b"}


# ── missing ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_migration_whose_file_is_gone_can_still_be_rolled_back(
    cli: Cli, abc: list[str], project: Path, conn: Connection
) -> None:
    """Another branch was checked out: what undoes it was stored when it was applied."""
    cli("migrate", "up")
    for file in (project / "migrations").glob("0003_c*"):
        file.unlink()
    assert states(cli)["0003_c"] == "missing"
    assert cli("migrate", "status", "--check").code == 1
    assert refused(cli("migrate", "redo", "--json"), "migrate.no-rollback")
    result = cli("migrate", "down")
    assert result.code == 0, result.err
    assert tables(conn) == {"a", "b"}
    assert applied_ids(conn) == ["0001_a", "0002_b"]


def test_a_missing_file_without_a_stored_rollback_stops_down(
    cli: Cli, abc: list[str], project: Path, conn: Connection, yoyo: Yoyo
) -> None:
    yoyo("apply")
    (project / "migrations" / "0003_c.sql").unlink()
    cli("env", "set", "test")
    error = refused(cli("migrate", "down", "--json"), "migrate.no-rollback")
    assert "0003_c" in error["message"]
    assert applied_ids(conn) == abc


def test_a_database_that_is_ahead_of_the_folder_is_no_conflict(
    cli: Cli, abc: list[str], project: Path, conn: Connection
) -> None:
    """An older release starts again after a newer one has migrated."""
    cli("migrate", "up")
    for file in (project / "migrations").glob("0003_c*"):
        file.unlink()
    result = cli("migrate", "up")
    assert result.code == 0
    assert "0003_c is applied and newer than this folder" in result.err


def test_a_missing_file_in_the_middle_stops_the_next_up(
    cli: Cli, abc: list[str], project: Path, write: Write, conn: Connection
) -> None:
    cli("migrate", "up")
    (project / "migrations" / "0002_b.sql").unlink()
    (project / "migrations" / "0002_b.rollback.sql").unlink()
    write("0004_d", "create table d ();")
    error = refused(cli("migrate", "up", "--json"))
    assert "--forget 0002_b" in error["fix"]
    assert "d" not in tables(conn)
    assert cli("migrate", "repair", "--forget", "0002_b").code == 0
    assert cli("migrate", "up").code == 0
    assert applied_ids(conn) == ["0001_a", "0003_c", "0004_d"]
    assert tables(conn) == {"a", "b", "c", "d"}


# ── out of order ────────────────────────────────────────────────────────────────────────────────────────────
def test_a_migration_that_arrives_late_needs_a_word(cli: Cli, abc: list[str], write: Write, conn: Connection) -> None:
    cli("migrate", "up")
    write("0000_z", "create table z ();")
    assert states(cli)["0000_z"] == "out-of-order"
    assert cli("migrate", "status", "--check").code == 1
    error = refused(cli("migrate", "up", "--json"))
    assert "0000_z is older" in error["message"]
    assert applied_ids(conn) == abc
    assert cli("migrate", "up", "--allow-out-of-order").code == 0
    assert applied_ids(conn) == ["0000_z", *abc]
    assert cli("migrate", "status", "--check").code == 0


# ── unverified ──────────────────────────────────────────────────────────────────────────────────────────────
def test_what_stock_yoyo_applied_is_unverified_and_never_an_error(
    cli: Cli, abc: list[str], write: Write, yoyo: Yoyo, conn: Connection
) -> None:
    yoyo("apply")
    assert set(states(cli).values()) == {"unverified"}
    assert cli("migrate", "status", "--check").code == 0
    write("0004_d", "create table d ();")
    assert cli("migrate", "up").code == 0
    assert states(cli) == {**dict.fromkeys(abc, "unverified"), "0004_d": "applied"}
    cli("env", "set", "test")
    assert cli("migrate", "repair", "--accept-edit", "0001_a").code == 0
    assert states(cli)["0001_a"] == "applied"


def test_our_record_does_not_outlive_a_rollback_by_stock_yoyo(
    cli: Cli, abc: list[str], write: Write, yoyo: Yoyo, conn: Connection
) -> None:
    cli("migrate", "up")
    assert yoyo("rollback", "-r", "0003_c").code == 0
    assert states(cli)["0003_c"] == "pending"
    write("0003_c", "create table c (id text);")
    assert yoyo("apply").code == 0
    assert states(cli)["0003_c"] == "unverified"  # not "edited": our text is of the time before
    assert cli("migrate", "down").code == 0
    assert cli("migrate", "up").code == 0
    assert states(cli)["0003_c"] == "applied"


# ── repair ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_mark_applied_and_mark_pending_run_nothing(cli: Cli, abc: list[str], conn: Connection, yoyo: Yoyo) -> None:
    assert cli("migrate", "repair", "--mark-applied", "0001_a").code == 0
    assert states(cli) == {"0001_a": "applied", "0002_b": "pending", "0003_c": "pending"}
    assert tables(conn) == set()
    assert marks(yoyo("list"))["0001_a"] == "A"
    assert cli("migrate", "repair", "--mark-pending", "0001_a").code == 0
    assert marks(yoyo("list"))["0001_a"] == "U"
    log = [row[0] for row in conn.execute("select operation from _yoyo_log order by created_at_utc")]
    assert log == ["mark", "unmark"]
    assert cli("migrate", "up").code == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 2, "needs to know what to do"),
        (("--mark-applied", "0001_a", "--forget", "0002_b"), 2, "one thing at a time"),
        (("--mark-applied", "0001_a"), 4, "0001_a is applied; nothing was changed"),
        (("--mark-pending", "0003_c"), 4, "0003_c is pending; nothing was changed"),
        (("--accept-edit", "0003_c"), 4, "0003_c is pending"),
        (("--forget", "0001_a"), 4, "0001_a is applied"),
        (("--forget", "0009_x"), 2, "No migration is called"),
    ],
)
def test_a_repair_that_does_not_fit_changes_nothing(
    words: tuple[str, ...], code: int, says: str, cli: Cli, abc: list[str], conn: Connection
) -> None:
    cli("migrate", "up", "--to", "0002_b")
    result = cli("migrate", "repair", *words)
    assert result.code == code
    assert says in result.err
    assert applied_ids(conn) == ["0001_a", "0002_b"]


def test_repair_asks_a_protected_database_for_its_name(
    cli: Cli, abc: list[str], conn: Connection, target: Target
) -> None:
    cli("migrate", "up")
    write_stamp(conn, Environment.STAGING)
    env = {"PLIERS_ENV": "staging"}
    assert refused(cli("migrate", "repair", "--mark-pending", "0003_c", "--json", env=env), "db.protected")
    named = cli("migrate", "repair", "--mark-pending", "0003_c", "--confirm-db", target.dbname, env=env)
    assert named.code == 0, named.err


# ── history ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_history_tells_everything_that_was_done_the_latest_first(cli: Cli, abc: list[str], yoyo: Yoyo) -> None:
    assert cli("migrate", "history", "--json").json["history"] == []
    cli("migrate", "up", "--to", "0002_b")
    cli("migrate", "down")
    yoyo("apply", "-r", "0002_b")
    found = cli("migrate", "history", "--json").json["history"]
    assert [(h["id"], h["operation"]) for h in found] == [
        ("0002_b", "apply"),
        ("0002_b", "rollback"),
        ("0002_b", "apply"),
        ("0001_a", "apply"),
    ]
    assert found[-1]["ms"] > 0
    assert found[0]["ms"] is None
    text = cli("migrate", "history", "--limit", "2").out.splitlines()
    assert len(text) == 3
    assert "rollback" in text[2]


# ── unlock ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_unlock_removes_a_row_of_stock_yoyo_only_when_nobody_can_be_behind_it(
    cli: Cli, abc: list[str], yoyo: Yoyo, conn: Connection, target: Target
) -> None:
    yoyo("list")
    assert cli("migrate", "unlock").out.strip() == "Nobody holds the lock."
    conn.execute("insert into yoyo_lock (locked, ctime, pid) values (1, now() at time zone 'utc', 4242)")
    # This test's own session is old enough to be the yoyo that took it.
    error = refused(cli("migrate", "unlock", "--json"), "migrate.lock-alive")
    assert "process 4242" in error["message"]
    conn.execute("update yoyo_lock set ctime = ctime - interval '1 day'")
    cli("env", "set", "test")
    result = cli("migrate", "unlock", "--json")
    assert result.code == 0, result.err
    assert result.json["removed"] is True
    assert conn.execute("select count(*) from yoyo_lock").fetchone() == (0,)


def test_unlock_shows_a_live_run_and_ends_it_only_when_told_to(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "select pg_advisory_xact_lock(11);")
    conn.execute("select pg_advisory_lock(11)")
    running = cli.start("migrate", "up")
    try:
        while not conn.execute("select 1 from pg_locks where locktype = 'advisory' and not granted").fetchall():
            assert running.poll() is None
        shown = cli("migrate", "unlock")
        assert "is held by pliers-db/migrate up (pid" in shown.out
        assert running.poll() is None
        cli("env", "set", "test")
        ended = cli("migrate", "unlock", "--terminate")
        assert ended.code == 0, ended.err
        assert running.wait(timeout=20) == 3
    finally:
        running.communicate(timeout=20)
    conn.execute("select pg_advisory_unlock_all()")
    assert cli("migrate", "up", "--wait", "5").code == 0


# ── who may read it ─────────────────────────────────────────────────────────────────────────────────────────
def test_the_stored_text_is_what_was_sent(cli: Cli, write: Write, conn: Connection) -> None:
    text = (
        "create table a (x text default 'it''s $$ größe € \\n /* no comment */ --');\n"
        "/* a /* b; */ c; */\n-- the end */ $$"
    )
    write("0001_a", text, "drop table a; -- ü")
    cli("migrate", "up")
    assert conn.execute("select sql, rollback_sql, duration_ms > 0 from _pliers_migration").fetchone() == (
        text,
        "drop table a; -- ü",
        True,
    )


def test_a_database_that_an_earlier_version_migrated_gets_the_new_table(
    cli: Cli, abc: list[str], conn: Connection, target: Target
) -> None:
    cli("migrate", "up", "--to", "0002_b")
    conn.execute("drop table _pliers_migration")
    assert states(cli) == {"0001_a": "unverified", "0002_b": "unverified", "0003_c": "pending"}
    assert cli("migrate", "up").code == 0
    with connect(target) as other:
        assert [r[0] for r in other.execute("select migration_id from _pliers_migration")] == ["0003_c"]
    assert cli("migrate", "status", env={"DATABASE_URL": url_of(target)}).code == 0
