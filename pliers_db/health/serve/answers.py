"""What each path answers. No HTTP in here: the server and the two mounts send it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pliers_db import __version__
from pliers_db.db import Database
from pliers_db.health.formats.prometheus import CONTENT_TYPE as PROMETHEUS
from pliers_db.health.formats.prometheus import family, render_prometheus
from pliers_db.health.outcome import Outcome
from pliers_db.health.report import Report
from pliers_db.health.serve.probe import Probe, Reading
from pliers_db.health.serve.reports import Reports

HEALTH_JSON = "application/health+json"
_STATUS = {Outcome.OK: "pass", Outcome.WARN: "warn", Outcome.UNKNOWN: "warn", Outcome.FAIL: "fail"}
_UNITS = {"seconds": "s", "bytes": "bytes", "percent": "percent", "count": "count"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A response without its transport."""

    status: int
    content_type: str
    body: bytes


def _json(status: int, document: object) -> Answer:
    return Answer(status, HEALTH_JSON, json.dumps(document, ensure_ascii=False).encode())


LIVE = _json(200, {"status": "pass"})
NOT_FOUND = _json(404, {"error": "The paths are /health/live, /health/ready, /health/db and /metrics."})
NOT_ALLOWED = _json(405, {"error": "GET and HEAD only."})


class Answers:
    """Answers for the paths below a mount, and for the whole paths of a server of our own."""

    def __init__(self, database: Database, probe: Probe, reports: Reports) -> None:
        self.database = database
        self.probe = probe
        self.reports = reports
        self._ready: tuple[Reading, Answer] | None = None

    def at_once(self, path: str) -> Answer | None:
        """The answer, where it needs no waiting; else None: then ask `wait` where waiting hurts nobody."""
        name = endpoint_of(path)
        if name is None:
            return NOT_FOUND
        if name == "live":  # never asks the database: its trouble must not restart the application
            return LIVE
        reading = self.probe.remembered()
        return None if reading is None else self._answer(name, reading)

    def wait(self, path: str) -> Answer:
        """The answer, after the probe's timeout at most."""
        return self.at_once(path) or self._answer(endpoint_of(path) or "ready", self.probe.look())

    def _answer(self, name: str, reading: Reading) -> Answer:
        if name == "ready":
            known = self._ready
            if known is None or known[0] is not reading:
                known = self._ready = (reading, _ready(reading))
            return known[1]
        report = self.reports.latest()
        return _db(reading, report, self.database) if name == "db" else _metrics(reading, report, self.database)


def endpoint_of(path: str) -> str | None:
    """``live``, ``ready``, ``db`` or ``metrics``: below ``/health``, or below where it is mounted."""
    trimmed = path.partition("?")[0].rstrip("/").removeprefix("/health")
    return trimmed[1:] if trimmed in ("/live", "/ready", "/db", "/metrics") else None


def _ready(reading: Reading) -> Answer:
    return LIVE if reading.ready else not_ready(reading.reason)


def not_ready(reason: str) -> Answer:
    """503, and why."""
    return _json(503, {"status": "fail", "output": reason})


def _db(reading: Reading, report: Report | None, database: Database) -> Answer:
    """health+json (draft-inadarei-api-health-check-06).

    The whole is ``fail`` (and 503) only if the database cannot be used: an invalid index must not take the
    application out of service. Each check below has its own status.
    """
    checks: dict[str, list[dict[str, Any]]] = {"database:responseTime": [_observed_probe(reading)]}
    stats = database.stats()
    checks["pool:connections"] = [
        {
            "componentType": "system",
            "observedValue": stats.lent,
            "observedUnit": f"lent of {stats.max_size}",
            "status": "warn" if stats.waiting else "pass",
            "time": _time(reading.when),
        }
    ]
    worst = "pass"
    if report is not None:
        checks |= dict(_checks(report))
        worst = "warn" if report.error or report.counts[Outcome.FAIL] or report.counts[Outcome.WARN] else "pass"
    document = {
        "status": worst if reading.ready else "fail",
        "version": "1",
        "releaseId": __version__,
        "description": "a standby" if reading.standby else "database",
        "checks": checks,
    }
    if not reading.ready:
        document["output"] = reading.reason
    return _json(200 if reading.ready else 503, document)


def _observed_probe(reading: Reading) -> dict[str, Any]:
    observed: dict[str, Any] = {
        "componentType": "datastore",
        "observedValue": round(reading.seconds * 1000, 3),
        "observedUnit": "ms",
        "status": "pass" if reading.ready else "fail",
        "time": _time(reading.when),
    }
    return observed if reading.ready else {**observed, "output": reading.reason}


def _checks(report: Report) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for result in report.results:
        if result.outcome is Outcome.SKIPPED:
            continue
        observed: dict[str, Any] = {"componentType": "datastore", "status": _STATUS[result.outcome]}
        if result.measures:
            measure = result.measures[0]
            observed |= {"observedValue": measure.value, "observedUnit": _UNITS[measure.unit]}
        if result.outcome is not Outcome.OK:
            observed["output"] = result.summary
        yield f"health:{result.check.id}", [{**observed, "time": _time(report.started_at)}]


def _metrics(reading: Reading, report: Report | None, database: Database) -> Answer:
    stats = database.stats()
    lines = [
        *family("probe_up", "Whether the database answers through the pool.", [("", int(reading.ready))]),
        *family("probe_seconds", "How long the last answer took.", [("", reading.seconds)]),
        *family("pool_max_connections", "The most connections that the pool may have.", [("", stats.max_size)]),
        *family(
            "pool_connections",
            "Connections of the pool, by what they do.",
            [('{state="idle"}', stats.idle), ('{state="lent"}', stats.lent)],
        ),
        *family("pool_waiting", "Borrowers that wait for a connection.", [("", stats.waiting)]),
        *family("pool_borrowed_total", "Connections lent so far.", [("", stats.borrowed)], kind="counter"),
        *family("pool_refused_total", "Borrowers that got none.", [("", stats.refused)], kind="counter"),
        *family(
            "pool_connect_failures_total",
            "Connections that could not be opened.",
            [("", stats.connect_failures)],
            kind="counter",
        ),
    ]
    text = "".join(f"{line}\n" for line in lines) + (render_prometheus(report) if report else "")
    return Answer(200, PROMETHEUS, text.encode())


def _time(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
