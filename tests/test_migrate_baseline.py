"""`migrate baseline` and `dump-schema`: an existing database under migrations, and its schema as a file."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, Database, write_stamp
from pliers_db.errors import HistoryConflict, SchemaDiffers
from pliers_db.migrate import read_folder, read_status
from pliers_db.migrate.baseline import adopt, write_first
from pliers_db.migrate.dump import clean
from pliers_db.migrate.judgement import Ignore
from pliers_db.migrate.structure import read_structure
from pliers_db.postgres import Server, scratch_server
from tests.fix_cli import Cli, Result
from tests.fix_migrate import applied_ids, marks, tables

# Something of most kinds, with what a dump could trip over.
SCHEMA = r"""
    create extension btree_gin;
    create schema app;
    create type app.mood as enum ('sad', 'happy');
    create domain app.percent as int check (value between 0 and 100);
    create function app.touch() returns trigger language plpgsql as $$ begin -- SET x = 1;
        new.note := 'SET role = 1; \restrict no'; return new; end $$;
    create table app.customers (id bigint generated always as identity primary key, name varchar(20)
        check (name in ('a', 'b')));
    create table app.orders (id int, customer bigint references app.customers, at date not null, note text,
        mood app.mood default 'happy', share app.percent, twice int generated always as (id * 2) stored,
        primary key (id, at)) partition by range (at);
    create table app.orders_2026 partition of app.orders for values from ('2026-01-01') to ('2027-01-01');
    create index orders_note on app.orders using gin (note);
    create trigger touch before insert on app.orders for each row execute function app.touch();
    create materialized view app.m as select count(*) as n from app.orders;
    create materialized view app.a as select n from app.m;
    create view app.v as select id, note from app.orders where note <> '';
    alter table app.customers enable row level security;
    create policy mine on app.customers using (name = current_user);
    comment on table app.orders is 'It''s; here.';
    create statistics app.s on id, at from app.orders;
    alter table app.customers add constraint short check (length(name) < 9) not valid;
    grant select on app.v to public;
    alter default privileges in schema app grant select on tables to public;
    create function app.later() returns bigint language sql as 'select count(*) from app.orders';
    create publication p for table app.customers;
"""


@pytest.fixture(scope="module")
def playground() -> Iterator[Server]:
    """A server to build on: cheaper than one for each test."""
    with scratch_server() as server:
        yield server


@pytest.fixture
def database(target: Target) -> Iterator[Database]:
    with Database(target) as database:
        yield database


@pytest.fixture
def take_over(project: Path, database: Database, playground: Server) -> Callable[..., tuple[str, ...]]:
    def take_over(at: str | None = None, *ignores: Ignore) -> tuple[str, ...]:
        done = adopt(
            database,
            read_folder(project / "migrations"),
            environment=Environment.TEST,
            at=at,
            ignores=ignores,
            scratch=playground.target(),
        )
        return done.marked

    return take_over


def test_a_database_that_is_what_the_migrations_build_is_recorded_and_nothing_runs_in_it(
    abc: list[str],
    take_over: Callable[..., tuple[str, ...]],
    conn: Connection,
    yoyo: Callable[..., Result],
    database: Database,
    project: Path,
) -> None:
    conn.execute("create table a (id int); create table b (id int); insert into a values (1)")
    write_stamp(conn, Environment.TEST)
    assert take_over("0002") == ("0001_a", "0002_b")
    assert applied_ids(conn) == ["0001_a", "0002_b"]
    assert conn.execute("select id from a").fetchall() == [(1,)]
    status = read_status(database, read_folder(project / "migrations"))
    assert [e.state for e in status.entries] == ["applied", "applied", "pending"]
    assert status.entries[0].reversible
    assert marks(yoyo("list")) == {"0001_a": "A", "0002_b": "A", "0003_c": "U"}
    assert take_over("0002") == ()


def test_a_database_that_is_something_else_is_refused_with_the_differences_and_left_alone(
    abc: list[str], take_over: Callable[..., tuple[str, ...]], conn: Connection
) -> None:
    conn.execute("create table a (id bigint); create table b (id int); create table more ()")
    write_stamp(conn, Environment.TEST)
    with pytest.raises(SchemaDiffers) as refused:
        take_over()
    assert refused.value.exit_code == 4
    assert refused.value.why.splitlines() == [
        "column public.a.id: type was integer, is bigint",
        "missing from the database: table public.c",
        "only in the database: table public.more",
    ]
    assert tables(conn) == {"a", "b", "more"}
    assert conn.execute("select to_regclass('_yoyo_migration'), to_regclass('yoyo_lock')").fetchone() == (None, None)
    accepted = Ignore("public.a.id", "grew by hand"), Ignore("public.more", "a consultant's")
    assert take_over("0002", *accepted) == ("0001_a", "0002_b")


def test_a_kill_while_it_is_recorded_records_nothing_and_the_next_run_does_it(
    abc: list[str], cli: Cli, conn: Connection, take_over: Callable[..., tuple[str, ...]]
) -> None:
    conn.execute("create table a (id int); create table b (id int); create table c (id int)")
    write_stamp(conn, Environment.TEST)
    dies = (  # with the first of three migrations written
        "import os, sys; from pliers_db.migrate.backend import PooledBackend as B; real = B.record\n"
        "B.record = lambda self, m, what: os.kill(os.getpid(), 9) if m.id == '0002_b' else real(self, m, what)\n"
        "from pliers_db.cli.main import main; sys.argv = ['pliers-db', 'migrate', 'baseline']; main()"
    )
    done = subprocess.run([sys.executable, "-c", dies], cwd=cli.folder, env=cli.environ(), capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert applied_ids(conn) == []
    assert take_over() == ("0001_a", "0002_b", "0003_c")


def test_a_record_that_does_not_fit_is_refused(
    abc: list[str], take_over: Callable[..., tuple[str, ...]], conn: Connection, cli: Cli
) -> None:
    conn.execute("create table a (id int)")
    refused = cli("migrate", "baseline", "--at", "0001", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "db.protected")  # nobody has said what it is
    write_stamp(conn, Environment.TEST)
    assert cli("migrate", "baseline", "--at", "0001", "--json").json["marked"] == ["0001_a"]
    conn.execute("update _pliers_migration set sha256 = 'other', sql = 'create table a ()'")
    with pytest.raises(HistoryConflict, match="0001_a is edited; nothing was recorded"):
        take_over("0002")


def test_the_first_migration_made_of_a_database_builds_the_same(
    conn: Connection, database: Database, project: Path, playground: Server, take_over: Callable[..., tuple[str, ...]]
) -> None:
    conn.execute(SCHEMA)
    write_stamp(conn, Environment.TEST)
    first = write_first(database, project / "migrations", scratch=playground.target())
    assert first.judgement.differences == ()
    text = first.path.read_text()
    assert [p.name for p in (project / "migrations").iterdir()] == [f"{first.id}.sql"]
    head = text.partition("CREATE ")[0]
    assert "restrict" not in head
    assert "SET " not in head
    assert "OWNER TO" not in text
    assert text.index("REFRESH MATERIALIZED VIEW app.m;") < text.index("REFRESH MATERIALIZED VIEW app.a;")
    assert take_over() == (first.id,)
    with pytest.raises(HistoryConflict, match="has migrations already"):
        write_first(database, project / "migrations", scratch=playground.target())


def test_a_first_migration_that_would_not_build_the_same_gets_no_name(
    conn: Connection, database: Database, project: Path, playground: Server
) -> None:
    conn.execute("create table t (id int); insert into t values (1), (1)")
    with pytest.raises(Exception, match="could not create unique index"):
        conn.execute("create unique index concurrently broken on t (id)")  # a dump leaves it out
    with pytest.raises(SchemaDiffers) as refused:
        write_first(database, project / "migrations", scratch=playground.target())
    assert refused.value.why.startswith("not built: index public.t.broken\n")
    assert list((project / "migrations").iterdir()) == []


def test_the_first_migration_keeps_owners_that_differ_and_runs_under_stock_yoyo(
    cli: Cli, conn: Connection, project: Path, server: Server, yoyo: Callable[..., Result], target: Target
) -> None:
    name = f"{target.dbname}_clerk"
    conn.execute(f'create role "{name}"; create table a (); create table b (); create table c ();')
    conn.execute(f'alter table b owner to "{name}"; grant select on c to "{name}"')
    try:
        done = cli("migrate", "baseline", "--from-db", "--json")
        assert done.code == 0, done.err
        assert (
            f'OWNER TO "{name}"' in Path(done.json["path"]).read_text()
            or f"OWNER TO {name}" in Path(done.json["path"]).read_text()
        )
        conn.execute("drop table a, b, c")
        assert yoyo("apply").code == 0
        assert tables(conn) == {"a", "b", "c"}
    finally:
        conn.execute(f'drop owned by "{name}"; drop role "{name}"')


def test_a_database_that_lives_in_a_schema_of_its_own_is_taken_over_too(
    conn: Connection, target: Target, project: Path, playground: Server
) -> None:
    conn.execute("create schema own; create table own.t (id int)")
    write_stamp(conn, Environment.TEST)
    with Database(replace(target, params={"options": "-c search_path=own"})) as database:
        first = write_first(database, project / "migrations", scratch=playground.target())
        folder = read_folder(project / "migrations")
        done = adopt(database, folder, environment=Environment.TEST, scratch=playground.target())
    assert done.marked == (first.id,)
    assert conn.execute("select migration_id from own._yoyo_migration").fetchall() == [(first.id,)]


def test_a_dump_is_cleaned_of_what_changes_from_run_to_run_and_of_nothing_else() -> None:
    text = (
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict aBc\n\nSET statement_timeout = 0;\n"
        "SELECT pg_catalog.set_config('search_path', '', false);\nSET default_tablespace = '';\n"
        "CREATE TABLE a (x int);\nALTER TABLE public.a OWNER TO app;\nALTER TABLE public.b OWNER TO clerk;\n"
        "SET default_table_access_method = columnar;\nCREATE TABLE b ();\n"
        "SET default_table_access_method = heap;\nCREATE TABLE c ();\n"
        "COMMENT ON EXTENSION x IS 'y';\n"
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$\nSET x = 1;\n-- SELECT pg_catalog.set_config(\n$$;\n"
        "\\unrestrict aBc\n"
    )
    assert clean(text, "app") == (
        "CREATE TABLE a (x int)",
        "ALTER TABLE public.b OWNER TO clerk",
        "SET default_table_access_method = columnar",
        "CREATE TABLE b ()",
        "SET default_table_access_method = heap",
        "CREATE TABLE c ()",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$\nSET x = 1;\n-- SELECT pg_catalog.set_config(\n$$",
    )


def test_the_structure_is_the_same_text_each_time_and_a_stale_file_is_found(
    abc: list[str], cli: Cli, project: Path, database: Database
) -> None:
    cli("migrate", "up", "--to", "0002")
    path = project / "structure.sql"
    assert cli("migrate", "dump-schema").out == "structure.sql written.\n"
    text = path.read_text()
    assert text.endswith("-- Applied migrations:\n-- 0001_a\n-- 0002_b\n")
    assert "CREATE TABLE public.a (" in text
    for word in ("_yoyo", "_pliers", "restrict", "pg_dump", "SET ", "OWNER"):
        assert word not in text
    assert read_structure(database, path).stale is False
    assert cli("migrate", "dump-schema", "--check").code == 0
    cli("migrate", "up")
    done = cli("migrate", "dump-schema", "--check")
    assert done.code == 1
    assert "+-- 0003_c" in done.out.splitlines()
    assert path.read_text() == text
    document = cli("migrate", "dump-schema", "--json").json
    assert (document["written"], document["migrations"]) == (True, 3)
    assert [p.name for p in project.iterdir() if ".part" in p.name] == []
