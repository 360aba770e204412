"""The migration files of Pliers: each goes up, and down again without a trace; each says what it makes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from pliers_db.catalog import diff, snapshot
from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.postgres import scratch_server
from tests.fix_cli import Cli, url_of
from tests.fix_pliers import MIGRATIONS, apply_migrations, migration_files, rollback_of, run_file

FILES = migration_files()
OBJECTS = """
    select 'pg_class', oid, relname::text from pg_class where relnamespace <> 'pg_toast'::regnamespace
    union all select 'pg_proc', oid, proname from pg_proc
    union all select 'pg_type', oid, typname from pg_type where typnamespace <> 'pg_toast'::regnamespace
    union all select 'pg_constraint', oid, conname from pg_constraint
    union all select 'pg_namespace', oid, nspname from pg_namespace
    union all select 'pg_extension', oid, extname from pg_extension
    union all select 'pg_default_acl', oid, '' from pg_default_acl
"""


def words(text: str) -> list[str]:
    """The SQL words of a file, without comments and literals."""
    return re.findall(r"[A-Za-z_]+", re.sub(r"--.*|'(?:[^']|'')*'", "", text))


def objects(conn: Connection) -> set[tuple[str, int, str]]:
    return set(conn.execute(OBJECTS).fetchall())


# ── the files ───────────────────────────────────────────────────────────────────────────────────────────────
def test_every_file_is_named_by_time_and_subject_and_has_its_rollback() -> None:
    names = {f.name for f in MIGRATIONS.iterdir() if not f.name.startswith(".")}
    forward = {n for n in names if re.fullmatch(r"\d{14}_[a-z][a-z0-9_]*\.sql", n)}
    assert names == forward | {n.replace(".sql", ".rollback.sql") for n in forward}
    assert len({n[:14] for n in forward}) == len(forward)


@pytest.mark.parametrize("file", sorted(MIGRATIONS.glob("*.sql")), ids=lambda f: f.stem)
def test_a_file_is_one_transaction_in_lower_case(file: Path) -> None:
    found = words(file.read_text())
    assert not [w for w in found if w.isupper() and w not in {"YYYY_MM", "YYYY", "MM", "UTC", "L", "I"}]
    assert not {"commit", "rollback", "concurrently", "vacuum"} & {w.lower() for w in found}
    assert "transactional:" not in file.read_text()


# ── up and down ─────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(params=["18", pytest.param("15", marks=pytest.mark.pg15)])
def empty(request: pytest.FixtureRequest) -> Iterator[tuple[Connection, list[Path]]]:
    """An empty database, and the migrations that run on its version."""
    target: Target = request.getfixturevalue("target" if request.param == "18" else "target15")
    with connect(target) as conn:
        yield conn, migration_files(vector=request.param == "18")


def test_each_rollback_leaves_nothing_behind(empty: tuple[Connection, list[Path]]) -> None:
    conn, files = empty
    for file in files:
        before = objects(conn)
        run_file(conn, file)
        assert objects(conn) > before
        run_file(conn, rollback_of(file))
        assert objects(conn) == before
        run_file(conn, file)


def test_going_down_and_up_again_restores_every_detail(empty: tuple[Connection, list[Path]]) -> None:
    """Comments, privileges, names of constraints, order of columns: all that a snapshot of the catalog holds."""
    conn, files = empty
    for file in files:
        before = snapshot(conn)
        run_file(conn, file)
        after = snapshot(conn)
        run_file(conn, rollback_of(file))
        assert list(map(str, diff(before, snapshot(conn)))) == []
        run_file(conn, file)
        assert list(map(str, diff(after, snapshot(conn)))) == []


def test_the_toolkit_makes_the_same_schema_as_the_files_alone(
    pliers_conn: Connection, target: Target, make_cli: Callable[..., Cli], tmp_path: Path
) -> None:
    bookkeeping = ["*._yoyo_*", "*.yoyo_lock", "*._pliers_*"]
    copytree(MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "pliers-db.toml").write_text('name = "pliers"\n')
    cli = make_cli(tmp_path, {"DATABASE_URL": url_of(target), "PLIERS_ENV": "test"})
    done = cli("migrate", "up")
    assert done.code == 0, done.err
    with connect(target) as conn:
        assert snapshot(conn, exclude=bookkeeping) == snapshot(pliers_conn)
        assert cli("migrate", "down", "--steps", str(len(FILES))).code == 0
        assert [o.path for o in snapshot(conn, exclude=bookkeeping).objects] == ["public", "plpgsql"]


def test_all_of_it_can_be_taken_down_and_put_up_again(empty: tuple[Connection, list[Path]]) -> None:
    conn, files = empty
    before = objects(conn)
    apply_migrations(conn, files)
    up = {(kind, name) for kind, _, name in objects(conn)}
    for file in reversed(files):
        run_file(conn, rollback_of(file))
    assert objects(conn) == before
    apply_migrations(conn, files)
    assert {(kind, name) for kind, _, name in objects(conn)} == up


def test_an_extension_that_others_use_stays(conn: Connection) -> None:
    apply_migrations(conn)
    conn.execute("create table public.others (v vector(3), n int); create index on public.others using gin (n)")
    for file in reversed(FILES):
        run_file(conn, rollback_of(file))
    extensions = {name for (name,) in conn.execute("select extname from pg_extension")}
    assert extensions == {"plpgsql", "vector", "btree_gin"}


def test_an_owner_who_is_no_superuser_can_migrate_what_an_administrator_prepared() -> None:
    """As on managed services: the role and pgvector are there, the login owns the database and nothing else."""
    with scratch_server() as server:
        with connect(server.target()) as admin:
            admin.execute("create role pliers_app; create role deploy login; create role web login in role pliers_app")
            admin.execute("create database app owner deploy")
        with connect(server.target("app")) as admin:
            admin.execute("create extension vector")
        with connect(replace(server.target("app"), user="deploy")) as deploy:
            apply_migrations(deploy)
            for file in reversed(FILES):
                run_file(deploy, rollback_of(file))
            apply_migrations(deploy)
        with connect(replace(server.target("app"), user="web")) as web:
            assert web.execute("select count(*) from pliers.forms").fetchone() == (0,)


def test_the_role_goes_with_the_last_database_unless_somebody_is_a_member() -> None:
    def exists() -> bool:
        return admin.execute("select from pg_roles where rolname = 'pliers_app'").fetchone() is not None

    first, *_ = FILES
    with scratch_server() as server, connect(server.target()) as admin:
        admin.execute("create database one")
        admin.execute("create database two")
        with connect(server.target("one")) as one, connect(server.target("two")) as two:
            run_file(one, first)
            run_file(two, first)
            run_file(one, rollback_of(first))
            assert exists(), "the other database grants to it"
            run_file(two, rollback_of(first))
            assert not exists()
            run_file(one, first)
            admin.execute("create role web login in role pliers_app")
            run_file(one, rollback_of(first))
            assert exists(), "somebody is a member"


# ── what they say ───────────────────────────────────────────────────────────────────────────────────────────
def test_every_object_has_a_comment(pliers_both: Connection) -> None:
    silent = pliers_both.execute("""
        select 'table ' || relname from pg_class
        where relnamespace = 'pliers'::regnamespace and relkind in ('r', 'p')
            and coalesce(obj_description(oid, 'pg_class'), '') = ''
        union all
        select 'column ' || relname || '.' || attname from pg_attribute join pg_class c on c.oid = attrelid
        where relnamespace = 'pliers'::regnamespace and relkind in ('r', 'p') and attnum > 0 and not attisdropped
            and relname <> 'events_default' and coalesce(col_description(attrelid, attnum), '') = ''
        union all
        select 'function ' || proname from pg_proc
        where pronamespace = 'pliers'::regnamespace and coalesce(obj_description(oid, 'pg_proc'), '') = ''
        union all
        select 'schema pliers' where coalesce(obj_description('pliers'::regnamespace, 'pg_namespace'), '') = ''
    """).fetchall()
    assert silent == []


def test_a_comment_is_a_sentence_that_names_every_state(pliers_both: Connection) -> None:
    """The comment of a column with a closed list of values is where people read what they mean."""
    states = pliers_both.execute("""
        select relname, attname, pg_get_constraintdef(k.oid), col_description(attrelid, attnum)
        from pg_constraint k
            join pg_class t on t.oid = conrelid
            join pg_attribute on attrelid = conrelid and attnum = any (conkey)
        where relnamespace = 'pliers'::regnamespace and conname like '%\\_known' and not relispartition
    """).fetchall()
    assert len(states) > 10
    for table, column, definition, comment in states:
        assert comment.endswith((".", ").")), f"{table}.{column}"
        for state in re.findall(r"'(\w+)'::text", definition):
            assert re.search(rf"\b{state}\b", comment), f"{table}.{column}: {state}"
