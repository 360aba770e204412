"""The report for GitHub Actions: annotations on stdout, a table for the step's summary."""

from __future__ import annotations

from collections.abc import Collection

from pliers_db.annotations import github_data, github_property
from pliers_db.health.outcome import Outcome
from pliers_db.health.report import Report, Result

_ICONS = {
    Outcome.OK: "✅",
    Outcome.WARN: "⚠️",
    Outcome.FAIL: "❌",
    Outcome.SKIPPED: "⏭️",
    Outcome.UNKNOWN: "❓",
}


def render_github(report: Report, fail_on: Collection[Outcome] = ()) -> str:
    """A workflow command for each check that is not well, the verdict last.

    GitHub shows about ten annotations of a kind in a step; the summary has all.

    :param fail_on: what is an error beside ``fail``.
    """
    failing = {Outcome.FAIL, *fail_on}
    lines = [_command(result, failing) for result in report.results if result.outcome not in _QUIET]
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count)
    total = f"examined {report.examined} of {len(report.results)} checks ({counts}): {report.verdict.value}"
    return "\n".join([*lines, total])


_QUIET = (Outcome.OK, Outcome.SKIPPED)


def _command(result: Result, failing: Collection[Outcome]) -> str:
    kind = "error" if result.outcome in failing else "warning" if result.outcome is Outcome.WARN else "notice"
    text = result.summary + (f"\nfix: {result.fix}" if result.fix else "")
    return f"::{kind} title={github_property(f'health: {result.check.id}')}::{github_data(text)}"


def render_markdown(report: Report) -> str:
    """The report as Markdown, for ``$GITHUB_STEP_SUMMARY``."""
    lines = [
        f"### Database health: {report.verdict.value}",
        "",
        f"`{report.target}` ({report.environment}), examined {report.examined} of {len(report.results)} checks.",
        "",
        "| | check | result | fix |",
        "|---|---|---|---|",
    ]
    order = (Outcome.FAIL, Outcome.WARN, Outcome.UNKNOWN, Outcome.SKIPPED, Outcome.OK)
    for result in sorted(report.results, key=lambda r: order.index(r.outcome)):
        fix = f"`{_cell(result.fix)}`" if result.fix else ""
        icon = f"{_ICONS[result.outcome]} {result.outcome}"
        lines.append(f"| {icon} | {result.check.id} | {_cell(result.summary)} | {fix} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A text that cannot end its cell, its line or begin a tag."""
    return " ".join(text.replace("|", "\\|").replace("`", "'").replace("<", "&lt;").split())
