"""Whatever a migration does to its session, it is recorded in the right place and the next one starts clean."""

from __future__ import annotations

import pytest

from pliers_db.config import Environment, PoolSettings, Target
from pliers_db.db import Connection, Database
from pliers_db.migrate import read_folder, up
from tests.fix_cli import Cli
from tests.fix_migrate import Write, applied_ids, tables

SPOILERS = {
    "empty search_path": "set search_path = '';",
    "pg_dump's search_path": "select pg_catalog.set_config('search_path', '', false);",
    "another schema": "create schema other; set search_path = other;",
    "set local": "set local search_path = pg_catalog;",
    "set role": "set role pg_monitor;",
    "session authorization": "set session authorization pg_monitor;",
    "temp table in the way": "create temp table _yoyo_migration (x int); create temp table b (x int);",
    "timeouts": "set statement_timeout = '1ms'; set lock_timeout = '1ms';",
    "encoding": "set client_encoding = 'LATIN1';",
    "standard strings": "set standard_conforming_strings = off; set backslash_quote = off;",
    "read only": "set default_transaction_read_only = on;",
    "replica": "set session_replication_role = replica;",
    "prepared": "prepare p as select 1; declare c cursor with hold for select 1; listen everything;",
}


@pytest.mark.parametrize("spoiler", SPOILERS.values(), ids=list(SPOILERS))
def test_what_a_migration_sets_ends_with_it(spoiler: str, cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", f"create table public.a (x text);\n{spoiler}")
    write("0002_b", "create table b (x text default 'größe\\n€'); insert into a select pg_sleep(0.01)::text;")
    result = cli("migrate", "up")
    assert result.code == 0, result.err
    assert applied_ids(conn) == ["0001_a", "0002_b"]
    assert tables(conn) == {"a", "b"}
    assert conn.execute(
        "select pg_get_expr(adbin, adrelid) from pg_attrdef where adrelid = 'b'::regclass"
    ).fetchone() == ("'größe\\n€'::text",)
    owners = conn.execute("select distinct tableowner from pg_tables where schemaname = 'public'").fetchall()
    assert owners == [(conn.info.user,)]
    assert cli("migrate", "status", "--check").code == 0
    assert cli("migrate", "up").code == 0


def test_the_same_holds_without_a_transaction(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "-- transactional: false\ncreate table public.a (); set search_path = ''; set role pg_monitor;")
    write("0002_b", "create table b ();")
    result = cli("migrate", "up")
    assert result.code == 0, result.err
    assert applied_ids(conn) == ["0001_a", "0002_b"]
    assert tables(conn) == {"a", "b"}


def test_a_schema_named_like_the_role_does_not_hide_what_is_applied(cli: Cli, write: Write, conn: Connection) -> None:
    """The default search_path is "$user", public: stock yoyo would start anew in that schema and apply all again."""
    role = f"app_{conn.info.backend_pid}"
    conn.execute(f"create role {role} login; grant create on schema public to {role}")
    conn.execute(f'grant all on database "{conn.info.dbname}" to {role}')
    try:
        url = cli.env["DATABASE_URL"].replace("postgresql://postgres@", f"postgresql://{role}@")
        write("0001_a", f"create schema {role};")
        write("0002_b", "create table public.b ();")
        for _ in range(2):
            result = cli("migrate", "up", env={"DATABASE_URL": url})
            assert result.code == 0, result.err
        write("0003_c", "create table public.c ();")
        assert cli("migrate", "up", env={"DATABASE_URL": url}).code == 0
        found = conn.execute("select schemaname from pg_tables where tablename = '_yoyo_migration'").fetchall()
        assert found == [("public",)]
        assert applied_ids(conn) == ["0001_a", "0002_b", "0003_c"]
        status = cli("migrate", "status", "--json", env={"DATABASE_URL": url}).json
        assert (status["applied"], status["pending"]) == (3, 0)
    finally:
        conn.execute(f"drop owned by {role} cascade; drop role {role}")


def test_a_schema_of_its_own_by_search_path(cli: Cli, abc: list[str], conn: Connection) -> None:
    conn.execute("create schema tenant")
    conn.execute(f'alter database "{conn.info.dbname}" set search_path = tenant')
    assert cli("migrate", "up").code == 0
    rows = conn.execute("select tablename from pg_tables where schemaname = 'tenant' order by 1").fetchall()
    assert {r[0] for r in rows} >= {"_yoyo_log", "_yoyo_migration", "_yoyo_version", "a", "b", "c", "yoyo_lock"}
    assert tables(conn) == set()
    assert cli("migrate", "status", "--check").code == 0


def test_a_database_without_a_search_path_uses_public(cli: Cli, write: Write, conn: Connection) -> None:
    conn.execute(f"alter database \"{conn.info.dbname}\" set search_path = ''")
    write("0001_a", "create table public.a ();")
    for _ in range(2):
        result = cli("migrate", "up")
        assert result.code == 0, result.err
    assert applied_ids(conn) == ["0001_a"]


def test_the_next_borrower_of_the_connection_finds_it_clean(project: object, write: Write, target: Target) -> None:
    write("0001_a", "create table public.a (); set search_path = ''; set role pg_monitor; create temp table t ();")
    folder = read_folder(
        write("0002_i", "-- transactional: false\nset work_mem = '1MB'; create table public.i ();").parent
    )
    with Database(target, PoolSettings(min_size=1, max_size=1)) as database:
        with database.connection() as conn:
            before = conn.execute("select pg_backend_pid()").fetchone()
        up(database, folder, environment=Environment.TEST)
        with database.connection() as conn:
            assert conn.execute("select pg_backend_pid()").fetchone() == before
            assert conn.execute(
                "select current_user = session_user, current_setting('search_path'), to_regclass('pg_temp.t'),"
                " current_setting('lock_timeout'), current_setting('work_mem') <> '1MB',"
                " (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())"
            ).fetchone() == (True, '"$user", public', None, "0", True, 0)


def test_a_database_in_another_encoding(cli: Cli, write: Write, conn: Connection) -> None:
    name = f"{conn.info.dbname}_latin1"
    conn.execute(f"create database \"{name}\" encoding 'LATIN1' locale 'C' template template0")
    try:
        url = cli.env["DATABASE_URL"].replace(f"/{conn.info.dbname}?", f"/{name}?")
        write("0001_a", "create table größe (x text default 'é');\n")
        write("0002_b", "create table b (x text);\n-- déjà\nsyntax error;\n")
        result = cli("migrate", "up", env={"DATABASE_URL": url})
        assert result.code == 6
        assert "0002_b.sql:3:1: syntax error" in result.err
        assert cli("migrate", "status", "--json", env={"DATABASE_URL": url}).json["applied"] == 1
    finally:
        conn.execute(f'drop database "{name}" with (force)')


def test_many_statements_are_one_message_without_savepoints(cli: Cli, write: Write, conn: Connection) -> None:
    """Stock yoyo opens a savepoint for each statement; beyond 64 all other sessions pay for it."""
    inserts = "insert into a values (1);\n" * 200
    write(
        "0001_a",
        f"create table a (id int);\n{inserts}create table seen as select pg_current_xact_id_if_assigned()"
        " as top, (select xmin::text from a limit 1) as first, (select count(distinct xmin::text) from a) as n;",
    )
    assert cli("migrate", "up").code == 0
    assert conn.execute("select n from seen").fetchone() == (1,)
