"""How much of the pending ones `up` applies: some of them, or all in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, Database
from pliers_db.errors import BadMigration, MigrationFailed, MigrationPartial
from pliers_db.migrate import Options, Outcome, down, read_folder, read_status, up
from tests.fix_cli import Cli
from tests.fix_migrate import Write, applied_ids, marks, tables

TOGETHER = Options(single_transaction=True)


@pytest.fixture
def apply(project: Path, target: Target) -> Callable[..., Outcome]:
    def apply(**arguments: object) -> Outcome:
        with Database(target) as database:
            folder = read_folder(project / "migrations")
            return up(database, folder, environment=Environment.TEST, **arguments)  # type: ignore[arg-type]

    return apply


def test_up_applies_as_many_as_it_is_told(cli: Cli, abc: list[str], conn: Connection) -> None:
    result = cli("migrate", "up", "--steps", "2", "--json")
    assert [d["id"] for d in result.json["applied"]] == abc[:2]
    assert result.json["pending"] == 1
    assert cli("migrate", "up", "--steps", "9", "--to", "0003_c").code == 0
    assert applied_ids(conn) == abc
    assert cli("migrate", "up", "--steps", "0").code == 2


def test_all_in_one_transaction_are_recorded_as_any_others(
    cli: Cli, abc: list[str], conn: Connection, yoyo: Callable[..., object], project: Path, target: Target
) -> None:
    result = cli("migrate", "up", "--single-transaction")
    assert result.code == 0, result.err
    assert tables(conn) == {"a", "b", "c"}
    one = conn.execute("select count(distinct xmin::text), count(*), min(duration_ms) > 0 from _pliers_migration")
    assert one.fetchone() == (1, 3, True)
    assert set(marks(yoyo("list")).values()) == {"A"}  # type: ignore[arg-type]
    with Database(target) as database:
        assert read_status(database, read_folder(project / "migrations")).clean


def test_in_one_transaction_the_last_failure_takes_all_back(
    abc: list[str], write: Write, apply: Callable[..., Outcome], conn: Connection
) -> None:
    write("0003_c", "create table c ();\nselect no_such_function();")
    with pytest.raises(MigrationFailed) as caught:
        apply(options=TOGETHER)
    assert "0003_c.sql:2:8: function no_such_function() does not exist" in caught.value.message
    assert tables(conn) == set()
    assert applied_ids(conn) == []
    apply(to="0002_b", options=TOGETHER)
    assert applied_ids(conn) == abc[:2]


def test_in_one_transaction_a_file_without_one_is_refused_before_anything_runs(
    abc: list[str], write: Write, apply: Callable[..., Outcome], conn: Connection
) -> None:
    write("0004_d", "-- transactional: false\nvacuum;", "select 1;")
    with pytest.raises(BadMigration, match=r"0004_d\.sql runs without a transaction"):
        apply(options=TOGETHER)
    assert tables(conn) == set()
    apply(to="0003_c", options=TOGETHER)
    assert applied_ids(conn) == abc


@contextmanager
def held_for(conn: Connection, table: str, seconds: float) -> Iterator[None]:
    """Somebody locks a table and leaves it after a while."""
    conn.execute(f"begin; lock table {table}")
    timer = Timer(seconds, conn.execute, ["commit"])
    timer.start()
    yield
    timer.join()


def test_in_one_transaction_a_lock_timeout_tries_all_of_them_again(
    abc: list[str], write: Write, apply: Callable[..., Outcome], conn: Connection
) -> None:
    """And each file has its own timeout, whatever the one before it has reset."""
    conn.execute("create table busy (id int)")
    write("0002_b", "create table b (); reset all;")
    write("0003_c", "create table c (); alter table busy add column x int;")
    with held_for(conn, "busy", 0.6), pytest.raises(MigrationFailed):
        apply(options=Options(lock_timeout=0.1, retries=0, single_transaction=True))
    assert applied_ids(conn) == []
    with held_for(conn, "busy", 0.6):
        outcome = apply(options=Options(lock_timeout=0.1, single_transaction=True))
    assert [d.id for d in outcome.applied] == abc
    assert applied_ids(conn) == abc


def test_redo_that_cannot_go_forward_says_that_the_rollback_stays(
    abc: list[str], write: Write, apply: Callable[..., Outcome], conn: Connection, project: Path, target: Target
) -> None:
    """Not only where the server refuses the file: here its record is refused."""
    apply()
    write("0003_c", "create table c (); drop table _pliers_migration;")
    with Database(target) as database, pytest.raises(MigrationPartial) as caught:
        down(database, read_folder(project / "migrations"), environment=Environment.TEST, again=True)
    assert caught.value.message.startswith("Rolled back 1 migration, not applied again")
    assert caught.value.details["rolled_back"] == ["0003_c"]
    assert "migrate up" in caught.value.fix
    assert applied_ids(conn) == abc[:2]
    assert tables(conn) == {"a", "b"}


def test_redo_of_two_that_stops_in_its_first_half_says_what_is_gone(
    abc: list[str], write: Write, apply: Callable[..., Outcome], conn: Connection, project: Path, target: Target
) -> None:
    write("0002_b", "create table b ();", "drop table b; select no_such_function();")
    apply()
    with Database(target) as database, pytest.raises(MigrationPartial) as caught:
        down(database, read_folder(project / "migrations"), environment=Environment.TEST, again=True, steps=2)
    assert caught.value.details["rolled_back"] == ["0003_c"]
    assert applied_ids(conn) == abc[:2]
