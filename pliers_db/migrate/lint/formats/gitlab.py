"""The report as GitLab's Code Quality artifact (a subset of CodeClimate's format)."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from pliers_db.migrate.lint.finding import Finding, LintReport, Severity
from pliers_db.migrate.lint.formats.text import relative

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.NOTICE: "minor"}


def render_gitlab(report: LintReport, *, root: Path | None = None) -> str:
    """A JSON array, for ``artifacts: reports: codequality``.

    :param root: the repository's root: paths are written from here.
    """
    seen: dict[str, int] = {}
    return json.dumps([_issue(finding, root, seen) for finding in report.findings], indent=2, ensure_ascii=False)


def _issue(finding: Finding, root: Path | None, seen: dict[str, int]) -> dict[str, object]:
    path = relative(finding.path, root)
    # Not the line: a finding that moves down is the same finding.
    known = f"{path}\0{finding.rule}\0{finding.message}"
    number = seen[known] = seen.get(known, 0) + 1
    safe = f"\n\n```sql\n{finding.safe}\n```" if finding.safe else ""
    return {
        "type": "issue",
        "check_name": finding.rule,
        "description": f"{finding.rule}: {finding.message}",
        "content": {"body": f"{finding.why}{safe}"},
        "categories": ["Bug Risk"],
        "severity": _SEVERITIES[finding.severity],
        "fingerprint": sha256(f"{known}\0{number}".encode()).hexdigest(),
        "location": {"path": path, "lines": {"begin": finding.line}},
    }
