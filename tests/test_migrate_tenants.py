"""`migrate tenants`: a schema for each customer, each with its own tables and its own record, several at once."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from pliers_db.config import Environment, PoolSettings, Target
from pliers_db.db import Connection, Database, LockName, try_advisory_lock, write_stamp
from pliers_db.db.locks import SchemaLock, lock_holders
from pliers_db.errors import HistoryConflict, MigrationLocked, NoSchemas, PoolExhausted, SharedObject
from pliers_db.migrate import Options, Repair, read_folder, repair, up
from pliers_db.migrate.shared import outside
from pliers_db.migrate.tenants import Tenant, exit_code, find_schemas, read_tenants, up_tenants
from tests.fix_cli import Cli
from tests.fix_migrate import Write, wait_until

TENANTS = ("tenant_a", "tenant_b", "Tenant C")
POOL = PoolSettings(min_size=0, max_size=6)


@pytest.fixture
def schemas(conn: Connection) -> tuple[str, ...]:
    """Three schemas of tenants, and one of somebody else."""
    for name in (*TENANTS, "other"):
        conn.execute(f'create schema "{name}"')
    conn.execute("create table public.plans (id int primary key)")
    return TENANTS


@pytest.fixture
def folder(project: Path, write: Write) -> Path:
    """A table, an index without a transaction, and a function with a name of its own in each schema."""
    write("0001_users", "create table users (id int, plan int references public.plans);\n")
    write("0002_index", "-- transactional: false\ncreate index concurrently users_id on users (id);\nanalyze users;\n")
    write("0003_f", "create function f() returns bigint language sql as 'select count(*) from users';\n")
    return project / "migrations"


def run(target: Target, folder: Path, *patterns: str, jobs: int = 3, **options: float) -> dict[str, Tenant]:
    with Database(target, POOL) as database:
        found = up_tenants(
            database,
            read_folder(folder),
            patterns or ("[tT]enant*",),
            environment=Environment.TEST,
            jobs=jobs,
            options=Options(**options),  # type: ignore[arg-type]
        )
    return {t.schema: t for t in found}


def tables_in(conn: Connection, schema: str) -> set[str]:
    return {row[0] for row in conn.execute("select tablename from pg_tables where schemaname = %s", [schema])}


def test_each_schema_gets_its_own_tables_and_record(
    target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path
) -> None:
    done = run(target, folder)
    ids = ("0001_users", "0002_index", "0003_f")
    assert {name: t.applied for name, t in done.items()} == dict.fromkeys(schemas, ids)
    for name in schemas:
        assert {"users", "_yoyo_migration", "_pliers_migration"} <= tables_in(conn, name)
        index = conn.execute(
            "select indisvalid from pg_index where indexrelid = to_regclass(%s)", [f'"{name}".users_id']
        )
        assert index.fetchone() == (True,)
    assert tables_in(conn, "public") == {"plans"}
    assert tables_in(conn, "other") == set()
    again = run(target, folder)
    assert all(t.applied == () and t.status and t.status.clean for t in again.values())
    # What is left free for the whole: neither the lock nor a row of it.
    assert try_advisory_lock(conn, LockName.SCHEMA)
    assert conn.execute("select count(*) from tenant_a.yoyo_lock").fetchone() == (0,)


def test_a_new_schema_and_a_new_migration_bring_each_to_the_same_state(
    target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path, write: Write
) -> None:
    run(target, folder, "tenant_a")
    write("0004_name", "alter table users add name text;\n")
    with Database(target, POOL) as database:
        before = {
            t.schema: len(t.status.pending) for t in read_tenants(database, read_folder(folder), ["*"]) if t.status
        }
    assert before == {"Tenant C": 4, "other": 4, "tenant_a": 1, "tenant_b": 4}
    done = run(target, folder)
    assert {name: len(t.applied) for name, t in done.items()} == {"Tenant C": 4, "tenant_a": 1, "tenant_b": 4}


def test_one_that_fails_does_not_stop_the_others_and_is_done_by_the_next_run(
    target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path
) -> None:
    conn.execute("create table tenant_b.users (x int)")
    done = run(target, folder)
    error = done["tenant_b"].error
    assert error is not None
    assert 'relation "users" already exists' in error.message
    assert [len(t.applied) for t in done.values()] == [3, 3, 0]
    assert exit_code(tuple(done.values())) == 6
    conn.execute("drop table tenant_b.users")
    assert len(run(target, folder)["tenant_b"].applied) == 3


def test_one_that_stands_part_way_goes_on_where_it_stopped(
    target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path, write: Write
) -> None:
    run(target, folder)
    write("0005_more", "-- transactional: false\ncreate table m1 ();\ncreate table m2 ();\n")
    conn.execute("create table tenant_a.m2 ()")
    done = run(target, folder)
    assert exit_code(tuple(done.values())) == 7
    assert done["tenant_a"].status is not None
    assert [e.state for e in done["tenant_a"].status.entries][-1] == "partial"
    conn.execute("drop table tenant_a.m2")
    assert exit_code(tuple(run(target, folder).values())) == 0


def test_a_schema_that_somebody_holds_is_locked_and_the_others_go_on(
    target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path
) -> None:
    assert try_advisory_lock(conn, SchemaLock("tenant_a"))
    done = run(target, folder, wait=0.3)
    assert isinstance(done["tenant_a"].error, MigrationLocked)
    assert f"pid {conn.info.backend_pid}" in done["tenant_a"].error.message
    assert [len(t.applied) for t in done.values()] == [3, 0, 3]
    assert exit_code(tuple(done.values())) == 5


def test_a_run_over_many_and_a_plain_up_keep_each_other_out(
    target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path
) -> None:
    assert try_advisory_lock(conn, LockName.SCHEMA)
    with pytest.raises(MigrationLocked):
        run(target, folder, wait=0.2)
    assert tables_in(conn, "tenant_a") == set()


def test_the_next_borrower_of_the_pool_sees_nothing_of_a_schema(
    target: Target, schemas: tuple[str, ...], folder: Path
) -> None:
    with Database(target, POOL) as database:
        up_tenants(database, read_folder(folder), ["tenant_*"], environment=Environment.TEST)
        with database.connection() as one, database.connection() as two, database.connection() as three:
            for each in (one, two, three):
                assert each.execute("show search_path").fetchone() == ('"$user", public',)
                assert lock_holders(each, SchemaLock("tenant_a")) == []


def test_the_search_path_of_a_role_or_a_schema_of_its_name_changes_nothing(
    target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path
) -> None:
    conn.execute(f'create schema "{target.user}"')
    conn.execute(f"alter database {target.dbname} set search_path to other")
    run(target, folder, "tenant_a")
    assert "users" in tables_in(conn, "tenant_a")
    assert tables_in(conn, "other") == tables_in(conn, target.user) == set()
    # A plain `up` beside it has a record of its own.
    conn.execute(f'alter database {target.dbname} set search_path to "$user", public')
    with Database(target, POOL) as database:
        assert len(up(database, read_folder(folder), environment=Environment.TEST).applied) == 3
    assert "users" in tables_in(conn, target.user)


# ── what belongs to all ─────────────────────────────────────────────────────────────────────────────────────
def test_what_reaches_out_of_its_schema_is_refused_before_anything_runs(
    target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path, write: Write
) -> None:
    write("0004_x", "alter table users add x int;\ncreate extension pg_trgm;\ncreate table public.y ();\n")
    with pytest.raises(SharedObject) as refused:
        run(target, folder)
    assert refused.value.message == "2 places reach out of their schema"
    assert "0004_x.sql:2: the extension pg_trgm belongs to the database" in refused.value.why
    assert "0004_x.sql:3: it names the schema public" in refused.value.why
    assert tables_in(conn, "tenant_a") == set()


OUT = [
    "create schema s",
    "create extension if not exists hstore",
    "drop extension hstore",
    "create role r",
    "create publication p for all tables",
    "set search_path to public",
    "select set_config('search_path', '', false)",
    "create index on public.t (id)",
    "alter table public.t add x int",
    "create view public.v as select 1",
    "create materialized view public.v as select 1",
    "create function public.f() returns int language sql as 'select 1'",
    "create type public.e as enum ('a')",
    "create domain public.d as int",
    "create sequence public.s",
    "drop table public.t",
    "drop function public.f(int)",
    "drop trigger g on public.t",
    "insert into public.t values (1)",
    "update public.t set id = 1",
    "truncate t, public.u",
    "alter table t set schema public",
    "create policy p on public.t using (true)",
    "select 1 as x into public.t",
]
WITHIN = [
    "create table t (id int references public.plans, e public.kind)",
    "create view v as select * from public.plans",
    "insert into t select id from public.plans",
    "create trigger g before insert on t execute function public.touch()",
    "drop trigger g on t",
    "create extension if not exists vector",
    "do $$ begin perform 1; end $$",
    "drop table t; drop function f(int); drop type e",
    "create temp table pg_temp.x ()",
    "select public.f()",
]


@pytest.mark.parametrize("statement", OUT)
def test_a_statement_that_works_outside_of_the_schema_is_seen(statement: str) -> None:
    assert [line for line, _ in outside(Path("m.sql"), f"select 1;\n{statement};\n", ["vector"])] == [2]


@pytest.mark.parametrize("statement", WITHIN)
def test_reading_elsewhere_is_no_reaching_out(statement: str) -> None:
    assert list(outside(Path("m.sql"), statement, ["vector"])) == []


# ── schemas and connections ─────────────────────────────────────────────────────────────────────────────────
def test_patterns_find_schemas_and_public_only_by_name(conn: Connection, schemas: tuple[str, ...]) -> None:
    assert find_schemas(conn, ["tenant_*"]) == ("tenant_a", "tenant_b")
    assert "public" not in find_schemas(conn, ["*"])
    assert find_schemas(conn, ["public", "Tenant ?"]) == ("Tenant C", "public")
    with pytest.raises(NoSchemas) as none:
        find_schemas(conn, ["tenants_*"])
    assert "tenant_a" in none.value.why


def test_what_mends_one_schema_is_told_with_its_search_path_and_works(
    target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path
) -> None:
    run(target, folder)
    write_stamp(conn, Environment.TEST)
    conn.execute(
        "update \"Tenant C\"._pliers_migration set sha256 = 'x', sql = 'select 1' where migration_id ~ '^0003'"
    )
    conn.execute("delete from \"Tenant C\"._yoyo_migration where migration_id ~ '^0001'")
    error = run(target, folder)["Tenant C"].error
    assert isinstance(error, HistoryConflict)
    options = unquote(error.fix.rpartition("?options=")[2].removesuffix(" in the URL"))
    alone = replace(target, params={**target.params, "options": options})
    with Database(alone, POOL) as database:
        repair(database, read_folder(folder), Repair.MARK_APPLIED, "0001_users", environment=Environment.TEST)
    assert conn.execute('select count(*) from "Tenant C"._yoyo_migration').fetchone() == (3,)


def test_a_pool_that_is_too_small_says_how_large_it_must_be(
    target: Target, schemas: tuple[str, ...], folder: Path
) -> None:
    with Database(target, PoolSettings(min_size=0, max_size=2)) as database, pytest.raises(PoolExhausted) as small:
        up_tenants(database, read_folder(folder), ["tenant_a"], environment=Environment.TEST)
    assert small.value.fix == "Set DB_POOL_MAX to 6."


# ── the command line ────────────────────────────────────────────────────────────────────────────────────────
def test_the_commands_tell_each_schema_and_end_with_6_if_one_failed(
    cli: Cli, conn: Connection, schemas: tuple[str, ...], folder: Path
) -> None:
    conn.execute("create table tenant_b.users (x int)")
    first = cli("migrate", "tenants", "up", "--schemas", "tenant_*", "--jobs", "2")
    assert first.code == 6
    assert "tenant_a: applied 3 migrations" in first.err
    assert "tenant_b: " in first.out
    assert "2 schemas: 3 migrations applied in 1, 1 failed, 1 up to date" in first.out
    status = cli("migrate", "tenants", "status", "--schemas", "tenant_*", "--check")
    assert status.code == 1
    assert "2 schemas, 1 up to date" in status.out
    conn.execute("drop table tenant_b.users")
    second = cli("migrate", "tenants", "up", "--schemas", "tenant_*", "--json").json
    assert [(s["schema"], s["up_to_date"], len(s["applied_now"])) for s in second["schemas"]] == [
        ("tenant_a", True, 0),
        ("tenant_b", True, 3),
    ]


def test_ctrl_c_rolls_back_what_runs_and_gives_the_locks_back(
    cli: Cli, target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path, write: Write
) -> None:
    run(target, folder)  # an index that is built concurrently would wait for the transactions of the others
    write("0004_slow", "create table slow ();\nselect pg_sleep(60);\n")
    process = cli.start("migrate", "tenants", "up", "--schemas", "tenant_*", "--json")
    sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    wait_until(lambda: conn.execute(sleeping).fetchone() == (2,))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, (out, err)
    assert "slow" not in tables_in(conn, "tenant_a") | tables_in(conn, "tenant_b")
    assert try_advisory_lock(conn, LockName.SCHEMA)
    assert conn.execute("select count(*) from tenant_a.yoyo_lock").fetchone() == (0,)


def test_a_killed_run_is_taken_up_by_the_next(
    cli: Cli, target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path, write: Write
) -> None:
    run(target, folder)
    slow = write("0004_slow", "select pg_sleep(60);\n")
    process = cli.start("migrate", "tenants", "up", "--schemas", "tenant_*")
    sleeping = "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'"
    sleeping += " and datname = current_database()"
    wait_until(lambda: len(conn.execute(sleeping.replace("pg_terminate_backend(pid)", "1")).fetchall()) == 2)
    process.kill()
    process.communicate()
    conn.execute(sleeping)  # the server would notice within 5 s
    slow.write_text("select 1;\n")
    done = run(target, folder)
    assert [len(t.applied) for t in done.values()] == [1, 1, 1]
    assert exit_code(tuple(done.values())) == 0


def test_schemas_are_migrated_at_the_same_time(
    target: Target, conn: Connection, schemas: tuple[str, ...], folder: Path, write: Write
) -> None:
    run(target, folder)
    write("0004_meet", "select pg_advisory_lock(7); select pg_advisory_unlock(7);\n")
    conn.execute("select pg_advisory_lock(7)")
    done: dict[str, Tenant] = {}
    worker = threading.Thread(target=lambda: done.update(run(target, folder, lock_timeout=20)))
    worker.start()
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 7"
    try:
        wait_until(lambda: conn.execute(waiting).fetchone() == (3,))
    finally:
        conn.execute("select pg_advisory_unlock(7)")
        worker.join()
    assert {len(t.applied) for t in done.values()} == {1}
