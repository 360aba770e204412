"""`migrate lint`: what it finds, what it lets pass, what it refuses to pass over."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from pglast import parser

from pliers_db.db import Connection
from pliers_db.errors import BadLintComment, BadSetting, LintToolFailed, UnknownRule
from pliers_db.migrate.lint import RULES, LintReport, LintSettings, Severity, lint
from pliers_db.migrate.lint.rules import NOT_HERE, SQUAWK
from pliers_db.migrate.lint.squawk import find_squawk
from tests.fix_cli import Cli
from tests.fix_migrate import Write
from tests.fix_pliers import MIGRATIONS

BASE = """
create type mood as enum ('sad', 'happy');
create table customers (id bigint primary key, name text not null);
create table orders (
    id bigint primary key, customer_id bigint, mood mood, total bigint, note varchar(10), place text,
    embedding real[]
);
create table logs (at timestamptz not null, line text, primary key (at)) partition by range (at);
create table logs_old (at timestamptz not null primary key, line text);
create materialized view totals as select customer_id, count(*) from orders group by 1;
create unique index totals_key on totals (customer_id);
insert into orders (id, total) select n, n from generate_series(1, 30) n;
create view happy as select id from orders where mood = 'happy';
"""
BASE_DOWN = (
    "drop view happy; drop materialized view totals; drop table orders, logs, logs_old, customers; drop type mood;"
)


@pytest.fixture
def examine(project: Path, write: Write) -> Callable[..., LintReport]:
    """Lint migrations behind one that makes a few tables: ``examine("alter table orders …", back="…")``."""

    def examine(
        *sql: str, back: str | None = "select 1;", settings: LintSettings | None = None, all_of_them: bool = False
    ) -> LintReport:
        write("0001_base", BASE, BASE_DOWN)
        names = [f"{number:04}_change" for number in range(2, len(sql) + 2)]
        for name, text in zip(names, sql, strict=True):
            write(name, text, back)
        chosen = None if all_of_them else (lambda known: names)
        # Their rollback files hold nothing: test_migrate_lint_files.py has those.
        return lint(project / "migrations", (settings or LintSettings()).without(["PL023"]), chosen)

    return examine


def rules(report: LintReport) -> set[str]:
    return {f.rule for f in report.findings if f.severity is not Severity.NOTICE}


# What is found, and a way to write it that is not. Several texts are several migrations.
PAIRS: dict[str, tuple[str, list[str]]] = {
    "PL010": ("-- nothing here\n", ["select 1;"]),
    "PL011": ("selct 1;", ["select 1;"]),
    "PL012": (
        "create index concurrently i on orders (customer_id);",
        ["-- transactional: false\ncreate index concurrently i on orders (customer_id);"],
    ),
    "PL013": ("begin; create table a (id bigint primary key); commit;", ["create table a (id bigint primary key);"]),
    "PL014": ("copy orders from stdin;\n1\t2\n\\.\n", ["insert into customers values (1, 'a');"]),
    "PL015": ("\\restrict abc\ncreate table a (id bigint primary key);", ["create table a (id bigint primary key);"]),
    "PL016": ("set lock_timeout = 0;", ["set lock_timeout = '1s';"]),
    "PL030": (
        "alter table orders add column x text; alter table customers add column x text;",
        ["alter table orders add column x text;", "alter table customers add column x text;"],
    ),
    "PL031": (
        "alter table orders add column x text; update orders set x = '' where id < 10;",
        ["alter table orders add column x text;", "update orders set x = '' where id < 10;"],
    ),
    "PL032": ("update orders set total = 0;", ["update orders set total = 0 where id between 1 and 1000;"]),
    "PL032 ": (  # an expression
        "update orders set total = total + 1, note = '';",
        ["update orders set total = total + 1 where id between 1 and 1000;"],
    ),
    "PL033": (
        "alter type mood add value 'angry' after 'sad'; update orders set mood = 'angry' where id = 1;",
        ["alter type mood add value 'angry' after 'sad';", "update orders set mood = 'angry' where id = 1;"],
    ),
    "PL034": ("alter table orders set unlogged;", ["alter table orders set (fillfactor = 90);"]),
    "PL035": ("refresh materialized view totals;", ["refresh materialized view concurrently totals;"]),
    "PL036": ("lock table orders in exclusive mode;", ["lock table orders in row share mode;"]),
    "PL037": (
        "alter table logs attach partition logs_old for values from ('2020-01-01') to ('2021-01-01');",
        [
            "alter table logs_old add constraint b check (at >= '2020-01-01' and at < '2021-01-01') not valid;",
            "alter table logs_old validate constraint b;",
            "alter table logs attach partition logs_old for values from ('2020-01-01') to ('2021-01-01');",
        ],
    ),
    "PL038": (
        "create index logs_line_idx on logs (line);",
        ["create index logs_line_idx on only logs (line);"],
    ),
    "PL039": (
        "-- transactional: false\ncreate index concurrently if not exists i on orders (customer_id);",
        ["-- transactional: false\ncreate index concurrently i on orders (customer_id);"],
    ),
    "PL040": (
        "alter table orders add constraint f foreign key (customer_id) references customers not valid;",
        [
            "-- transactional: false\ncreate index concurrently i on orders (customer_id);",
            "alter table orders add constraint f foreign key (customer_id) references customers not valid;",
        ],
    ),
    "PL041": ("create table a (id bigint);", ["create table a (id bigint primary key);"]),
    "PL042": ("alter table orders add column x json;", ["alter table orders add column x jsonb;"]),
    "PL043": ("drop trigger x on orders cascade;", ["drop trigger x on orders;"]),
    "PL044": (
        "create function f() returns bigint language sql security definer as 'select 1';",
        ["create function f() returns bigint language sql security definer set search_path = '' as 'select 1';"],
    ),
    "PL045": ("alter table orders disable trigger all;", ["alter table orders disable trigger user;"]),
    "PL046": (
        "alter table orders add column x bigint check (x > 0);",
        ["alter table orders add column x bigint; alter table orders add constraint c check (x > 0) not valid;"],
    ),
    "PL047": (
        "alter table orders add constraint e exclude (total with =);",
        ["create table a (id bigint primary key, total bigint, constraint e exclude (total with =));"],
    ),
    "PL050": (
        "-- transactional: false\ncreate index concurrently i on orders using hnsw (embedding vector_l2_ops);",
        [
            "-- transactional: false\nset maintenance_work_mem = '1GB';\nset max_parallel_maintenance_workers = 4;\n"
            "create index concurrently i on orders using hnsw (embedding vector_l2_ops);"
        ],
    ),
    "PL051": (
        "create table v (id bigint primary key, e vector(3)); create index on v using ivfflat (e vector_l2_ops);",
        ["create table v (id bigint primary key, e vector(3)); create index on v using hnsw (e vector_l2_ops);"],
    ),
    "PL052": (
        "create table v (id bigint primary key, e vector); create index on v using hnsw (e vector_l2_ops);",
        ["create table v (id bigint primary key, e vector(3)); create index on v using hnsw (e vector_l2_ops);"],
    ),
    "adding-field-with-default": (
        "alter table orders add column x uuid default gen_random_uuid();",
        ["alter table orders add column x uuid; alter table orders alter x set default gen_random_uuid();"],
    ),
    "adding-not-nullable-field": (
        "alter table orders alter total set not null;",
        [
            "alter table orders add constraint n check (total is not null) not valid;",
            "alter table orders validate constraint n;",
            "alter table orders alter total set not null; alter table orders drop constraint n;",
        ],
    ),
    "constraint-missing-not-valid": (
        "alter table orders add constraint c check (total > 0);",
        [
            "alter table orders add constraint c check (total > 0) not valid;",
            "alter table orders validate constraint c;",
        ],
    ),
    "disallowed-unique-constraint": (
        "alter table orders add constraint u unique (total);",
        [
            "-- transactional: false\ncreate unique index concurrently u on orders (total);",
            "alter table orders add constraint u unique using index u;",
        ],
    ),
    "changing-column-type": (
        "alter table orders alter total type text;",
        ["alter table orders alter note type text;"],  # varchar(10) to text: the catalog only
    ),
    "require-concurrent-index-creation": (
        "create index i on orders (customer_id);",
        ["create table a (id bigint primary key, b bigint); create index i on a (b);"],
    ),
    "require-concurrent-index-deletion": ("drop index i;", ["-- transactional: false\ndrop index concurrently i;"]),
    "ban-drop-column": ("alter table orders drop column note;", ["alter table orders alter note drop default;"]),
    "renaming-table": ("alter table orders rename to orders2;", ["alter index i rename to j;"]),
}


@pytest.mark.parametrize("rule", PAIRS)
def test_the_dangerous_way_is_found_and_the_safe_way_is_not(rule: str, examine: Callable[..., LintReport]) -> None:
    dangerous, safe = PAIRS[rule]
    rule = rule.strip()
    found = [f for f in examine(dangerous).findings if f.rule == rule]
    assert found, f"{rule} does not find: {dangerous}"
    assert found[0].severity is RULES[rule].severity
    assert found[0].message
    assert found[0].why
    report = examine(*safe)
    assert not rules(report), [f"{f.rule}: {f.message}" for f in report.findings]


@pytest.mark.parametrize("rule", PAIRS)
def test_the_safe_way_that_is_said_is_sql_that_lint_passes(rule: str, examine: Callable[..., LintReport]) -> None:
    """Where it leaves nothing to fill in (…)."""
    said = next(f.safe for f in examine(PAIRS[rule][0]).findings if f.rule == rule.strip())
    assert said or rule == "PL011"
    texts = [text for text in re.split(r"^-- (?:first|second|third) migration\n", said, flags=re.M) if text.strip()]
    for text in texts:
        if "…" not in text:
            parser.parse_sql(text)
    # Some go on in the file that makes the table.
    if "…" not in said and rule not in ("PL041", "PL051") and all(parser.parse_sql(text) for text in texts):
        report = examine(*texts)
        assert not rules(report), [f"{f.rule}: {f.message}" for f in report.findings]


@pytest.mark.parametrize(
    ("sql", "rule", "line"),
    [
        (
            "alter table t alter a set not null, alter b set not null",
            "adding-not-nullable-field",
            "alter table t add constraint t_b_not_null check (b is not null) not valid;",
        ),
        (
            "alter table t add constraint x check (f(a, b)), add constraint y foreign key (a, b) references u",
            "adding-foreign-key-constraint",
            "alter table t add constraint y FOREIGN KEY (a, b) REFERENCES u not valid;",
        ),
        (
            "alter table t add column a bigint, add column b text unique",
            "disallowed-unique-constraint",
            "create unique index concurrently t_b_key on t (b);",
        ),
        (
            'create index on "Other T" ("Col X")',
            "require-concurrent-index-creation",
            'create index concurrently "Other T_Col X_idx" on "Other T" ("Col X");',
        ),
        ("alter table s.t rename to u", "renaming-table", "create view s.t as select * from s.u;"),
        ("reindex (verbose) table t", "require-concurrent-reindex", "reindex (verbose) table concurrently t;"),
        ("drop index a, b", "require-concurrent-index-deletion", "drop index concurrently b;"),
    ],
)
def test_the_safe_way_has_the_names_of_the_statement(
    sql: str, rule: str, line: str, examine: Callable[..., LintReport]
) -> None:
    said = [f.safe for f in examine(sql).findings if f.rule == rule][-1]
    assert any(each.startswith(line) for each in said.splitlines()), said


# What is said of them works on objects that these tables do not have.
ELSEWHERE = {"PL014", "PL043", "PL050", "PL051", "PL041", "require-concurrent-index-deletion"}


def test_the_safe_way_that_is_said_runs_on_a_server(examine: Callable[..., LintReport], conn: Connection) -> None:
    ran = 0
    for rule, (dangerous, _) in PAIRS.items():
        said = next(f.safe for f in examine(dangerous).findings if f.rule == rule.strip())
        if "…" in said or rule in ELSEWHERE:
            continue
        conn.execute("drop schema public cascade; create schema public")
        conn.execute(BASE)
        for text in re.split(r"^-- (?:first|second|third) migration\n", said, flags=re.M):
            try:
                if text.startswith("-- transactional: false"):
                    for statement in parser.split(text):
                        conn.execute(statement)
                else:
                    conn.execute(text)
            except psycopg.Error as error:
                pytest.fail(f"{rule}: {error}\n{text}")
            ran += bool(text)
    assert ran > 30


def test_every_rule_of_ours_has_a_pair_or_a_test_of_its_own() -> None:
    elsewhere = Path(__file__).read_text() + (Path(__file__).parent / "test_migrate_lint_files.py").read_text()
    for rule in RULES.values():
        if rule.ours and rule.id not in PAIRS:
            assert f'"{rule.id}"' in elsewhere, rule


def test_a_finding_stands_at_its_statement_in_characters_below_a_byte_order_mark_and_wide_letters(
    examine: Callable[..., LintReport],
) -> None:
    report = examine('\ufeff-- größer\r\n\r\nalter table "größe"   add column "größer" integer not null;\r\n')
    places = {f.rule: (f.line, f.column) for f in report.findings}
    line = 'alter table "größe"   add column "größer" integer not null;'
    assert places["adding-required-field"] == (3, line.index("add column") + 1)
    assert places["prefer-bigint-over-int"] == (3, line.index("integer") + 1)


def test_a_table_that_the_migration_makes_is_locked_as_much_as_it_likes(examine: Callable[..., LintReport]) -> None:
    report = examine(
        "create table a (id bigint primary key, b bigint, c text);\n"
        "create index on a (b);\nalter table a add constraint u unique (c);\nalter table a alter b set not null;\n"
        "insert into a select id, id, name from customers;\nupdate a set b = 2;\nalter table a alter c type varchar;\n"
        "alter table orders add column a_id bigint;\n"
    )
    assert not rules(report)


def test_a_dropped_column_is_no_excuse_for_the_next_one(examine: Callable[..., LintReport]) -> None:
    """An ignore counts for one statement; ``ignore-file`` for all."""
    two = "alter table orders drop column note;\nalter table orders drop column place;\n"
    comment = "-- lint: ignore ban-drop-column unused since 2.4\n"
    assert [f.line for f in examine(comment + two).findings] == [3]
    assert [f.line for f in examine(two.replace(";\n", f"; {comment}", 1)).findings] == [2]
    everything = examine(comment.replace("ignore", "ignore-file", 1) + two)
    assert everything.findings == ()
    assert everything.ignored == 2


def test_what_looks_like_an_ignore_inside_a_string_is_none(examine: Callable[..., LintReport]) -> None:
    report = examine("select '\n-- lint: ignore ban-drop-column no\n'; alter table orders drop column note;")
    assert rules(report) == {"ban-drop-column"}


def test_an_ignore_says_why_and_ignores_something(examine: Callable[..., LintReport]) -> None:
    without = examine("-- lint: ignore ban-drop-column\nalter table orders drop column note;")
    assert [f.rule for f in without.findings] == ["PL002"]
    assert not without.passed
    idle = examine("-- lint: ignore PL032 small\nselect 1;")
    assert [(f.rule, f.severity) for f in idle.findings] == [("PL003", Severity.NOTICE)]
    squawks = examine("-- squawk-ignore ban-drop-column\nalter table orders drop column note;")
    assert [f.rule for f in squawks.findings] == ["PL002"]


def test_an_unknown_rule_is_an_error_wherever_it_stands(
    examine: Callable[..., LintReport], project: Path, cli: Cli
) -> None:
    with pytest.raises(UnknownRule, match=r"0002_change.sql:1: there is no rule 'ban-drop-colum'") as caught:
        examine("-- lint: ignore ban-drop-colum typo\nselect 1;")
    assert caught.value.fix == "Did you mean ban-drop-column?"
    with pytest.raises(BadLintComment, match=r"0002_change.sql:2"):
        examine("select 1;\n-- lint: ignroe PL001 typo\n")
    with pytest.raises(UnknownRule, match="does not ask squawk for require-lock-timeout"):
        LintSettings().without(["require-lock-timeout"])
    (project / "migrations/0002_change.sql").write_text("select 1;")
    (project / "pliers-db.toml").write_text('[lint.rules]\nPL999 = "off"\n')
    done = cli("migrate", "lint", "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == "migrate.unknown-rule"


def test_a_project_sets_severities_and_the_oldest_server(examine: Callable[..., LintReport]) -> None:
    sql = "alter table orders drop column note;"
    assert examine(sql, settings=LintSettings().without(["ban-drop-column"])).findings == ()
    louder = LintSettings(severities={"ban-add-column": Severity.ERROR})
    report = examine("alter table orders add column x text;", settings=louder)
    assert [(f.rule, f.severity) for f in report.findings] == [("ban-add-column", Severity.ERROR)]
    strict = LintSettings(fail_on=Severity.NOTICE)
    assert not examine("alter table orders add column x integer;", settings=strict).passed
    assert examine("alter table orders add column x integer;").passed
    virtual = "alter table orders add column x bigint generated always as (total) stored;"
    assert "virtual" in examine(virtual, settings=LintSettings(postgres=18)).findings[0].safe
    assert "virtual" not in examine(virtual, settings=LintSettings(postgres=15)).findings[0].safe


def test_old_migrations_are_left_alone_behind_start_after(examine: Callable[..., LintReport], project: Path) -> None:
    drops = "alter table orders drop column note;"
    settings = LintSettings(start_after="0002")
    report = examine(drops, drops, settings=settings, all_of_them=True)
    assert {f.migration for f in report.findings} == {"0003_change"}
    named = lint(project / "migrations", settings, lambda known: ["0002_change"])
    assert {f.migration for f in named.findings} == {"0002_change"}


def test_squawks_rules_are_those_that_this_list_has() -> None:
    """Each name is one that squawk knows; a rule it has dropped would be ignored in vain."""
    program = find_squawk()
    names = [r.id for r in SQUAWK if r.id != "syntax-error"] + [n for n in NOT_HERE if n != "unused-ignore"]
    done = subprocess.run([program, "--exclude", ",".join(names)], input="", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo thread panicked >&2; exit 101", "exit code 101: thread panicked"),
        ("exit 0", "exit code 0: no message"),
        ("echo '[]'; exit 1", "exit code 1"),
        ("kill -9 $$", "exit code -9"),
    ],
)
def test_a_squawk_that_crashes_is_no_pass(
    script: str, said: str, examine: Callable[..., LintReport], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _stand_in(tmp_path, script, monkeypatch)
    with pytest.raises(LintToolFailed, match="nothing was examined") as caught:
        examine("select 1;")
    assert said in caught.value.why


def test_a_missing_squawk_is_no_pass(
    examine: Callable[..., LintReport], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LintToolFailed, match="squawk is not installed") as caught:
        examine("select 1;")
    assert caught.value.fix.startswith("pip install")


def _stand_in(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "squawk"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(folder))


def test_a_squawk_toml_of_the_project_changes_nothing_and_is_told(
    examine: Callable[..., LintReport], project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".squawk.toml").write_text('excluded_rules = ["ban-drop-column"]\n')
    monkeypatch.setattr("tempfile.tempdir", str(project))  # squawk looks for it upwards from where it runs
    assert rules(examine("alter table orders drop column note;")) == {"ban-drop-column"}
    done = cli("migrate", "lint", "2", env={"DATABASE_URL": "postgresql://nobody@192.0.2.1/none"})
    assert done.code == 2  # an id is given in full or by its digits: 0002
    done = cli("migrate", "lint", "0002", env={"DATABASE_URL": "postgresql://nobody@192.0.2.1/none"})
    assert done.code == 1, "no database is asked without --pending"
    assert ".squawk.toml is not read" in done.err


def test_the_command_looks_at_what_is_asked_for(cli: Cli, project: Path, write: Write) -> None:
    write("0001_a", "create table a (id bigint primary key, b text);")
    write("0002_b", "alter table a drop column b;", "alter table a add column b text;")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "two"]):
        subprocess.run([*git, *arguments], cwd=project, check=True)
    assert cli("migrate", "up", "--quiet").code == 0
    write("0003_c", "alter table a alter column id type text;", "select 1;")
    pending = cli("migrate", "lint", "--pending", "--json")
    assert pending.code == 1
    assert {f["migration"] for f in pending.json["findings"]} == {"0003_c"}
    since = cli("migrate", "lint", "--since", "HEAD", "--format", "json", "--fail-on", "error")
    assert since.code == 0
    assert {f["migration"] for f in since.json["findings"]} == {"0003_c"}
    text = cli("migrate", "lint", "0002")
    assert text.code == 1
    assert "0002_b.sql:1:15: warning ban-drop-column Dropping a column" in text.out
    assert "why: Versions of the application that still use it" in text.out
    assert cli("migrate", "lint", "--format", "xml").code == 2
    assert cli("migrate", "lint", "--json", "--format", "sarif").code == 2


def test_the_projects_own_migrations_are_clean() -> None:
    from pliers_db.config import find_project
    from pliers_db.migrate.lint import read_settings

    report = lint(MIGRATIONS, read_settings(find_project(MIGRATIONS)))
    assert report.findings == ()
    assert len(report.examined) == 2 * len(list(MIGRATIONS.glob("*.rollback.sql")))


def test_settings_that_cannot_be_read_are_refused(project: Path) -> None:
    from pliers_db.config import find_project
    from pliers_db.migrate.lint import read_settings

    for text in ('fail-on = "never"', "postgres = 9", 'rules = "all"', 'rules = { PL041 = "loud" }', "start-after = 3"):
        (project / "pliers-db.toml").write_text(f"[lint]\n{text}\n")
        with pytest.raises(BadSetting):
            read_settings(find_project(project))


def test_a_hundred_migrations_take_two_processes(
    project: Path, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One for those with a transaction, one for those without, and one for the version."""
    for number in range(100):
        head = "-- transactional: false\n" if number % 2 else ""
        write(f"{number:04}_t", head + f"create table t{number} (id bigint primary key);", f"drop table t{number};")
    calls = tmp_path / "calls"
    _stand_in(tmp_path, f'echo . >> "{calls}"; exec {find_squawk()} "$@"', monkeypatch)
    assert lint(project / "migrations", LintSettings()).findings == ()
    assert calls.read_text().count(".") == 3
    assert os.stat(calls).st_size == 6
