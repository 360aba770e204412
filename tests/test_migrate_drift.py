"""`migrate drift`: the database beside what its applied migrations build; and never "no drift" by accident."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target, find_project
from pliers_db.db import Connection, Database, connect
from pliers_db.errors import BadSetting, HistoryConflict
from pliers_db.migrate import read_folder, up
from pliers_db.migrate.drift import Drift, drift
from pliers_db.migrate.judgement import Ignore, read_ignores, sentence
from pliers_db.postgres import Server, scratch_server
from tests.fix_cli import Cli, Result, url_of
from tests.fix_migrate import Write

BASE = """
    create type mood as enum ('sad', 'happy');
    create table orders (id int primary key, total int not null default 5, mood mood);
    create index orders_total on orders (total);
    create function f() returns trigger language plpgsql as 'begin return new; end';
    create trigger t before update on orders for each row execute function f();
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
def migrate(project: Path, database: Database) -> Callable[[], None]:
    return lambda: up(database, read_folder(project / "migrations"), environment=Environment.TEST) and None


@pytest.fixture
def look(project: Path, database: Database, playground: Server) -> Callable[..., Drift]:
    def look(*ignores: Ignore) -> Drift:
        return drift(database, read_folder(project / "migrations"), ignores=ignores, scratch=playground.target())

    return look


def told(found: Drift) -> list[str]:
    return [sentence(d, found.unfinished) for d in found.judgement.differences]


def test_every_kind_of_drift_is_found_and_named(
    write: Write, migrate: Callable[[], None], look: Callable[..., Drift], conn: Connection
) -> None:
    write("0001_base", BASE)
    migrate()
    assert not look().found
    for statement in (
        "drop index orders_total",
        "alter table orders alter total drop not null",
        "alter table orders add note text",
        "alter type mood add value 'angry'",
        "create table forgotten (id int)",
        "alter table orders disable trigger t",
        "alter table orders add constraint positive check (total > 0) not valid",
        "comment on table orders is 'By hand.'",
        "create or replace function f() returns trigger language plpgsql as 'begin return null; end'",
        "insert into orders values (1, 1), (2, 1)",
    ):
        conn.execute(statement)
    with pytest.raises(Exception, match="could not create unique index"):
        conn.execute("create unique index concurrently broken on orders (total)")
    assert [line.partition("\n")[0] for line in told(look())] == [
        "function public.f(): definition changed",
        "only in the database: table public.forgotten",
        "enum public.mood: labels was sad, happy, is sad, happy, angry",
        "table public.orders: comment was none, is By hand.",
        "only in the database: index public.orders.broken (INVALID: queries do not use it)",
        "only in the database: column public.orders.note",
        "missing from the database: index public.orders.orders_total",
        "only in the database: constraint public.orders.positive (NOT VALID: older rows may break it)",
        "trigger public.orders.t: enabled was origin, is disabled",
        "column public.orders.total may now be NULL",
    ]


def test_what_the_project_accepts_is_told_with_its_reason_and_does_not_count(
    write: Write, migrate: Callable[[], None], look: Callable[..., Drift], conn: Connection, project: Path
) -> None:
    write("0001_base", BASE)
    migrate()
    conn.execute(
        "create table orders_2026 (id int); comment on table orders is 'x'; alter table orders alter id type int8"
    )
    (project / "pliers-db.toml").write_text(
        "[drift]\nignore = [{ object = 'public.orders_2*', reason = 'made by the month' },"
        " { object = '*', field = 'comment', reason = 'written by analysts' }]\n"
    )
    found = look(*read_ignores(find_project(project)))
    assert [(i.difference.path, i.reason) for i in found.judgement.ignored] == [
        ("public.orders", "written by analysts"),
        ("public.orders_2026", "made by the month"),
    ]
    assert told(found) == ["column public.orders.id: type was integer, is bigint"]
    (project / "pliers-db.toml").write_text("[drift]\nignore = [{ object = 'public.orders_2*' }]\n")
    with pytest.raises(BadSetting, match="not whole"):
        read_ignores(find_project(project))


def test_what_counts_is_the_text_that_was_applied_not_the_file_of_today(
    write: Write, migrate: Callable[[], None], look: Callable[..., Drift], conn: Connection
) -> None:
    edited = write("0001_a", "create table a (id int);")
    gone = write("0002_b", "create table b (id int);")
    lonely = write("0003_c", "-- transactional: false\ncreate index concurrently a_id on a (id);", "drop index a_id;")
    write("0004_d", "create table d (id int);")
    migrate()
    edited.write_text("create table a (id bigint, more text);")
    for path in (gone, lonely):
        path.unlink()
        path.with_suffix(".rollback.sql").unlink()
    found = look()
    assert (found.found, found.migrations) == (False, 4)
    assert found.notes == ("as they were applied, not as the files stand now: 0001_a, 0002_b, 0003_c",)
    conn.execute("alter table a alter id type bigint")
    assert told(look()) == ["column public.a.id: type was integer, is bigint"]


def test_of_what_stock_yoyo_applied_the_file_is_believed_and_that_is_said(
    write: Write, yoyo: Callable[..., Result], look: Callable[..., Drift]
) -> None:
    write("0001_a", "create table a (id int);")
    path = write("0002_b", "create table b (id int);")
    assert yoyo("apply").code == 0
    found = look()
    assert not found.found
    assert found.notes == (
        "the files of 2 migrations were believed (0001_a, 0002_b): the database has no text of what was run",
    )
    path.unlink()
    path.with_suffix(".rollback.sql").unlink()
    with pytest.raises(HistoryConflict, match="0002_b is applied, but what it did is not known"):
        look()


def test_a_comparison_that_cannot_be_made_is_never_no_drift(
    write: Write, migrate: Callable[[], None], project: Path, cli: Cli, conn: Connection
) -> None:
    write("0001_a", "create table a (id int);")
    # Runs here, and on no empty database: it needs a row of this one.
    write("0002_b", "do $$ begin perform 1 / (select count(*) from a); end $$;", "select 1;")
    write("0003_c", "create table c (id int);")
    cli("migrate", "up", "--to", "0001")
    conn.execute("insert into a values (1)")
    migrate()
    done = cli("migrate", "drift", "--json")
    assert done.code == 3
    assert done.json["error"]["code"] == "migrate.cannot-compare"
    assert "division by zero" in done.json["error"]["why"]


def test_what_cannot_be_compared_is_told(
    write: Write, migrate: Callable[[], None], look: Callable[..., Drift], conn: Connection
) -> None:
    write("0001_a", "create table a (id int, other int);")
    write("0002_b", "-- transactional: false\ncreate table b (id int);\ncreate table a (id int);")
    write("0003_i", "create extension btree_gin;", "drop extension btree_gin;")
    with pytest.raises(Exception, match="already exists"):
        migrate()
    found = look()
    assert told(found) == ["only in the database: table public.b"]
    assert "0002_b stands part-way (1 of 2 statements of its apply)" in found.judgement.not_compared[1]
    assert found.judgement.not_compared[0].startswith("owners: ")
    conn.execute("create extension btree_gin; update pg_extension set extversion = '9.9' where extname = 'btree_gin'")
    conn.execute("alter table a drop id, add id int")
    found = look(Ignore("btree_gin", "by hand", "schema"), Ignore("public.b", "by hand"))
    assert [d.kind for d in found.judgement.differences] == ["extension"]
    assert found.judgement.remarks == ("table public.a: same columns in another order: was id, other, is other, id",)


def test_a_version_of_an_extension_that_the_scratch_server_lacks_is_not_judged(
    write: Write, migrate: Callable[[], None], look: Callable[..., Drift], conn: Connection
) -> None:
    write("0001_i", "create extension btree_gin;", "drop extension btree_gin;")
    migrate()
    conn.execute("update pg_extension set extversion = '9.9' where extname = 'btree_gin'")
    found = look()
    assert not found.found
    assert found.judgement.not_compared[-1].startswith(
        "version of extension btree_gin: the database has 9.9, the scratch server offers only 1."
    )
    conn.execute("update pg_extension set extversion = '1.0' where extname = 'btree_gin'")
    assert told(look())[0].startswith("extension btree_gin: version was 1.")


@pytest.mark.slow
def test_the_command_works_on_a_standby_with_a_role_that_only_reads_and_owners_count(write: Write, cli: Cli) -> None:
    """One role migrates, another compares; on a server of our own, so that owners can be compared, too."""
    write("0001_a", "create table a (id int); create table b (id int); grant select on a to reader;")
    with scratch_server() as primary:
        with connect(primary.target()) as conn:
            conn.execute(
                "create role owner login; create role reader login; grant create on database postgres to owner"
            )
            conn.execute("create schema own authorization owner; alter role owner set search_path = own")
            conn.execute("alter role reader set search_path = own; grant usage on schema own to reader")
        url = url_of(primary.target())
        assert cli("migrate", "up", env={"DATABASE_URL": url.replace("postgres@", "owner@")}).code == 0
        with connect(primary.target()) as conn:
            conn.execute("alter table own.b owner to postgres")
            conn.execute("grant select on all tables in schema own to reader; revoke select on own.b from reader")
        primary.stop()
        (primary.data / "standby.signal").touch()
        primary.start()
        done = cli("migrate", "drift", "--json", env={"DATABASE_URL": url.replace("postgres@", "reader@")})
    assert done.code == 1, done.err
    assert [d["text"] for d in done.json["differences"]] == [
        "schema own: grants gained reader=USAGE",
        "table own.b: owner was owner, is postgres",
    ]
