"""`migrate verify`: each migration up, down and up again on a scratch server, compared by its catalog."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, connect, write_stamp
from pliers_db.errors import NoGitRef
from pliers_db.migrate import read_folder
from pliers_db.migrate.changed import changed_since
from pliers_db.migrate.roundtrip import Result, Verdict, Verification
from pliers_db.migrate.verify import verify
from pliers_db.postgres import Server, scratch_server
from tests.fix_cli import Cli, url_of
from tests.fix_migrate import Write
from tests.fix_pliers import MIGRATIONS

NOTHING = "select 1;"
BASE = """
    create role verify_reader;
    create type mood as enum ('sad', 'happy');
    create table orders (id int primary key, total int not null default 5, mood mood);
    comment on column orders.total is 'In cents.';
    grant select on orders to verify_reader;
"""
BASE_DOWN = "drop table orders; drop type mood; drop role verify_reader;"


@pytest.fixture(scope="module")
def playground() -> Iterator[Server]:
    """A server of this module's own: roles that come while a verification runs are dropped."""
    with scratch_server() as server:
        yield server


@pytest.fixture
def prove(project: Path, playground: Server) -> Callable[..., Verification]:
    """Verify migrations of the project on that server: ``prove("0002_b")``; no id: all."""

    def prove(*ids: str) -> Verification:
        folder = read_folder(project / "migrations")
        return verify(folder, ids or [m.id for m in folder.migrations], scratch=playground.target())

    return prove


def texts(verdict: Verdict) -> list[str]:
    return [finding.text for finding in verdict.findings]


def roles(conn: Connection) -> list[str]:
    return [row[0] for row in conn.execute("select rolname from pg_roles where rolname !~ '^pg_' order by 1")]


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


# ── what is found ───────────────────────────────────────────────────────────────────────────────────────────
FAULTS = {
    "a forgotten index": (
        "create index if not exists orders_total on orders (total);",
        NOTHING,
        "the rollback leaves index public.orders.orders_total",
    ),
    "a lost NOT NULL": (
        "alter table orders alter total drop not null;",
        NOTHING,
        "after the rollback: column public.orders.total may now be NULL",
    ),
    "a lost default": (
        "alter table orders alter total drop default;",
        NOTHING,
        "after the rollback: column public.orders.total: default was 5, is none",
    ),
    "an enum value that stays": (
        "alter type mood add value if not exists 'angry';",
        NOTHING,
        "after the rollback: enum public.mood: labels was sad, happy, is sad, happy, angry",
    ),
    "a leftover function": (
        "create table t (); create or replace function f() returns int language sql as 'select 1';",
        "drop table t;",
        "the rollback leaves function public.f()",
    ),
    "a lost comment": (
        "comment on column orders.total is null;",
        NOTHING,
        "after the rollback: column public.orders.total: comment was In cents., is none",
    ),
    "a lost grant": (
        "revoke select on orders from verify_reader;",
        NOTHING,
        "after the rollback: table public.orders: grants lost verify_reader=SELECT",
    ),
    "a table too many that goes": (
        "create table if not exists t ();",
        "drop table t, orders;",
        "the rollback loses table public.orders, which was there before 0002_change",
    ),
    "another type of a column": (
        "alter table orders alter total type bigint;",
        NOTHING,
        "after the rollback: column public.orders.total: type was integer, is bigint",
    ),
}


@pytest.mark.parametrize(("up", "down", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_rollback_that_leaves_or_loses_something_is_found(
    up: str, down: str, sentence: str, write: Write, prove: Callable[..., Verification]
) -> None:
    write("0001_base", BASE, BASE_DOWN)
    write("0002_change", up, down)
    write("0003_later", "create table later (id int);", "drop table later;")
    found = prove()
    assert [v.result for v in found.verdicts] == [Result.VERIFIED, Result.FINDINGS, Result.VERIFIED]
    assert texts(found.verdicts[1]) == [sentence]
    assert not found.passed()


def test_a_rollback_that_restores_everything_is_verified(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_base", BASE, BASE_DOWN)
    write(
        "0002_change",
        "revoke select on orders from verify_reader; create index orders_total on orders (total);",
        "drop index orders_total; grant select on orders to verify_reader;",
    )
    found = prove()
    assert [(v.result, v.findings, v.warnings) for v in found.verdicts] == [(Result.VERIFIED, (), ())] * 2
    assert found.passed(strict=True)


def test_what_cannot_be_applied_again_is_found(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_base", BASE, BASE_DOWN)
    write("0002_f", "create table t ();\ncreate function f() returns int\nlanguage sql as 'select 1';", "drop table t;")
    write("0003_later", "alter table t add id int;", "alter table t drop id;")
    found = prove()
    assert texts(found.verdicts[1]) == [
        "the rollback leaves function public.f()",
        "it cannot be applied again after its rollback: "
        '0002_f.sql:2: function "f" already exists with same argument types',
    ]
    assert found.verdicts[2].result is Result.VERIFIED


def test_what_is_other_the_second_time_is_found(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_s", "create sequence s;", "drop sequence s;")
    write(
        "0002_t",
        "select nextval('s'); do $$ begin execute format('create table t_%s ()', currval('s')); end $$;",
        "do $$ begin execute format('drop table t_%s', currval('s')); end $$;",
    )
    assert texts(prove().verdicts[1]) == [
        "after up, down and up: table public.t_1 was removed",
        "after up, down and up: table public.t_2 was added",
    ]


def test_a_rollback_that_fails_is_found_with_its_line(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_a", "create table a (id int);", "-- undo\ndrop table b;")
    write("0002_c", "create table c (id int);", "drop table c;\nvacuum;")
    write("0003_d", "create table d (id int);", "drop table d;\ndo $$ begin perform 1/0; end $$;")
    write("0004_e", "create table e (id int);")
    found = prove()
    assert texts(found.verdicts[0]) == ['the rollback fails: 0001_a.rollback.sql:2: table "b" does not exist']
    assert texts(found.verdicts[1]) == [
        "the rollback fails: 0002_c.rollback.sql:2: VACUUM cannot run inside a transaction"
    ]
    assert texts(found.verdicts[2]) == ["the rollback fails: 0003_d.rollback.sql:2: division by zero"]
    assert found.verdicts[3].result is Result.VERIFIED


def test_another_order_of_columns_is_only_a_warning(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_a", "create table a (x int, y int);", "drop table a;")
    write("0002_x", "alter table a drop x;", "alter table a add x int;")
    verdict = prove().verdicts[1]
    assert verdict.result is Result.VERIFIED
    assert [w.text for w in verdict.warnings] == [
        "after the rollback: table public.a: same columns in another order: was x, y, is y, x"
    ]


# ── what is left open ───────────────────────────────────────────────────────────────────────────────────────
def test_without_a_rollback_file_there_is_no_way_back(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_a", "create table a (id int);", None)
    write("0002_b", "create table b (id int); alter table a add b int;", "alter table a drop b; drop table b;")
    found = prove()
    assert [v.result for v in found.verdicts] == [Result.NO_WAY_BACK, Result.VERIFIED]
    assert found.verdicts[0].reason == "there is no 0001_a.rollback.sql"
    assert found.passed()
    assert not found.passed(strict=True)


def test_a_rollback_file_without_sql_is_found(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_a", "create table a (id int);", "-- later\n")
    assert texts(prove().verdicts[0]) == ["0001_a.rollback.sql holds no SQL (`select 1;` if nothing is to be undone)"]


def test_what_cannot_run_here_is_never_passed_over(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_a", "create table a (id int);")
    write("0002_maps", "-- places\ncreate extension no_such_extension;", "drop extension no_such_extension;")
    write("0003_c", "create table c (id int);")
    found = prove()
    assert [v.result for v in found.verdicts] == [Result.VERIFIED, Result.CANNOT_VERIFY, Result.CANNOT_VERIFY]
    assert 'extension "no_such_extension" is not available' in found.verdicts[1].reason
    assert found.verdicts[1].reason.startswith("0002_maps.sql:2: ")
    assert found.verdicts[2].reason == "0002_maps before it does not run"
    assert not found.passed()


def test_a_collation_that_the_server_has_not_cannot_be_verified(
    write: Write, prove: Callable[..., Verification]
) -> None:
    write("0001_c", "create collation german (locale = 'xx_NOWHERE.utf8');", "drop collation german;")
    found = prove()
    assert (found.verdicts[0].result, found.passed()) == (Result.CANNOT_VERIFY, False)
    assert "could not create locale" in found.verdicts[0].reason


def test_what_nobody_asked_for_is_only_applied(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_a", "create table a (id int);", "drop table nowhere;")
    write("0002_b", "alter table a add b int;", "alter table a drop b;")
    write("0003_c", "this is never run")
    found = prove("0002_b")
    assert [(v.id, v.result) for v in found.verdicts] == [("0002_b", Result.VERIFIED)]


# ── statement by statement, and roles ───────────────────────────────────────────────────────────────────────
def test_migrations_without_a_transaction_are_verified(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_a", "create table a (id int);")
    write(
        "0002_index",
        "-- transactional: false\ncreate index concurrently a_id on a (id);\nvacuum a;",
        "drop index concurrently a_id;",
    )
    write(
        "0003_forgotten",
        "-- transactional: false\ncreate index concurrently if not exists a_id3 on a (id);",
        NOTHING,
    )
    write("0004_half", "-- transactional: false\ncreate table h ();\n\nselect 1/0;", "drop table h;")
    found = prove()
    assert [v.result for v in found.verdicts] == [
        Result.VERIFIED,
        Result.VERIFIED,
        Result.FINDINGS,
        Result.CANNOT_VERIFY,
    ]
    assert texts(found.verdicts[2]) == ["the rollback leaves index public.a.a_id3"]
    assert found.verdicts[3].reason == "0004_half.sql:4: division by zero"


def test_roles_that_migrations_create_are_no_obstacle(
    write: Write, prove: Callable[..., Verification], playground: Server
) -> None:
    with connect(playground.target()) as conn:
        before = roles(conn)
        write("0001_role", "create role verify_app; create role verify_admin in role verify_app;", NOTHING)
        write("0002_t", "create table t (); grant select on t to verify_app;", "drop table t;")
        write("0003_role", "create role verify_owner login;", "drop role verify_owner;")
        found = prove("0002_t", "0003_role")
        assert [v.result for v in found.verdicts] == [Result.VERIFIED, Result.VERIFIED]
        assert roles(conn) == before


def test_a_role_that_stays_is_only_a_warning(write: Write, prove: Callable[..., Verification]) -> None:
    guarded = "do $$ begin if to_regrole('verify_app') is null then create role verify_app; end if; end $$;"
    write("0001_role", guarded, NOTHING)
    verdict = prove().verdicts[0]
    assert verdict.result is Result.VERIFIED
    assert [w.text for w in verdict.warnings] == ["the rollback leaves role verify_app"]


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.slow
def test_the_migrations_of_pliers_are_green(tmp_path: Path, make_cli: Callable[..., Cli]) -> None:
    copytree(MIGRATIONS, tmp_path / "migrations")
    done = make_cli(tmp_path, {"PLIERS_ENV": "test"})("migrate", "verify", "--rows", "--strict", "--json")
    assert done.code == 0, done.out + done.err
    rows = done.json["migrations"]
    assert len(rows) == len([f for f in MIGRATIONS.glob("*.sql") if not f.name.endswith(".rollback.sql")])
    assert {(row["result"], tuple(row["findings"]), tuple(row["warnings"])) for row in rows} == {("verified", (), ())}
    assert done.json["rows"]["not_looked_at"] == []
    assert done.json["rows"]["tables"] == 12


@pytest.mark.slow
def test_the_command_tells_what_it_found_and_touches_no_database(cli: Cli, write: Write, conn: Connection) -> None:
    # A file may name the database it is for.
    name = conn.info.dbname
    write("0001_a", f"create table a (id int); alter database {name} set work_mem = '9MB';", "drop table a;")
    write("0002_b", "create table b (id int);", None)
    done = cli("migrate", "verify")
    assert done.code == 1, done.err
    lines = done.out.splitlines()
    assert lines[0] == "findings     0001_a"
    assert lines[1] == "    the rollback leaves setting of the database (work_mem=9MB)"
    assert lines[2] == "no way back  0002_b: there is no 0002_b.rollback.sql"
    assert lines[3].startswith("2 migrations: 1 with findings, 1 without a way back (PostgreSQL 18")
    assert conn.execute("select count(*) from pg_class where relname in ('a', 'b')").fetchone() == (0,)


def test_a_database_may_be_called_as_initdb_calls_its_first(cli: Cli, write: Write, target: Target) -> None:
    """Services hand out a database named postgres."""
    named = "alter database postgres"
    write("0001_a", f"create table a (id int); {named} set work_mem = '5MB';", f"drop table a; {named} reset all;")
    url = url_of(target.with_database("postgres"))
    for command in (("verify",), ("verify", "--rows"), ("trace",)):
        done = cli("migrate", *command, "--database-url", url, "--json")
        assert done.code == 0, done.out


def with_scratch(cli: Cli, playground: Server, *arguments: str) -> Any:
    return cli("migrate", "verify", *arguments, "--scratch", url_of(playground.target()), "--json")


def ids(done: Any) -> list[str]:
    return [row["id"] for row in done.json["migrations"]]


def test_only_the_pending_ones(cli: Cli, abc: list[str], playground: Server) -> None:
    assert cli("migrate", "up", "--to", abc[0]).code == 0
    done = with_scratch(cli, playground, "--pending")
    assert (done.code, ids(done)) == (0, abc[1:]), done.err
    assert done.json["passed"] is True
    assert cli("migrate", "up").code == 0
    done = with_scratch(cli, playground, "--pending")
    assert (done.code, ids(done), done.json["server_version"]) == (0, [], None)


def test_only_those_whose_files_changed_since_a_commit(cli: Cli, write: Write, abc: list[str], project: Path) -> None:
    migrations = project / "migrations"
    git(project, "init", "-q", "-b", "main")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")
    assert changed_since(read_folder(migrations), "main") == ()
    git(project, "checkout", "-q", "-b", "work")
    (migrations / "0002_b.rollback.sql").write_text("drop table b cascade;")
    git(project, "commit", "-q", "-a", "-m", "second")
    (migrations / "0003_c.rollback.sql").unlink()
    write("0005_é", "create table e (id int);", "drop table e;")
    assert changed_since(read_folder(migrations), "main") == ("0002_b", "0003_c", "0005_é")
    assert changed_since(read_folder(migrations), "HEAD") == ("0003_c", "0005_é")
    done = cli("migrate", "verify", "--since", "HEAD", "0001", "--json")
    assert (done.code, ids(done)) == (0, ["0001_a", "0003_c", "0005_é"]), done.err


def test_a_git_ref_that_cannot_be_asked_for_is_bad_input(
    cli: Cli, abc: list[str], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = read_folder(project / "migrations")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    with pytest.raises(NoGitRef) as caught:
        changed_since(folder, "main")
    assert "not a git repository" in caught.value.why
    git(project, "init", "-q", "-b", "main")
    for ref in ("main", "--output=x", ""):
        with pytest.raises(NoGitRef):
            changed_since(folder, ref)
    unknown = cli("migrate", "verify", "--since", "origin/main", "--json")
    assert (unknown.code, unknown.json["error"]["code"]) == (2, "migrate.git")
    assert unknown.json["error"]["fix"] == "git fetch origin main"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoGitRef, match="git cannot be run"):
        changed_since(folder, "main")


def test_bad_input_is_told_before_anything_runs(cli: Cli, write: Write, abc: list[str]) -> None:
    assert cli("migrate", "verify", "0009").code == 2
    write("0004_bad", "begin; create table bad (); commit;")
    done = cli("migrate", "verify")
    assert done.code == 2
    assert "0004_bad.sql:1: BEGIN does not belong into a migration" in done.err


def test_a_named_server_is_left_as_it_was(cli: Cli, write: Write, playground: Server) -> None:
    everything = "select datname, shobj_description(oid, 'pg_database') from pg_database order by 1"
    write("0001_base", BASE, NOTHING)
    with connect(playground.target()) as conn:
        before = conn.execute(everything).fetchall(), roles(conn)
        done = with_scratch(cli, playground)
        assert done.code == 1, done.err
        assert (conn.execute(everything).fetchall(), roles(conn)) == before


def test_a_protected_server_is_no_place_to_try_migrations_out(cli: Cli, abc: list[str], playground: Server) -> None:
    with connect(playground.target()) as conn:
        conn.execute("create database live")
        with connect(playground.target("live")) as live:
            write_stamp(live, Environment.PRODUCTION)
        done = cli("migrate", "verify", "--scratch", url_of(playground.target("live")), "--json")
        conn.execute("drop database live")
    assert (done.code, done.json["error"]["code"]) == (4, "migrate.scratch-protected")


def test_a_role_that_may_create_no_database_cannot_verify(cli: Cli, abc: list[str], playground: Server) -> None:
    with connect(playground.target()) as conn:
        conn.execute("create role verify_guest login")
        url = url_of(playground.target()).replace("//postgres@", "//verify_guest@")
        done = cli("migrate", "verify", "--scratch", url, "--json")
        conn.execute("drop role verify_guest")
    assert (done.code, done.json["error"]["code"]) == (3, "migrate.scratch"), done.json
    assert "permission denied" in done.json["error"]["why"]
