"""`migrate import`: the folders of seven tools become ours, or what cannot come along is named with file and line."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from typing import get_args

import pytest

from pliers_db.cli.migrate.importing import From
from pliers_db.errors import ImportConflict, ImportUnclear, NotImportable
from pliers_db.migrate.importing import Tool, detect, plan_import, read_source
from pliers_db.migrate.importing.convert import Conversion, convert
from pliers_db.migrate.importing.flyway import checksum
from pliers_db.migrate.importing.theirs import Theirs

Tree = dict[str, str]
Make = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Make:
    """Write a folder of another tool."""

    def make(files: Tree, name: str = "theirs") -> Path:
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        return tmp_path / name

    return make


def files_of(path: Path, tool: Tool | None = None) -> dict[str, str]:
    """What an import would write."""
    source = read_source(path, tool)
    plan = plan_import(source, convert(source), Theirs(), path.parent / "migrations", {}, ())
    return dict(plan.files)


def problems_of(path: Path, tool: Tool | None = None) -> list[str]:
    """What it refuses, without the folder's path."""
    found: Conversion = convert(read_source(path, tool))
    return [p.text.removeprefix(f"{path}/") for p in found.problems]


# ── dbmate ──────────────────────────────────────────────────────────────────────────────────────────────────
DBMATE = {
    "20240101_users.sql": "-- our users\n-- migrate:up\ncreate table users ();\n\n-- migrate:down\ndrop table users;\n",
    "20240102_index.sql": "-- migrate:up transaction:false\ncreate index concurrently i on users (id);\n"
    "-- migrate:down\ndrop index i;\n",
    "20240103_none.sql": "-- migrate:up\n-- nothing yet\n-- migrate:down\n",
}


def test_dbmate_up_and_down_part_and_keep_their_names_and_order(tree: Make) -> None:
    assert files_of(tree(DBMATE)) == {
        "20240101_users.rollback.sql": "drop table users;\n",
        "20240101_users.sql": "-- our users\ncreate table users ();\n",
        "20240102_index.rollback.sql": "-- transactional: true\ndrop index i;\n",
        "20240102_index.sql": "-- transactional: false\n-- depends: 20240101_users\n"
        "create index concurrently i on users (id);\n",
        "20240103_none.sql": "-- depends: 20240102_index\n-- nothing yet\nselect 1;\n",
    }


def test_what_dbmate_files_cannot_bring_along_is_named_by_file_and_line(tree: Make) -> None:
    path = tree(
        {
            "1_a.sql": "-- migrate:up\nselect 1;\n-- migrate:down\n-- migrate:up\nselect 2;\n-- migrate:down\n",
            "2_b.sql": "create table early ();\n-- migrate:up\ncreate index concurrently i on early (id);\n",
            "3_c.sql": "-- migrate:up\nselect 1;\ncopy early from stdin;\n1\n\\.\n",
            "4_d.sql": "-- migrate:up\n-- depends: on the weather\nselect 1;\n",
            "5_e.sql": "-- migrate:up\nselect 1;\nbegin;\nselect 2;\ncommit;\n",
        }
    )
    assert problems_of(path) == [
        "1_a.sql:4: a second -- migrate:up",
        "1_a.sql:6: a second -- migrate:down",
        "2_b.sql:1: SQL before -- migrate:up",
        "2_b.sql:3: CREATE INDEX CONCURRENTLY cannot run inside a transaction",
        "3_c.sql:3: COPY … FROM stdin does not work in a migration",
        "4_d.sql:2: -- depends: would be a directive of ours",
        "5_e.sql:3: BEGIN does not belong into a migration",
    ]


# ── golang-migrate ──────────────────────────────────────────────────────────────────────────────────────────
def test_golang_migrate_pairs_come_in_the_order_of_their_numbers(tree: Make) -> None:
    path = tree(
        {
            "10_c.up.sql": "create index concurrently i on a (id);\n",
            "9_b.up.sql": "BEGIN;\n\ncreate table b ();\ncreate table c ();\n\nCOMMIT;\n",
            "9_b.down.sql": "drop table c; drop table b;\n",
            "1_a.up.sql": "create table a ();",
            "1_a.down.sql": "\n",
        }
    )
    assert detect(path) is Tool.GOLANG_MIGRATE
    assert files_of(path) == {
        "1_a.sql": "create table a ();\n",
        "9_b.rollback.sql": "drop table c; drop table b;\n",
        "9_b.sql": "-- depends: 1_a\ncreate table b ();\ncreate table c ();\n",
        "10_c.sql": "-- transactional: false\n-- depends: 9_b\ncreate index concurrently i on a (id);\n",
    }


def test_golang_migrate_leftovers_are_named(tree: Make) -> None:
    path = tree(
        {"1_a.up.sql": "select 1;", "2_b.down.sql": "select 1;", "3_c.up.json": "{}", "01_d.up.sql": "select 1;"}
    )
    assert problems_of(path) == [
        "3_c.up.json:1: a migration in .json",
        "2_b.down.sql:1: there is no .up.sql beside it",
        "1_a.up.sql:1: has the version of " + str(path / "01_d.up.sql"),
    ]


# ── Flyway ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_flyway_versions_undos_and_repeatables(tree: Make) -> None:
    path = tree(
        {
            "V1__Create users.sql": "create table users ();\n",
            "sub/V1_10__later.sql": "select 10;\n",
            "V1.2__index.sql": "create index concurrently i on users (id);\n",
            "V2__vacuum.sql": "select '${not a placeholder}';\n",
            "V2__vacuum.sql.conf": "# ours\nexecuteInTransaction=false\nplaceholderReplacement=false\n",
            "U1__Create users.sql": "drop table users;\n",
            "R__views.sql": "create or replace view v as select 1 as one;\n",
        }
    )
    assert detect(path) is Tool.FLYWAY
    written = files_of(path)
    assert written == {
        "1_Create_users.rollback.sql": "drop table users;\n",
        "1_Create_users.sql": "create table users ();\n",
        "1.2_index.sql": "-- transactional: false\n-- depends: 1_Create_users\n"
        "create index concurrently i on users (id);\n",
        "1.10_later.sql": "-- depends: 1.2_index\nselect 10;\n",
        "2_vacuum.sql": "-- transactional: false\n-- depends: 1.10_later\nselect '${not a placeholder}';\n",
        "post-apply_views.sql": "create or replace view v as select 1 as one;\n",
    }
    assert "post-apply" in convert(read_source(path)).notes[0]


def test_what_flyway_alone_can_do_is_named(tree: Make) -> None:
    path = tree(
        {
            "V1__a.sql": "create table a ();\ninsert into ${schema}.a values ('${who}');\n",
            "V2__b.java": "class V2__b {}\n",
            "V3__c.sql": "select 1;\n",
            "V3__c.sql.conf": "shouldExecute=${env}==prod\n",
            "B9__base.sql": "select 1;\n",
            "U7__x.sql": "select 1;\n",
            "afterMigrate.sql": "select 1;\n",
            "V3.0__again.sql": "select 1;\n",
            "R__r.sql": "select 1;\n",
            "sub/R__r.sql": "select 2;\n",
        }
    )
    assert problems_of(path) == [
        "B9__base.sql:1: a baseline migration",
        "V1__a.sql:2: the placeholder ${schema}",
        "V1__a.sql:2: the placeholder ${who}",
        "V2__b.java:1: a migration in .java",
        "V3__c.sql.conf:1: 'shouldExecute=${env}==prod' has nothing like it here",
        "afterMigrate.sql:1: a callback",
        "U7__x.sql:1: it undoes a version that is not here",
        f"V3__c.sql:1: has the version of {path / 'V3.0__again.sql'}",
        f"sub/R__r.sql:1: would have the name of {path / 'R__r.sql'}",
    ]


def test_flyways_checksum_is_of_the_lines_whatever_ends_them() -> None:
    # CRC-32 of "123456789", the check value of every implementation, as a signed number.
    assert checksum("123\n456\r\n789\n") == str(0xCBF43926 - (1 << 32))


# ── diesel ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_diesel_folders(tree: Make) -> None:
    path = tree(
        {
            "2024-01-02-000000_index/up.sql": "create index concurrently i on a (id);\n",
            "2024-01-02-000000_index/metadata.toml": "run_in_transaction = false\n",
            "00000000000001_a/up.sql": "create table a ();\n",
            "00000000000001_a/down.sql": "drop table a;\n",
            ".keep": "",
        }
    )
    assert detect(path) is Tool.DIESEL
    assert files_of(path) == {
        "00000000000001_a.rollback.sql": "drop table a;\n",
        "00000000000001_a.sql": "create table a ();\n",
        "20240102000000_index.sql": "-- transactional: false\n-- depends: 00000000000001_a\n"
        "create index concurrently i on a (id);\n",
    }
    odd = tree(
        {"x_y/up.sql": "select 1;", "3_z/readme": "", "4_w/up.sql": "select 1;", "4_w/metadata.toml": "="}, "odd"
    )
    assert [p.partition(": ")[0] for p in problems_of(odd)] == ["3_z:1", "4_w/metadata.toml:1", "x_y:1"]


# ── goose ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_goose_annotations(tree: Make) -> None:
    path = tree(
        {
            "00001_f.sql": "-- +goose Up\n-- +goose StatementBegin\ncreate function f() returns int language sql as\n"
            "'select 1'\n-- +goose StatementEnd\nselect f();\n\n-- +goose Down\ndrop function f;\n",
            "00002_i.sql": "-- +goose NO TRANSACTION\n-- +goose up\ncreate index concurrently i on t (id);\n",
            "00002_helper_test.go": "package m\n",
        }
    )
    assert detect(path) is Tool.GOOSE
    assert files_of(path) == {
        "00001_f.rollback.sql": "drop function f;\n",
        "00001_f.sql": "create function f() returns int language sql as\n'select 1'\n;\nselect f();\n",
        "00002_i.sql": "-- transactional: false\n-- depends: 00001_f\ncreate index concurrently i on t (id);\n",
    }


def test_what_goose_alone_can_do_is_named(tree: Make) -> None:
    path = tree(
        {
            "1_a.sql": "-- +goose Up\n-- +goose ENVSUB ON\nselect '${WHO}';\n-- +goose ENVSUB OFF\nselect '$5';\n",
            "2_b.go": "package m\n",
            "3_c.sql": "select 1;\n",
            "4_d.sql": "-- +goose Up\n-- +goose StatementBegin\nselect 1;\n",
            "five.sql": "-- +goose Up\nselect 1;\n",
        }
    )
    assert problems_of(path) == [
        "1_a.sql:3: a variable of the environment (ENVSUB)",
        "2_b.go:1: a migration in Go",
        "3_c.sql:1: SQL before -- +goose Up",
        "3_c.sql:1: there is no -- +goose Up",
        "4_d.sql:2: there is no -- +goose StatementEnd to this line",
        "five.sql:1: its name has no NUMBER_ at its beginning",
    ]


# ── sqitch ──────────────────────────────────────────────────────────────────────────────────────────────────
PLAN = """%syntax-version=1.0.0
%project=shop

users 2024-01-01T10:00:00Z Ann <ann@x.org> # the users
app/posts [users] 2024-01-02T10:00:00Z Ann <ann@x.org> # posts
@v1 2024-01-03T10:00:00Z Ann <ann@x.org> # first
users [users@v1 !other] 2024-01-04T10:00:00Z Ann <ann@x.org> # again
"""
SQITCH = {
    "sqitch.plan": PLAN,
    "sqitch.conf": "[core]\n\tengine = pg\n\t# top_dir = .\n",
    "deploy/users@v1.sql": "-- Deploy shop:users to pg\n\nBEGIN;\n\ncreate table users ();\n\nCOMMIT;\n",
    "revert/users@v1.sql": "BEGIN;\ndrop table users;\nCOMMIT;\n",
    "deploy/app/posts.sql": "create table posts ();\ncreate table tags ();\n",
    "deploy/users.sql": "begin;\nalter table users add name text;\ncommit;\n",
    "verify/users.sql": "select 1;\n",
}


def test_sqitch_plan_order_dependencies_and_reworked_changes(tree: Make) -> None:
    path = tree(SQITCH)
    assert detect(path) is Tool.SQITCH
    assert files_of(path) == {
        "0001_users.rollback.sql": "drop table users;\n",
        "0001_users.sql": "-- Deploy shop:users to pg\n\ncreate table users ();\n",
        "0002_app_posts.sql": "-- transactional: false\n-- depends: 0001_users\n"
        "create table posts ();\ncreate table tags ();\n",
        "0003_users.sql": "-- depends: 0001_users\nalter table users add name text;\n",
    }
    source = read_source(path)
    assert source.migrations[1].checksum == sha1(SQITCH["deploy/app/posts.sql"].encode()).hexdigest()
    assert [m.version for m in source.migrations][2] == "users 2024-01-04T10:00:00Z"
    assert source.registry == ""
    (path / "sqitch.conf").write_text('[core]\n\tengine = pg\n[engine "pg"]\n\tregistry = deployments\n')
    assert read_source(path).registry == "deployments"
    told = "\n".join(convert(source).notes)
    for word in ("1 tag", "verify", "the conflict !other", "statement by statement"):
        assert word in told


def test_what_sqitch_and_psql_alone_can_do_is_named(tree: Make) -> None:
    at = "2024-01-01T10:00:00Z Ann <ann@x.org>"
    path = tree(
        {
            "sqitch.plan": f"%project=shop\n\na [other:b c] {at}\nd {at}\n-d {at}\nwhat is this\n",
            "sqitch.conf": '[core]\n    top_dir = .\n[engine "pg"]\n    deploy_dir = elsewhere\n',
            "deploy/a.sql": 'create schema :"name";\n',
        }
    )
    assert problems_of(path) == [
        'sqitch.conf:1: [engine "pg"] deploy_dir: scripts in other places',
        "sqitch.plan:5: -d: a revert in the plan",
        "sqitch.plan:6: 'what is this' is no line of a plan",
        "sqitch.plan:3: [other:b] needs another project",
        "sqitch.plan:3: [c] is not in the plan before it",
        f"sqitch.plan:4: d has no {path / 'deploy/d.sql'}",
        'deploy/a.sql:1: a variable of psql: create schema :"name";',
    ]


# ── Supabase, and telling them apart ────────────────────────────────────────────────────────────────────────
def test_supabase_files_come_as_they_are(tree: Make) -> None:
    path = tree({"migrations/20240101000000_a.sql": "create table a ();\r\n", "config.toml": ""}, "supabase")
    assert detect(path / "migrations") is Tool.SUPABASE
    assert files_of(path / "migrations") == {"20240101000000_a.sql": "create table a ();\n"}


def test_the_command_line_offers_every_tool() -> None:
    assert get_args(From) == tuple(Tool)


def test_a_folder_that_fits_no_tool_or_two_is_asked_about(tree: Make) -> None:
    plain = tree({"1_a.sql": "select 1;"}, "plain")
    with pytest.raises(ImportUnclear) as unclear:
        read_source(plain)
    assert "--from" in unclear.value.fix
    assert files_of(plain, Tool.SUPABASE) == {"1_a.sql": "select 1;\n"}
    both = tree({"1_a.sql": DBMATE["20240101_users.sql"], "V1__a.sql": "select 1;"}, "both")
    with pytest.raises(ImportUnclear, match="does not show"):
        read_source(both)
    for missing in (plain / "nothing", both / "V1__a.sql"):
        with pytest.raises(ImportUnclear):
            read_source(missing)
    with pytest.raises(ImportUnclear, match=r"sqitch\.plan"):
        read_source(plain, Tool.SQITCH)


# ── the plan ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_refusal_names_every_place_and_what_to_do(tree: Make) -> None:
    path = tree({f"{n}_x.go": "package m\n" for n in range(30)} | {"40_y.sql": "-- +goose Up\nselect 1;\n"})
    with pytest.raises(NotImportable) as refused:
        files_of(path)
    assert refused.value.message.startswith("30 places in ")
    assert refused.value.why.count("a migration in Go") == 20
    assert "10 more" in refused.value.why
    assert len(refused.value.details["problems"]) == 30


def test_our_own_file_is_never_overwritten(tree: Make) -> None:
    source = read_source(tree(DBMATE))
    conversion = convert(source)
    name = "20240101_users.sql"

    def plan(existing: dict[str, str]) -> dict[str, str]:
        return dict(plan_import(source, conversion, Theirs(), Path("ours"), existing, ()).files)

    assert name not in plan({name: "-- a word of ours\nCREATE TABLE users ();"})  # it says the same
    with pytest.raises(ImportConflict, match="says something else"):
        plan({name: "create table users (id int);"})
    with pytest.raises(Exception, match="the same number"):
        plan({"20240101_other.sql": "select 1;"})
