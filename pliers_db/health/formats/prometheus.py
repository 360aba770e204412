"""The report as Prometheus' text exposition, for the node exporter's textfile collector or our own endpoint."""

from __future__ import annotations

from collections.abc import Iterator

from pliers_db.health.outcome import Outcome
from pliers_db.health.report import Report

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATUS = {Outcome.OK: 0, Outcome.WARN: 1, Outcome.FAIL: 2, Outcome.UNKNOWN: 3}
# Base units, as Prometheus wants them.
_UNITS = {"seconds": ("seconds", 1.0), "bytes": ("bytes", 1.0), "percent": ("ratio", 0.01), "count": ("", 1.0)}


def render_prometheus(report: Report) -> str:
    """Gauges: whether the server answers, the status of each check, what the checks measured.

    No table's or session's name becomes a label: those would never end.
    """
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield from family("up", "Whether the database answers.", [("", 0 if report.error else 1)])
    yield from family(
        "check_status",
        "How a check ended: 0 ok, 1 warn, 2 fail, 3 unknown. A skipped check is absent.",
        [(f'{{check="{r.check.id}"}}', _STATUS[r.outcome]) for r in report.results if r.outcome in _STATUS],
    )
    yield from family(
        "checks",
        "How many checks ended in each way.",
        [(f'{{outcome="{outcome}"}}', count) for outcome, count in report.counts.items()],
    )
    for result in report.results:
        for measure in result.measures:
            suffix, factor = _UNITS[measure.unit]
            name = measure.name if not suffix or measure.name.endswith(suffix) else f"{measure.name}_{suffix}"
            yield from family(name, f"{result.check.title}.", [("", measure.value * factor)])
    yield from family("report_duration_seconds", "How long the report took.", [("", report.seconds)])
    yield from family("report_timestamp_seconds", "When the report was made.", [("", report.started_at.timestamp())])


def family(name: str, about: str, samples: list[tuple[str, float]], *, kind: str = "gauge") -> Iterator[str]:
    """The lines of one metric: its samples by their labels."""
    if not samples:
        return
    full = f"pliers_db_{name}"
    yield f"# HELP {full} {about}"
    yield f"# TYPE {full} {kind}"
    for labels, value in samples:
        yield f"{full}{labels} {float(value):.15g}"
