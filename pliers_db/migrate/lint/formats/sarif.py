"""The report as SARIF 2.1.0 (OASIS), which GitHub's code scanning and most editors read."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from pliers_db import __version__
from pliers_db.migrate.lint.finding import Finding, LintReport, Severity
from pliers_db.migrate.lint.formats.text import relative
from pliers_db.migrate.lint.rules import RULES

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTICE: "note"}


def render_sarif(report: LintReport, *, root: Path | None = None) -> str:
    """One run, its rules those that were broken.

    :param root: the repository's root: paths are written from here.
    """
    broken = sorted({f.rule for f in report.findings})
    document = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "pliers-db migrate lint",
                        "version": __version__,
                        "rules": [_rule(rule, report) for rule in broken],
                    },
                    "extensions": [{"name": "squawk", "version": report.squawk}],
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(f, broken.index(f.rule), root) for f in report.findings],
            }
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _rule(name: str, report: LintReport) -> dict[str, object]:
    first = next(f for f in report.findings if f.rule == name)
    described: dict[str, object] = {
        "id": name,
        "shortDescription": {"text": first.title},
        "fullDescription": {"text": first.why or first.title},
        "defaultConfiguration": {"level": _LEVELS[first.severity]},
    }
    if first.docs.startswith("http"):
        described["helpUri"] = first.docs
    known = RULES.get(name)
    described["properties"] = {"tags": ["pliers-db" if known and known.ours else "squawk"]}
    return described


def _result(finding: Finding, index: int, root: Path | None) -> dict[str, object]:
    safe = f"\n\nThe safe way:\n{finding.safe}" if finding.safe else ""
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message}\n{finding.why}{safe}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(relative(finding.path, root))},
                    "region": {"startLine": finding.line, "startColumn": finding.column},
                }
            }
        ],
    }
