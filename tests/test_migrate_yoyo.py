"""Stock yoyo and pliers-db on one database: each reads, continues and undoes what the other did."""

from __future__ import annotations

from collections.abc import Callable

from pliers_db.config import Target
from pliers_db.db import Connection
from tests.fix_cli import Cli, Result
from tests.fix_migrate import Write, applied_ids, marks, tables

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
