"""The report as annotations of GitHub Actions, each at its line of the pull request."""

from __future__ import annotations

from pathlib import Path

from pliers_db.annotations import github_data, github_property
from pliers_db.migrate.lint.finding import Finding, LintReport
from pliers_db.migrate.lint.formats.text import relative, render_text


def render_github(report: LintReport, *, root: Path | None = None) -> str:
    """A workflow command for each finding, the verdict last. GitHub shows ten of a kind in a step.

    :param root: the repository's root: paths are written from here.
    """
    last = render_text(report, root=root).splitlines()[-1]
    return "\n".join([*(_command(finding, root) for finding in report.findings), last])


def _command(finding: Finding, root: Path | None) -> str:
    text = f"{finding.message}\n{finding.why}" + (f"\nsafe:\n{finding.safe}" if finding.safe else "")
    properties = {
        "file": relative(finding.path, root),
        "line": str(finding.line),
        "col": str(finding.column),
        "title": f"{finding.rule}: {finding.title}",
    }
    listed = ",".join(f"{name}={github_property(value)}" for name, value in properties.items())
    return f"::{finding.severity} {listed}::{github_data(text)}"
