"""A rollback that would take rows with it says how many, and waits for a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, Database
from pliers_db.errors import DataLoss
from pliers_db.migrate import Outcome, down, read_folder, up
from pliers_db.migrate.dropped import Dropped, find_dropped
from tests.fix_cli import Cli
from tests.fix_migrate import Write, applied_ids, tables


@pytest.fixture
def run(project: Path, target: Target) -> Callable[..., Outcome]:
    """`up`, and then `down` with these arguments."""

    def run(filling: str = "", **arguments: object) -> Outcome:
        folder = read_folder(project / "migrations")
        with Database(target) as database:
            up(database, folder, environment=Environment.TEST)
            if filling:
                with database.connection() as conn:
                    conn.execute(filling.encode())
            return down(database, folder, environment=Environment.TEST, **arguments)  # type: ignore[arg-type]

    return run


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("drop table a", [Dropped("table", "a")]),
        ('drop table if exists app.a, "B" cascade', [Dropped("table", "app.a"), Dropped("table", '"B"')]),
        ("alter table a drop column x, add y int, drop z", [Dropped("column", "a", "x"), Dropped("column", "a", "z")]),
        ("truncate a, b", [Dropped("table", "a"), Dropped("table", "b")]),
        ('drop schema app, "My App" cascade', [Dropped("schema", "app"), Dropped("schema", '"My App"')]),
        ("drop index i; drop view v; drop function f(); alter table a drop constraint c", []),
        ("-- drop table a\nselect 'drop table b'", []),
        ("some syntax of the future; drop table a", [Dropped("table", "a")]),
    ],
)
def test_what_a_rollback_drops_is_read_from_its_statements(sql: str, found: list[Dropped]) -> None:
    assert find_dropped(sql) == found


def test_down_refuses_to_drop_rows_and_says_how_many(cli: Cli, abc: list[str], conn: Connection) -> None:
    cli("migrate", "up")
    conn.execute("insert into c select generate_series(1, 3)")
    for command in ("down", "redo"):
        result = cli("migrate", command, "--json")
        assert result.code == 4
        error = result.json["error"]
        assert error["code"] == "migrate.data-loss"
        assert "table c (3 rows)" in error["why"]
        assert "--allow-data-loss" in error["fix"]
        assert error["details"]["drops"] == [{"kind": "table", "name": "c", "rows": 3, "exact": True}]
    assert applied_ids(conn) == abc
    allowed = cli("migrate", "down", "--allow-data-loss")
    assert allowed.code == 0, allowed.err
    assert "0003_c drops table c (3 rows)" in allowed.err
    assert tables(conn) == {"a", "b"}


def test_what_holds_no_rows_is_rolled_back_without_a_word(run: Callable[..., Outcome], abc: list[str]) -> None:
    assert [d.id for d in run(steps=3).rolled_back] == abc[::-1]


@pytest.mark.parametrize(
    ("table", "down_sql", "filling", "says"),
    [
        ("table a (x int, y int)", "alter table a drop column y", "insert into a values (1, 2), (3, null)", "(1 row"),
        (
            "table a (x int) partition by range (x); create table a1 partition of a default",
            "drop table a",
            "insert into a values (1), (2)",
            "table a (2 rows)",
        ),
        ("schema app; create table app.a (x int)", "drop schema app cascade", "insert into app.a values (1)", "1 row"),
        ("table a (x int)", "truncate a", "insert into a values (1)", "table a (1 row)"),
        (
            "table a (x int)",
            "drop table a",
            "insert into a select generate_series(1, 25000); analyze a",
            "table a (about 25,000 rows)",
        ),
        (
            "schema app; create table app.a (x int)",
            "set search_path = app; drop table a",
            "insert into app.a values (1)",
            "table a (1 row)",
        ),
    ],
)
def test_rows_are_found_wherever_they_stand(
    table: str, down_sql: str, filling: str, says: str, write: Write, run: Callable[..., Outcome]
) -> None:
    write("0001_a", f"create {table};", down_sql + ";")
    with pytest.raises(DataLoss) as caught:
        run(filling)
    assert says in caught.value.why


@pytest.mark.parametrize(
    ("down_sql", "filling"),
    [
        ("alter table a drop column y", "insert into a values (1, null)"),
        ("drop table if exists a, never_there", ""),
        ("drop table a", "insert into a values (1); delete from a"),
        ("drop table a", "insert into a values (1); analyze a; delete from a"),
    ],
)
def test_nothing_is_refused_where_nothing_is_lost(
    down_sql: str, filling: str, write: Write, run: Callable[..., Outcome]
) -> None:
    write("0001_a", "create table a (x int, y int);", down_sql + ";")
    assert len(run(filling).rolled_back) == 1


def test_a_table_that_cannot_be_looked_into_counts_as_full(
    project: Path, write: Write, target: Target, conn: Connection
) -> None:
    write("0001_a", "create table a (x int);")
    folder = read_folder(project / "migrations")
    with Database(target) as database:
        up(database, folder, environment=Environment.TEST)
        conn.execute("begin; lock table a")
        with pytest.raises(DataLoss) as caught:
            down(database, folder, environment=Environment.TEST)
        conn.execute("rollback")
    assert "table a (nobody knows how many rows)" in caught.value.why
