"""The report for Nagios, Icinga and their like: one line with performance data, exit codes of their own.

Source: the Monitoring Plugins' development guidelines.
"""

from __future__ import annotations

from pliers_db.health.check import Measure
from pliers_db.health.outcome import Outcome
from pliers_db.health.report import Report

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_UNITS = {"seconds": "s", "percent": "%", "bytes": "B", "count": ""}


def nagios_code(report: Report) -> int:
    """0 OK, 1 WARNING, 2 CRITICAL (also: unreachable), 3 UNKNOWN: no answer to a check and nothing worse."""
    counts = report.counts
    if report.error is not None or counts[Outcome.FAIL]:
        return CRITICAL
    if counts[Outcome.WARN]:
        return WARNING
    return UNKNOWN if counts[Outcome.UNKNOWN] else OK


def render_nagios(report: Report) -> str:
    """``PLIERS CRITICAL - invalid_index: … | 'connections'=3%;80;95``, one line."""
    bad = [r for r in report.results if r.outcome in (Outcome.FAIL, Outcome.WARN, Outcome.UNKNOWN)]
    order = (Outcome.FAIL, Outcome.WARN, Outcome.UNKNOWN)
    told = [f"{r.check.id}: {r.summary}" for r in sorted(bad, key=lambda r: order.index(r.outcome))]
    text = "; ".join([*told, f"examined {report.examined} of {len(report.results)} checks"])
    data = " ".join(_perfdata(m) for r in report.results for m in r.measures)
    return f"{nagios_line(nagios_code(report), text)}{' | ' + data if data else ''}"


def nagios_line(code: int, text: str) -> str:
    """The line without performance data, which a bar would begin."""
    return f"PLIERS {_NAMES[code]} - {' '.join(text.replace('|', '/').split())}"


def _perfdata(measure: Measure) -> str:
    def bound(value: float | None) -> str:
        # "90:" alerts below 90, "90" above
        return "" if value is None else f"{_plain(value)}{':' if measure.below else ''}"

    value = f"{_plain(measure.value)}{_UNITS[measure.unit]}"
    return f"'{measure.name}'={value};{bound(measure.warn)};{bound(measure.fail)}"


def _plain(value: float) -> str:
    """Digits only: not every reader knows 1e+06."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
