"""docs/safe-migrations.md is true: each dangerous way is found, each safe one passes and runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, Database
from pliers_db.migrate import read_folder, up
from pliers_db.migrate.lint import OURS, LintSettings, Severity, lint
from tests.fix_migrate import Write

PAGE = (Path(__file__).parent.parent / "docs/safe-migrations.md").read_text()
BLOCK = re.compile(r"^```sql\n-- (tables|safe|dangerous: (?P<rule>\S+))\n(?P<sql>.*?)^```", re.MULTILINE | re.DOTALL)
# The page's migrations show no rollback files.
SETTINGS = LintSettings().without(["PL020"])


@dataclass(frozen=True)
class Block:
    kind: str
    rule: str
    sql: str


BLOCKS = [Block(m[1].partition(":")[0], m["rule"] or "", m["sql"]) for m in BLOCK.finditer(PAGE)]


def test_the_page_has_no_sql_that_is_not_tried() -> None:
    tried = len(BLOCKS) + 1  # and the one line that shows how to ignore
    assert len(re.findall(r"^```sql$", PAGE, re.MULTILINE)) == tried
    assert len([b for b in BLOCKS if b.kind == "dangerous"]) >= 15


def _write_up_to(index: int, write: Write) -> list[str]:
    """The tables and the safe migrations above a block, numbered in their order."""
    kept = [b for b in BLOCKS[:index] if b.kind != "dangerous"]
    names = [f"{number:04}_step" for number in range(1, len(kept) + 1)]
    for name, block in zip(names, kept, strict=True):
        write(name, block.sql, None)
    return names


@pytest.mark.parametrize(
    "index", [n for n, b in enumerate(BLOCKS) if b.kind == "dangerous"], ids=lambda n: BLOCKS[n].rule
)
def test_lint_finds_the_dangerous_way(index: int, project: Path, write: Write) -> None:
    _write_up_to(index, write)
    write("9999_dangerous", BLOCKS[index].sql, None)
    report = lint(project / "migrations", SETTINGS, lambda known: ["9999_dangerous"])
    found = {f.rule: f for f in report.findings}
    assert BLOCKS[index].rule in found
    assert not report.passed
    assert found[BLOCKS[index].rule].safe, "the safe way is said"


def test_lint_passes_the_safe_ways_and_up_runs_them(
    project: Path, write: Write, target: Target, conn: Connection
) -> None:
    names = _write_up_to(len(BLOCKS), write)
    safe = names[1:]
    report = lint(project / "migrations", SETTINGS, lambda known: safe)
    loud = [f"{f.path.name}: {f.rule} {f.message}" for f in report.findings if f.severity is not Severity.NOTICE]
    assert not loud
    with Database(target) as database:
        outcome = up(database, read_folder(project / "migrations"), environment=Environment.TEST)
    assert [done.id for done in outcome.applied] == names
    assert conn.execute("select count(*) from orders where token is null or total_new is null").fetchone() == (0,)
    assert conn.execute("select count(*) from pg_index where not indisvalid").fetchone() == (0,)


def test_the_page_has_every_rule_of_ours_as_it_is() -> None:
    for rule in OURS:
        assert f'| <a id="{rule.id.lower()}"></a>{rule.id} | {rule.severity} | {rule.title} | {rule.why} |' in PAGE
