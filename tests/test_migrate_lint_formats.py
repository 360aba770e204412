"""The formats of `migrate lint`: each as its readers want it, whatever a finding says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from pliers_db.migrate.lint import Finding, LintReport, Severity
from pliers_db.migrate.lint.formats import render_github, render_gitlab, render_junit, render_sarif, render_text
from tests.fix_cli import Cli
from tests.fix_migrate import Write

ROOT = Path("/repo")
NASTY = "100% of it, %0A, %3A::error::, ]]> <b>\r\n\x00\x1b[31m größe 🐘"
FIRST = Finding(
    rule="PL030",
    title="several tables, one transaction: no",
    severity=Severity.WARNING,
    path=ROOT / "db, migrations/0001 ü.sql",
    line=3,
    column=7,
    message=NASTY,
    why="because",
    safe="alter table a;\nalter table b;",
    docs="docs/safe-migrations.md#pl030",
    migration="0001 ü",
)
FINDINGS = (
    FIRST,
    replace(FIRST, line=9),
    replace(FIRST, rule="ban-drop-column", severity=Severity.ERROR, docs="https://squawkhq.com/docs/ban-drop-column"),
    replace(FIRST, path=ROOT / "db/0002.sql", severity=Severity.NOTICE, safe=""),
)
REPORT = LintReport(
    FINDINGS, (FIRST.path, ROOT / "db/0002.sql", ROOT / "db/0003.sql"), 1, Severity.WARNING, 15, "2.70.0"
)
CLEAN = replace(REPORT, findings=())

# What the schema of SARIF 2.1.0 (OASIS, sarif-schema-2.1.0.json) requires of the objects that are written here.
REQUIRED = {
    "": ("version", "runs"),
    "runs": ("tool",),
    "tool": ("driver",),
    "driver": ("name",),
    "extensions": ("name",),
    "rules": ("id",),
    "results": ("message",),
    "shortDescription": ("text",),
    "fullDescription": ("text",),
    "message": ("text",),
}
CHOICES = {
    "version": {"2.1.0"},
    "level": {"none", "note", "warning", "error"},
    "columnKind": {"utf16CodeUnits", "unicodeCodePoints"},
}
ALLOWED = {
    "runs": {"tool", "results", "columnKind"},
    "driver": {"name", "version", "rules"},
    "rules": {"id", "shortDescription", "fullDescription", "defaultConfiguration", "helpUri", "properties"},
    "results": {"ruleId", "ruleIndex", "level", "message", "locations"},
    "locations": {"physicalLocation"},
    "physicalLocation": {"artifactLocation", "region"},
    "artifactLocation": {"uri"},
    "region": {"startLine", "startColumn"},
}


def _validate(node: Any, name: str = "") -> None:
    if isinstance(node, list):
        for each in node:
            _validate(each, name)
    elif isinstance(node, dict):
        assert set(REQUIRED.get(name, ())) <= node.keys(), name
        assert node.keys() <= ALLOWED.get(name, node.keys()), name
        for key, value in node.items():
            _validate(value, key)
            if key in CHOICES and not isinstance(value, dict | list) and name not in ("driver", "extensions"):
                assert value in CHOICES[key], (key, value)


@pytest.mark.parametrize("report", [REPORT, CLEAN], ids=["findings", "clean"])
def test_sarif_has_what_its_schema_requires(report: LintReport) -> None:
    document = json.loads(render_sarif(report, root=ROOT))
    _validate(document)
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(run["results"]) == len(report.findings)
    for result, finding in zip(run["results"], report.findings, strict=True):
        assert rules[result["ruleIndex"]] == result["ruleId"] == finding.rule
        place = result["locations"][0]["physicalLocation"]
        uri = place["artifactLocation"]["uri"]
        assert re.fullmatch(r"[!-~]+", uri), "a URI reference"
        assert unquote(uri) == finding.path.relative_to(ROOT).as_posix()
        assert place["region"] == {"startLine": finding.line, "startColumn": finding.column}
        assert min(place["region"].values()) >= 1


def test_junit_counts_files_and_holds_only_what_xml_can() -> None:
    suites = ElementTree.fromstring(render_junit(REPORT, root=ROOT))
    (suite,) = suites
    assert (suites.get("tests"), suites.get("failures"), suite.get("errors")) == ("3", "1", "0")
    cases = {case.get("name"): case for case in suite}
    assert cases.keys() == {"db, migrations/0001 ü.sql", "db/0002.sql", "db/0003.sql"}
    failure = cases["db, migrations/0001 ü.sql"].find("failure")
    assert failure is not None
    assert failure.get("type") == "error"
    assert failure.text is not None
    assert failure.text.count("PL030") == 2
    assert "größe 🐘" in failure.text
    assert cases["db/0002.sql"].find("failure") is None, "a notice does not fail"
    assert cases["db/0002.sql"].findtext("system-out", "").startswith("db/0002.sql:3:7: notice PL030")
    assert len(cases["db/0003.sql"]) == 0


# As the runner reads a line (actions/runner, ActionCommand.cs): properties first, then the data.
COMMAND = re.compile(r"::(?P<kind>\w+) (?P<properties>.*?)::(?P<data>.*)")


def test_github_reads_each_annotation_back_as_it_was_meant() -> None:
    lines = render_github(REPORT, root=ROOT).split("\n")
    assert len(lines) == len(FINDINGS) + 1, "each finding is one line, however many it has"
    kinds = []
    for line, finding in zip(lines, FINDINGS, strict=False):
        found = COMMAND.fullmatch(line)
        assert found is not None
        kinds.append(found["kind"])
        properties = dict(part.split("=", 1) for part in found["properties"].split(","))
        assert {k: _unescape(v) for k, v in properties.items()} == {
            "file": finding.path.relative_to(ROOT).as_posix(),
            "line": str(finding.line),
            "col": "7",
            "title": f"{finding.rule}: {finding.title}",
        }
        assert _unescape(found["data"]).startswith(NASTY + "\nbecause")
    assert kinds == ["warning", "warning", "error", "notice"]
    assert lines[-1].endswith("failed")


def _unescape(text: str) -> str:
    for escape, character in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(escape, character)
    return text


def test_gitlab_gets_the_keys_of_code_quality_and_fingerprints_that_survive_a_moved_line() -> None:
    issues = json.loads(render_gitlab(REPORT, root=ROOT))
    for issue, finding in zip(issues, FINDINGS, strict=True):
        assert {"description", "check_name", "fingerprint", "severity", "location"} <= issue.keys()
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert issue["location"] == {
            "path": finding.path.relative_to(ROOT).as_posix(),
            "lines": {"begin": finding.line},
        }
    prints = [issue["fingerprint"] for issue in issues]
    assert len(set(prints)) == len(prints), "two findings of one rule with one text are two"
    moved = replace(REPORT, findings=tuple(replace(f, line=f.line + 40) for f in FINDINGS))
    assert [i["fingerprint"] for i in json.loads(render_gitlab(moved, root=ROOT))] == prints
    assert json.loads(render_gitlab(CLEAN, root=ROOT)) == []


def test_text_says_everything_and_the_verdict_last() -> None:
    text = render_text(REPORT, root=ROOT)
    assert "db, migrations/0001 ü.sql:3:7: warning PL030 100% of it" in text
    assert "    why: because\n    safe: alter table a;\n          alter table b;" in text
    assert text.splitlines()[-1] == (
        "examined 3 files for PostgreSQL 15 and newer (squawk 2.70.0): 1 error, 2 warnings, 1 notice, "
        "1 ignored with a reason: failed"
    )
    assert render_text(CLEAN).endswith("no findings, 1 ignored with a reason: passed")


@pytest.mark.parametrize("output", ["text", "json", "github", "gitlab", "sarif", "junit"])
def test_every_format_is_one_document_on_stdout_with_the_same_exit_code(output: str, cli: Cli, write: Write) -> None:
    write("0001_a", "create table a (id bigint primary key);\nalter table b drop column c;", "drop table a;")
    done = cli("migrate", "lint", "--format", output)
    assert (done.code, done.err) == (1, "")
    if output in ("json", "gitlab", "sarif"):
        assert json.loads(done.out)
    elif output == "junit":
        assert ElementTree.fromstring(done.out).get("failures") == "1"
    assert "ban-drop-column" in done.out
    assert "migrations/0001_a.sql" in done.out
