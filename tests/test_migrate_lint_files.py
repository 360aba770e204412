"""`migrate lint`: folders in disorder, and rollback files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pliers_db.errors import BadMigrationName, NoMigrations
from pliers_db.migrate.lint import LintReport, LintSettings, lint
from tests.fix_migrate import Write

TABLE = "create table {} (id bigint primary key);"


def examine(project: Path) -> LintReport:
    return lint(project / "migrations", LintSettings())


def found(report: LintReport) -> dict[str, tuple[str, int]]:
    return {f.rule: (f.path.name, f.line) for f in report.findings}


@pytest.mark.parametrize(
    ("name", "text", "rule", "line"),
    [
        ("0002_b", "-- Transactonal: false\nselect 1;", "PL001", 1),
        ("0002_b", "select 1;\n-- transactional: false\n", "PL001", 2),
        ("0002_b", "-- transactional: no\nselect 1;", "PL001", 1),
        ("schema", "select 1;", "PL004", 1),
        ("0001_other", "select 1;", "PL005", 1),
        ("0002_b", "select 1;\n-- caf\xe9".encode("latin-1"), "PL006", 2),
        ("0002_b", b"select 1;\n\0", "PL006", 2),
        ("0002_b", "-- depends: 0009_nobody\nselect 1;", "PL007", 1),
        ("10_b", "select 1;", "PL008", 1),
    ],
)
def test_what_up_refuses_is_a_finding_and_the_other_files_are_examined_all_the_same(
    name: str, text: str | bytes, rule: str, line: int, project: Path, write: Write
) -> None:
    write("0001_a", TABLE.format("a"))
    write("0003_c", "alter table a drop column id;", "select 1;")
    if rule == "PL008":
        write("9_z", "select 1;", "select 1;")
        (project / "migrations/0003_c.sql").write_text("alter table a drop column id;")
    write(name, text, "select 1;")
    report = examine(project)
    places = found(report)
    assert rule in places
    if rule != "PL008":
        assert places[rule] == (f"{name}.sql", line)
    assert places["ban-drop-column"] == ("0003_c.sql", 1)


def test_a_python_migration_is_told(project: Path, write: Write) -> None:
    write("0001_a", TABLE.format("a"))
    (project / "migrations/0002_b.py").write_text("steps = []\n")
    assert found(examine(project)) == {"PL004": ("0002_b.py", 1)}


def test_what_no_rule_is_about_is_not_passed_over(project: Path, write: Write) -> None:
    write("0001_a", TABLE.format("a"))
    (project / "migrations" / f"0002_{'b' * 241}.sql").write_text("select 1;")
    with pytest.raises(BadMigrationName, match="has a name of 250 characters"):
        examine(project)


def test_no_folder_is_bad_input(project: Path) -> None:
    with pytest.raises(NoMigrations):
        examine(project)


def test_a_missing_rollback_comes_with_a_draft(project: Path, write: Write) -> None:
    write("0001_a", "create schema s; create type s.mood as enum ('a');\n" + TABLE.format("s.a"), None)
    (finding,) = examine(project).findings
    assert finding.rule == "PL020"
    assert finding.safe.splitlines() == [
        "-- 0001_a.rollback.sql",
        "drop table s.a;",
        "drop type s.mood;",
        "drop schema s;",
    ]


def test_a_missing_rollback_can_be_meant(project: Path, write: Write) -> None:
    write("0001_a", "-- lint: ignore PL020 there is no way back from this\n" + TABLE.format("a"), None)
    report = examine(project)
    assert (report.findings, report.ignored) == ((), 1)


TWO = "create table a (id bigint primary key);\ncreate table b (a_id bigint primary key references a);\n"


@pytest.mark.parametrize(
    ("forward", "back", "rule"),
    [
        (TWO, "-- nothing\n", "PL021"),
        (TWO, "drop table a;\ndrop table b;", "PL022"),
        (TWO, "drop table b;\ndrop table a;", ""),
        (TWO, "drop table a, b;", ""),
        (TWO, "drop table b;", "PL023"),
        (TWO, "begin; drop table b; drop table a; commit;", "PL013"),
        (TWO, "drop table b; drop table a", ""),
        ("create type t as enum ('a'); create table a (id t primary key);", "drop type t; drop table a;", "PL022"),
        (TABLE.format("a") + "create index a_i on a (id);", "drop table a;", ""),
        (TABLE.format("a") + "create table p partition of a default;", "drop table a;", ""),
        ("create schema s;" + TABLE.format("s.a"), "drop schema s;", "PL023"),
        (TWO, "do $$ begin drop table b; drop table a; end $$;", ""),
    ],
)
def test_the_rollback_is_laid_beside_its_migration(
    forward: str, back: str, rule: str, project: Path, write: Write
) -> None:
    write("0001_a", forward, back)
    broken = {f.rule for f in examine(project).findings if f.rule.startswith(("PL01", "PL02"))}
    if forward.startswith("create schema"):
        assert broken <= {"PL022", "PL023"}
        return
    assert broken == ({rule} if rule else set())


def test_a_rollback_of_nothing_is_found(project: Path, write: Write) -> None:
    write("0001_a", TABLE.format("a"))
    (project / "migrations/0002_gone.rollback.sql").write_text("drop table b;")
    assert found(examine(project)) == {"PL024": ("0002_gone.rollback.sql", 1)}


def test_a_folder_with_brackets_and_blanks_is_read_like_any_other(project: Path, write: Write) -> None:
    folder = project / "mig [rations] *"
    write("0001_a", TABLE.format("a") + "alter table b drop column c;")
    (project / "migrations").rename(folder)
    assert "ban-drop-column" in found(lint(folder, LintSettings()))
