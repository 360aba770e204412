"""The migrations folder is read without a database: names, order, directives, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pliers_db.errors import (
    BadDependency,
    BadDirective,
    BadMigration,
    BadMigrationName,
    DuplicateMigration,
    InputError,
    NoMigrations,
    UnreadableMigration,
)
from pliers_db.migrate import read_folder
from pliers_db.migrate.files import sort_key
from pliers_db.migrate.parser import check
from tests.fix_migrate import Write


@pytest.fixture
def folder(project: Path) -> Path:
    return project / "migrations"


def ids(folder: Path) -> list[str]:
    return [m.id for m in read_folder(folder).migrations]


def test_the_order_is_by_number_then_name(folder: Path, write: Write) -> None:
    for migration_id in ("10_b", "9_a", "0100_c", "20260101_02_Ab3dE-x", "20260101_01_zzzzz-x"):
        write(migration_id, "select 1;")
    assert ids(folder) == ["9_a", "10_b", "0100_c", "20260101_01_zzzzz-x", "20260101_02_Ab3dE-x"]


def test_a_dependency_comes_first_and_the_rest_keeps_its_order(folder: Path, write: Write) -> None:
    write("0001_a", "-- depends: 0003_c\nselect 1;")
    write("0002_b", "select 1;")
    write("0003_c", "select 1;")
    assert ids(folder) == ["0002_b", "0003_c", "0001_a"]


def test_yoyos_own_file_names_may_share_a_day_and_number(folder: Path, write: Write) -> None:
    write("20260101_01_aaaaa-one", "select 1;")
    write("20260101_01_bbbbb-two", "select 1;")
    assert len(ids(folder)) == 2


def test_hidden_files_editor_files_and_folders_are_no_migrations(folder: Path, write: Write) -> None:
    write("0001_a", "select 1;")
    for name in (".#0002_b.sql", "._0001_a.sql", "#0001_a.sql#", "0001_a.sql~", "README.md"):
        (folder / name).write_bytes(b"\x00 not SQL")
    (folder / "0009_folder.sql").mkdir()
    assert ids(folder) == ["0001_a"]


@pytest.mark.parametrize("number", [7, 12])
def test_a_folder_named_like_a_pattern_is_read_by_its_name(number: int, tmp_path: Path) -> None:
    """yoyo would take the brackets for a pattern and do nothing, with exit 0."""
    path = tmp_path / f"migrations [v{number}]"
    path.mkdir()
    (path / "0001_a.sql").write_text("select 1;")
    assert ids(path) == ["0001_a"]


def test_directives_stand_in_the_comments_at_the_top(folder: Path, write: Write) -> None:
    write("0001_a", "select 1;")
    write("0002_b", "-- What it does: nothing\n\n--transactional:FALSE\n--   depends:   0001_a  \nselect 1;")
    found = read_folder(folder).by_id()
    assert found["0001_a"].transactional is True
    assert found["0002_b"].transactional is False
    assert found["0002_b"].depends == ("0001_a",)


def test_a_byte_order_mark_and_windows_line_ends_are_welcome(folder: Path, write: Write) -> None:
    write("0001_a", b"\xef\xbb\xbf-- transactional: false\r\nselect 1;\r\n")
    (migration,) = read_folder(folder).migrations
    assert migration.transactional is False
    assert not migration.text.startswith("\ufeff")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-- transactional: no\nselect 1;", ":1: -- transactional: no"),
        ("-- Transactional: false\nselect 1;", "is not a directive"),
        ("-- transactionnal: false\nselect 1;", "is not a directive"),
        ("-- transaction: false\nselect 1;", "is not a directive"),
        ("-- depend: 0001_a\nselect 1;", "is not a directive"),
        ("-- transactional = false\nselect 1;", "is not a directive"),
        ("/* transactional: false */\nselect 1;", "is not a directive"),
        ("/* a comment */\n-- transactional: false\nselect 1;", ":2: '-- transactional:' stands below"),
        ("select 1;\n\n-- transactional: false\nselect 2;", ":3: '-- transactional:' stands below"),
        ("-- transactional: true\n-- transactional: false\nselect 1;", ":2: a second"),
        ("-- depends: 0001_a, 0002_b\nselect 1;", "0001_a, 0002_b"),
    ],
)
def test_a_directive_that_yoyo_would_pass_over_is_refused_with_its_line(
    text: str, says: str, folder: Path, write: Write
) -> None:
    write("0003_c", text)
    with pytest.raises(BadDirective) as caught:
        read_folder(folder)
    assert says in caught.value.message
    assert "0003_c.sql:" in caught.value.message
    assert caught.value.fix


def test_an_ordinary_comment_with_a_colon_is_no_directive(folder: Path, write: Write) -> None:
    write("0001_a", "-- Note: this depends on nothing\n-- author: me\n-- see: https://example.org\nselect 1;")
    assert read_folder(folder).migrations[0].transactional is True


@pytest.mark.parametrize(
    ("files", "kind", "says"),
    [
        ({"0001_a.sql": "-- depends: 0002_b\n", "0002_b.sql": "-- depends: 0001_a\n"}, BadDependency, "0001_a -> 0002"),
        ({"0001_a.sql": "-- depends: 0001_a\n"}, BadDependency, "0001_a -> 0001_a"),
        ({"0001_users.sql": "", "0002_b.sql": "-- depends: 0001_user\n"}, BadDependency, "0001_user"),
        ({"0001_a.sql": "", "0001_b.sql": ""}, DuplicateMigration, "0001_b.sql"),
        ({"001_a.sql": "", "1_b.sql": ""}, DuplicateMigration, "1_b.sql"),
        ({"schema.sql": "", "0001_a.sql": ""}, BadMigrationName, "schema.sql"),
        ({"0001_a.py": "", "0001_a.sql": ""}, BadMigrationName, "0001_a.py"),
        ({f"0001_{'x' * 240}.sql": ""}, BadMigrationName, "characters"),
        ({"0001_a.sql": b"select 'caf\xe9';"}, UnreadableMigration, "byte offset 11"),
        ({"0001_a.sql": b"select 1;\nselect \x002;"}, UnreadableMigration, ":2: a NUL byte at offset 17"),
        ({"0001_a.sql": "s".encode("utf-16")}, UnreadableMigration, ""),
        ({"notes.md": ""}, NoMigrations, "No migrations in"),
        ({}, NoMigrations, "No migrations in"),
    ],
)
def test_a_folder_in_disorder_is_refused(
    files: dict[str, str | bytes], kind: type[InputError], says: str, folder: Path
) -> None:
    for name, text in files.items():
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(kind) as caught:
        read_folder(folder)
    assert says in caught.value.message
    assert caught.value.why or caught.value.fix
    assert caught.value.exit_code == 2


def test_an_unknown_dependency_is_answered_with_the_nearest_id(folder: Path, write: Write) -> None:
    write("0001_users", "select 1;")
    write("0002_b", "-- depends: 0001_users.sql\nselect 1;")
    with pytest.raises(BadDependency) as caught:
        read_folder(folder)
    assert caught.value.fix == "Did you mean 0001_users?"


def test_a_missing_folder_is_refused(folder: Path) -> None:
    with pytest.raises(NoMigrations) as caught:
        read_folder(folder / "nowhere")
    assert "migrate new" in caught.value.fix


def test_a_rollback_that_belongs_to_nothing_is_pointed_out(folder: Path, write: Write) -> None:
    write("0001_a", "select 1;", down=None)
    (folder / "0001_b.rollback.sql").write_text("select 1;")
    assert "0001_b.rollback.sql belongs to no migration" in read_folder(folder).warnings[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no SQL"),
        ("-- nothing\n\n/* at /* all */ */ ;;\n", "holds no SQL"),
        ("create table a ();\nCOMMIT;\ncreate table b ();", ":2: COMMIT"),
        ("begin;\nselect 1;", ":1: BEGIN"),
        ("select 1; start transaction;", "START"),
        ("savepoint x;", "SAVEPOINT"),
        ("select 1;\nend;", ":2: END"),
        ("create table a ();\ncommit and chain;\nsome syntax of the future;", ":2: COMMIT"),
        ("select 1;\n\\restrict abcdef\nselect 2;", r":2: \restrict is a command of psql"),
        ("\\connect other\nselect 1;", r":1: \connect"),
        ("select 1\n\\gexec\n", r":2: \gexec"),
        ("create table a (x int);\ncopy a from stdin;\n1\n\\.\n", ":2: COPY … FROM stdin"),
        ("copy a (x) from stdin with (format csv);\n1\n", "COPY … FROM stdin"),
        ("copy a to stdout;", "COPY … TO stdout"),
        ("create table a ();\ncreate index concurrently i on a (x);", ":2: CREATE INDEX CONCURRENTLY"),
        ("drop index concurrently i;", "DROP INDEX CONCURRENTLY"),
        ("reindex table concurrently a;", "REINDEX CONCURRENTLY"),
        ("vacuum a;", "VACUUM"),
        ("alter system set work_mem = '1GB';", "ALTER SYSTEM"),
        ("create database other;", "DATABASE"),
        ("alter table a detach partition b concurrently;", "DETACH PARTITION CONCURRENTLY"),
        ("discard all;", "DISCARD ALL"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadMigration) as caught:
        check(tmp_path / "0001_a.sql", text, transactional=True)
    assert says in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize(
    "text",
    [
        "create function f() returns trigger language plpgsql as $$ begin return new; end $$;",
        "create function f() returns int begin atomic select 1; select 2; end;",
        "create procedure p() language plpgsql as $body$ begin commit; rollback; end; $body$;",
        "do $Ü$ begin perform 1; end $Ü$;",
        "insert into a values ('commit; begin; copy a from stdin;\n\\i x\n');",
        "-- commit;\n/* begin; /* vacuum; */ */ select 1;",
        "select case when true then 1 end;",
        "alter type mood add value 'commit';",
        'select "begin", "end" from a;',
        "copy a from '/data/file.csv';",
        "copy a from program 'gzip -dc x';",
        "refresh materialized view concurrently m;",
        "prepare q as select 1;",
        "analyze a;",
        "select E'it\\'s; commit;';",
    ],
)
def test_what_only_looks_like_it_is_let_through(text: str, tmp_path: Path) -> None:
    check(tmp_path / "0001_a.sql", text, transactional=True)


@pytest.mark.parametrize("text", ["discard all;", "select 1;\nselect pg_advisory_unlock_all();"])
@pytest.mark.parametrize("transactional", [True, False])
def test_what_would_let_go_of_the_lock_of_migrations_is_refused(text: str, transactional: bool, tmp_path: Path) -> None:
    with pytest.raises(BadMigration, match=r"DISCARD ALL|pg_advisory_unlock_all"):
        check(tmp_path / "0001_a.sql", text, transactional=transactional)


def test_a_function_that_lets_go_of_locks_may_be_created(tmp_path: Path) -> None:
    text = "create function f() returns void language sql as 'select pg_advisory_unlock_all()';"
    check(tmp_path / "0001_a.sql", text, transactional=True)


def test_without_a_transaction_concurrently_is_right_and_begin_is_still_wrong(tmp_path: Path) -> None:
    check(tmp_path / "a.sql", "create index concurrently i on a (x); vacuum a;", transactional=False)
    with pytest.raises(BadMigration):
        check(tmp_path / "a.sql", "begin; select 1; commit;", transactional=False)


def test_ids_sort_as_people_count() -> None:
    assert sorted(["10_a", "9_b", "0011_c", "20260101120000_d"], key=sort_key) == [
        "9_b",
        "10_a",
        "0011_c",
        "20260101120000_d",
    ]
