"""The report for people: place, rule and danger; below it why, and the safe way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pliers_db.migrate.lint.finding import Finding, LintReport, Severity
from pliers_db.units import format_count

Paint = Callable[[str, str], str]
_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTICE: "blue"}


def _plain(text: str, colour: str) -> str:
    return text


def render_text(report: LintReport, paint: Paint = _plain, *, root: Path | None = None) -> str:
    """The report as lines; nothing is cut.

    :param paint: puts a text in a colour.
    :param root: paths are written from here.
    """
    lines = [line for finding in report.findings for line in render_finding(finding, paint, root=root)]
    return "\n".join([*lines, _verdict(report, paint)])


def render_finding(finding: Finding, paint: Paint = _plain, *, root: Path | None = None) -> Iterator[str]:
    """One finding as lines."""
    place = f"{relative(finding.path, root)}:{finding.line}:{finding.column}"
    severity = paint(finding.severity.value, _COLOURS[finding.severity])
    yield f"{place}: {severity} {paint(finding.rule, 'bold')} {finding.message}"
    if finding.why:
        yield f"    why: {finding.why}"
    for number, line in enumerate(finding.safe.splitlines()):
        yield f"    {'safe:' if not number else '     '} {line}".rstrip()


def relative(path: Path, root: Path | None) -> str:
    """A path as a repository's tools want it."""
    try:
        return path.resolve().relative_to((root or Path.cwd()).resolve()).as_posix()
    except ValueError:
        return path.as_posix()


def _verdict(report: LintReport, paint: Paint) -> str:
    counts = ", ".join(format_count(count, severity.value) for severity, count in report.counts.items() if count)
    ignored = f", {report.ignored} ignored with a reason" if report.ignored else ""
    looked = format_count(len(report.examined), "file")
    verdict = "passed" if report.passed else "failed"
    colour = "green" if report.passed else "red"
    return (
        f"examined {looked} for PostgreSQL {report.postgres} and newer (squawk {report.squawk}): "
        f"{counts or 'no findings'}{ignored}: {paint(verdict, colour)}"
    )
