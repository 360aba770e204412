"""`migrate plan`: what `up` would run and lock, without running or locking any of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, Database, connect
from pliers_db.db.locks import LockName, advisory_lock
from pliers_db.errors import HistoryConflict
from pliers_db.migrate import read_folder, up
from pliers_db.migrate.facts import look_ahead
from pliers_db.migrate.lint.source import Source
from pliers_db.migrate.preview import Facts, Preview, Relation, Session, preview, settings_of, wanted_relations
from pliers_db.migrate.tablelocks import Lock
from pliers_db.postgres import scratch_server
from tests.fix_cli import Cli, url_of
from tests.fix_migrate import Write

SETTINGS = ("set local lock_timeout = '2000ms'", "set local statement_timeout = '0ms'")
ORDERS = Relation("public.orders", "r", 12 << 20, 10_000)


def source(text: str, name: str = "0002_b", *, transactional: bool = True) -> Source:
    return Source(Path(f"migrations/{name}.sql"), text, transactional, name)


# ── pure: no server ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_statement_is_told_with_its_lock_and_the_size_of_what_it_locks() -> None:
    file = source("\n-- why\nalter table orders add column x text;\ncreate table mine (id bigint primary key);\n")
    assert wanted_relations([file]) == ("orders",)
    found = preview([file], Facts({"orders": ORDERS}, SETTINGS))
    (migration,) = found.migrations
    first, second = migration.steps
    assert (first.line, first.sql) == (3, "alter table orders add column x text")
    assert first.locks[0].as_dict() == {
        "relation": "public.orders",
        "table": "public.orders",
        "mode": "ACCESS EXCLUSIVE",
        "stops": "reads and writes",
        "bytes": 12 << 20,
        "rows": 10_000,
    }
    assert ORDERS.size == "12.0 MB, about 10,000 rows"
    assert second.locks == ()
    assert found.tables == {"public.orders": (ORDERS, Lock.ACCESS_EXCLUSIVE)}


def test_a_table_that_nobody_analyzed_is_not_called_empty() -> None:
    fresh = Relation("public.orders", "r", 0, None)
    assert fresh.size == "never analyzed: size unknown"
    held = preview([source("truncate orders")], Facts({"orders": fresh}, ())).migrations[0].steps[0].locks[0]
    assert (held.as_dict()["bytes"], held.as_dict()["rows"]) == (None, None)


def test_what_an_earlier_migration_of_the_plan_makes_is_not_there_yet() -> None:
    files = [source("create table orders (id int);", "0002_b"), source("drop table orders;", "0003_c")]
    found = preview(files, Facts({"orders": ORDERS}, ()))
    assert found.tables == {}
    assert found.migrations[1].steps[0].destroys == ("drops table orders",)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (
            "drop table a, s.b cascade",
            ("drops table a and what depends on it", "drops table s.b and what depends on it"),
        ),
        ("alter table a drop column b, drop column c", ("drops column a.b", "drops column a.c")),
        ("truncate a, b", ("empties table a", "empties table b")),
        ("delete from a", ("deletes all rows of a",)),
        ("delete from a where id = 1", ()),
        ("drop schema s", ("drops schema s",)),
        ("drop materialized view m", ("drops materialized view m",)),
        ("drop index i", ()),
        ("drop database d", ("drops database d",)),
    ],
)
def test_destructive_statements_are_flagged(sql: str, told: tuple[str, ...]) -> None:
    assert preview([source(sql)], Facts({}, ())).migrations[0].steps[0].destroys == told


def test_without_a_transaction_the_timeouts_are_off_and_what_has_run_is_marked() -> None:
    settings = (*SETTINGS, "set local client_connection_check_interval = '5s'")
    assert settings_of(settings, transactional=True) == settings
    assert settings_of(settings, transactional=False) == (
        "set client_connection_check_interval = '5s'",
        "set lock_timeout = 0",
        "set statement_timeout = 0",
    )
    file = source("select 1;\nselect 2;", transactional=False)
    steps = preview([file], Facts({}, SETTINGS), done={"0002_b": 1}).migrations[0].steps
    assert [step.done for step in steps] == [True, False]


def test_a_dump_is_told_with_the_time_of_the_readers_clock() -> None:
    zone = timezone(timedelta(hours=2))
    morning = datetime(2026, 11, 22, 5, 30, tzinfo=zone)
    dump = Session(4711, "pg_dump", datetime(2026, 11, 22, 1, 0, tzinfo=UTC))
    assert dump.sentence(morning) == "pg_dump (pid 4711) is running since 03:00"
    assert dump.sentence(morning + timedelta(days=2)) == "pg_dump (pid 4711) is running since 2026-11-22 03:00"
    assert "grant pg_read_all_stats" in Session(1, "pg_dump", None).sentence(morning)


# ── with a server ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def shop(write: Write, target: Target, project: Path) -> Iterator[Database]:
    """A database at 0001 with tables that hold rows, and a migration 0002 that changes them."""
    write(
        "0001_shop",
        "create table orders (id bigint primary key, note text);\n"
        "insert into orders select n, repeat('x', 100) from generate_series(1, 5000) n;\n"
        "create index orders_note_idx on orders (note);\n"
        "create table log (k int primary key, t text) partition by list (k);\n"
        "create table log_1 partition of log for values in (1);\n"
        "create table log_2 partition of log for values in (2);\n"
        "insert into log values (1, 'a'), (2, 'b');\n",
    )
    write(
        "0002_change",
        "drop index orders_note_idx;\nalter table orders drop column note;\nalter table log add column u text;\n",
        "select 1;",
    )
    with Database(target) as database:
        up(database, read_folder(project / "migrations"), environment=Environment.TEST, to="0001_shop")
        with database.connection(autocommit=True) as conn:
            conn.execute("analyze")
        yield database


@pytest.fixture
def ahead(shop: Database, project: Path) -> Callable[[], Preview]:
    return lambda: look_ahead(shop, read_folder(project / "migrations"))


def test_sizes_come_from_the_target(ahead: Callable[[], Preview]) -> None:
    found = ahead()
    relations = {name: relation for name, (relation, _) in found.tables.items()}
    assert relations["public.orders"].rows == 5000
    assert 500_000 < relations["public.orders"].bytes < 2_000_000
    assert relations["public.orders_note_idx"].table == "public.orders"
    log = relations["public.log"]
    assert (log.kind, log.rows, log.leaves) == ("p", 2, 2)
    assert log.bytes > 0, "the partitions hold the rows"
    assert {f.rule for f in found.migrations[0].findings} >= {"ban-drop-column", "PL030"}
    assert found.refusal is None


def test_no_table_is_locked(shop: Database, project: Path, target: Target, conn: Connection) -> None:
    """Whoever touched a table here would wait for its lock. (That nothing is written, the standby shows.)"""
    conn.execute(f"alter database {target.dbname} set lock_timeout = '1s'")
    with connect(target, autocommit=False) as other, Database(target) as fresh:
        other.execute("lock table orders, log in access exclusive mode")
        assert len(look_ahead(fresh, read_folder(project / "migrations")).tables) == 3
        other.rollback()


def test_select_is_all_that_it_needs(
    ahead: Callable[[], Preview], conn: Connection, target: Target, project: Path
) -> None:
    name = f"reader_{target.dbname}"
    conn.execute(
        f'create role "{name}" login; grant select on _yoyo_migration, _pliers_migration, _pliers_progress to "{name}"'
    )
    try:
        with Database(replace(target, user=name)) as database:
            found = look_ahead(database, read_folder(project / "migrations"))
        assert found.tables.keys() == ahead().tables.keys()
    finally:
        conn.execute(f'drop owned by "{name}"; drop role "{name}"')


def test_names_are_found_on_the_path_of_the_file_too(
    write: Write, shop: Database, project: Path, conn: Connection
) -> None:
    conn.execute("create schema app; create table app.hidden (id int); create table app.orders (id int); analyze")
    write(
        "0003_c",
        "set search_path = app; alter table hidden add column x text; alter table app.orders add column y int;",
    )
    tables = look_ahead(shop, read_folder(project / "migrations")).tables
    assert {"app.hidden", "app.orders", "public.orders"} <= tables.keys()


def test_a_running_dump_and_a_running_backup_are_named(ahead: Callable[[], Preview], target: Target) -> None:
    with _session(target, "pg_dump") as dump, _session(target, "pliers-db/backup nightly") as backup:
        with advisory_lock(backup, LockName.SCHEMA, shared=True):
            found = ahead()
        assert [(d.pid, d.name) for d in found.dumps] == [(dump.info.backend_pid, "pg_dump")]
        assert found.dumps[0].since is not None
        (holder,) = found.holders
        assert holder.startswith(f"pliers-db/backup nightly (pid {backup.info.backend_pid}")
    assert ahead().holders == ()


@contextmanager
def _session(target: Target, name: str) -> Iterator[Connection]:
    with connect(target) as conn:
        conn.execute(f"set application_name = '{name}'")
        yield conn


def test_what_up_would_refuse_is_said_beside_the_plan(
    ahead: Callable[[], Preview], write: Write, project: Path
) -> None:
    (project / "migrations/0001_shop.sql").write_text("create table other (id int);")
    found = ahead()
    assert isinstance(found.refusal, HistoryConflict)
    assert "was edited after it was applied" in found.refusal.message
    assert [m.id for m in found.migrations] == ["0002_change"]


def test_a_missing_squawk_is_a_note_and_the_plan_is_made_all_the_same(
    ahead: Callable[[], Preview], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = ahead()
    assert found.notes[0].startswith("not linted: squawk is not installed")
    assert found.migrations


def test_the_command_prints_sql_that_runs_and_one_document(shop: Database, cli: Cli, conn: Connection) -> None:
    text = cli("migrate", "plan", "--lock-timeout", "3")
    assert text.code == 0, text.err
    lines = text.out.splitlines()
    assert "set local lock_timeout = '3000ms';" in lines
    assert any(line.startswith("-- ACCESS EXCLUSIVE on public.orders (") for line in lines)
    assert "-- destructive: drops column orders.note" in lines
    assert any("lint, line 2: warning ban-drop-column" in line for line in lines)
    conn.execute(text.out)  # the text is the SQL itself
    assert conn.execute("select to_regclass('orders_note_idx')").fetchone() == (None,)
    document = cli("migrate", "plan", "--to", "0001", "--json").json
    assert (document["pending"], document["would_run"], document["migrations"]) == (0, True, [])
    assert cli("migrate", "plan", "--steps", "1", "--json").json["pending"] == 1


@pytest.mark.slow
def test_a_standby_answers(project: Path, write: Write, cli: Cli) -> None:
    write("0001_a", "create table a (id bigint primary key);")
    write("0002_b", "alter table a add column b text;", "alter table a drop column b;")
    with scratch_server() as primary:
        env = {"DATABASE_URL": url_of(primary.target())}
        assert cli("migrate", "up", "--to", "0001_a", env=env).code == 0
        primary.stop()
        (primary.data / "standby.signal").touch()
        primary.start()
        found = cli("migrate", "plan", "--json", env=env)
        assert found.code == 0, found.err
        assert "standby" in found.json["notes"][0]
        assert found.json["locks"][0]["relation"] == "public.a"
