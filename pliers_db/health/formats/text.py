"""The report for people: one line a check, what mends it below, the verdict last."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pliers_db.health.outcome import Level, Outcome, Verdict
from pliers_db.health.report import Report, Result
from pliers_db.units import format_count, format_duration

Paint = Callable[[str, str], str]
_COLOURS = {
    Outcome.OK: "green",
    Outcome.WARN: "yellow",
    Outcome.FAIL: "red",
    Outcome.SKIPPED: "dim",
    Outcome.UNKNOWN: "blue",
}
_VERDICTS = {
    Verdict.HEALTHY: "green",
    Verdict.WARNINGS: "yellow",
    Verdict.UNHEALTHY: "red",
    Verdict.UNREACHABLE: "red",
}
_SHOWN = 9  # further findings of one check before "and N more"


def _plain(text: str, colour: str) -> str:
    return text


def render_text(report: Report, paint: Paint = _plain, *, verbose: bool = False) -> str:
    """The report as lines; nothing is cut.

    :param paint: puts a text in a colour (red, green, yellow, blue, dim, bold).
    :param verbose: every finding, and the notes too.
    """
    return "\n".join(_lines(report, paint, verbose))


def _lines(report: Report, paint: Paint, verbose: bool) -> Iterator[str]:
    server = report.server
    head = f"{report.target} ({report.environment})"
    if server:
        role = "standby" if server.standby else "primary"
        head += f", PostgreSQL {server.version} {role}, as {server.role}"
    yield paint(head, "bold")
    width = max((len(r.check.id) for r in report.results), default=0)
    for result in _seen(report):
        mark = paint(f"{result.outcome.value:<7}", _COLOURS[result.outcome])
        yield f"{mark}  {result.check.id:<{width}}  {result.summary}{'' if verbose else paint(_hidden(result), 'dim')}"
        for line in _below(result, verbose):
            yield " " * (width + 11) + line
    for reason, ids in _unseen(report).items():
        yield f"{paint(f'{Outcome.SKIPPED.value:<7}', _COLOURS[Outcome.SKIPPED])}  {reason}: {', '.join(ids)}"
    yield _last_line(report, paint)


def _seen(report: Report) -> Iterator[Result]:
    return (r for r in report.results if r.outcome is not Outcome.SKIPPED)


def _unseen(report: Report) -> dict[str, list[str]]:
    """The skipped checks by their reason, which many may share."""
    reasons: dict[str, list[str]] = {}
    for result in report.results:
        if result.outcome is Outcome.SKIPPED:
            reasons.setdefault(result.summary, []).append(result.check.id)
    return reasons


def _hidden(result: Result) -> str:
    """What only --verbose shows."""
    notes = sum(f.level is Level.INFO for f in result.findings)
    counts = [format_count(notes, "note")] * bool(notes) + [f"{len(result.excused)} ignored"] * bool(result.excused)
    return f" ({', '.join(counts)}: --verbose)" if counts else ""


def _below(result: Result, verbose: bool) -> Iterator[str]:
    """What stands below a check's line: what to type, and the other findings."""
    others = [f for f in result.findings if f.level is not Level.INFO]
    if result.fix:
        yield f"fix: {result.fix}"
    if result.outcome in (Outcome.WARN, Outcome.FAIL):
        others = others[1:]
    shown = others if verbose else others[:_SHOWN]
    for finding in shown:
        yield f"also: {finding.message}"
        if finding.fix and finding.fix != result.fix:
            yield f"fix: {finding.fix}"
    if len(others) > len(shown):
        yield f"and {format_count(len(others) - len(shown), 'more finding')}: --verbose"
    if verbose:
        for finding in result.findings:
            if finding.level is Level.INFO:
                yield f"note: {finding.message}"
                if finding.fix:
                    yield f"could: {finding.fix}"
        for excused in result.excused:
            yield f"ignored: {excused.finding.message}; {excused.reason}"


def _last_line(report: Report, paint: Paint) -> str:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count)
    verdict = report.verdict.value
    if report.verdict is Verdict.HEALTHY and report.counts[Outcome.UNKNOWN]:
        verdict += " as far as it could be seen"
    return (
        f"examined {report.examined} of {format_count(len(report.results), 'check')} in "
        f"{format_duration(report.seconds)} ({counts}): {paint(verdict, _VERDICTS[report.verdict])}"
    )
