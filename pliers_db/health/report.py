"""The report: every check with how it ended, and what the whole comes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pliers_db.errors import PliersError
from pliers_db.health.check import Check, Finding, Measure
from pliers_db.health.outcome import Level, Outcome, Verdict
from pliers_db.health.situation import ServerFacts

SCHEMA = "pliers.health/1"
UNREACHABLE_EXIT = 3


@dataclass(frozen=True, slots=True)
class Excused:
    """A finding that does not count, and why."""

    finding: Finding
    reason: str


@dataclass(frozen=True, slots=True)
class Result:
    """How one check ended."""

    check: Check
    outcome: Outcome
    summary: str
    """One line: what holds, what is wrong, or why it was not looked at."""
    findings: tuple[Finding, ...] = ()
    measures: tuple[Measure, ...] = ()
    examined: int | None = None
    seconds: float = 0.0
    hint: str = ""
    """What an unknown check needs."""
    excused: tuple[Excused, ...] = ()

    @property
    def fix(self) -> str:
        """What to type first; empty if there is nothing to mend."""
        if self.outcome in (Outcome.WARN, Outcome.FAIL):
            return next((f.fix for f in self.findings if f.fix), self.check.fix)
        return self.hint

    def finding_id(self, finding: Finding) -> str:
        """The name of a finding that stays the same from run to run."""
        return f"{self.check.id}:{finding.about}"

    def as_dict(self) -> dict[str, Any]:
        """The result in the report's JSON."""
        return {
            "id": self.check.id,
            "title": self.check.title,
            "group": self.check.group,
            "outcome": self.outcome.value,
            "summary": self.summary,
            "fix": self.fix,
            "examined": self.examined,
            "findings": [self._finding(f) for f in self.findings],
            "excused": [{**self._finding(e.finding), "reason": e.reason} for e in self.excused],
            "measures": [
                {"name": m.name, "value": m.value, "unit": m.unit, "warn": m.warn, "fail": m.fail}
                for m in self.measures
            ],
            "needs": self.check.needs.value,
            "seconds": round(self.seconds, 4),
            "docs": self.check.docs,
        }

    def _finding(self, finding: Finding) -> dict[str, Any]:
        return {
            "id": self.finding_id(finding),
            "level": finding.level.value,
            "about": finding.about,
            "message": finding.message,
            "fix": finding.fix or self.check.fix,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What a health run has found."""

    results: tuple[Result, ...]
    environment: str
    target: str
    server: ServerFacts | None
    error: PliersError | None
    """Why the server could not be reached or used to the end."""
    started_at: datetime
    seconds: float

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many checks ended in which way."""
        return {outcome: sum(r.outcome is outcome for r in self.results) for outcome in Outcome}

    @property
    def examined(self) -> int:
        """How many checks have an answer."""
        return sum(r.outcome.examined for r in self.results)

    @property
    def findings(self) -> tuple[tuple[str, Level], ...]:
        """Every finding that is more than a note, excused or not: its id and level."""
        return tuple(
            (result.finding_id(finding), finding.level)
            for result in self.results
            for finding in (*result.findings, *(e.finding for e in result.excused))
            if finding.level is not Level.INFO
        )

    @property
    def verdict(self) -> Verdict:
        """What the whole comes to."""
        if self.error is not None:
            return Verdict.UNREACHABLE
        counts = self.counts
        if counts[Outcome.FAIL]:
            return Verdict.UNHEALTHY
        return Verdict.WARNINGS if counts[Outcome.WARN] else Verdict.HEALTHY

    def exit_code(self, fail_on: Collection[Outcome] = ()) -> int:
        """0 well, 1 not, 3 the server cannot be reached or used. :param fail_on: what counts beside ``fail``."""
        if self.error is not None:
            return UNREACHABLE_EXIT
        counts = self.counts
        return int(any(counts[outcome] for outcome in {Outcome.FAIL, *fail_on}))

    def as_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it. Keys are added to a schema's version, never changed or removed."""
        server = self.server
        return {
            "schema": SCHEMA,
            "verdict": self.verdict.name.lower(),
            "environment": self.environment,
            "target": self.target,
            "server": server
            and {
                "version": server.version,
                "version_num": server.version_num,
                "standby": server.standby,
                "database": server.database,
                "role": server.role,
                "superuser": server.superuser,
                "pg_monitor": server.monitor,
                "pooler": server.pooled,
            },
            "error": self.error and self.error.as_dict(),
            "started_at": self.started_at.isoformat(timespec="milliseconds"),
            "seconds": round(self.seconds, 4),
            "examined": self.examined,
            "total": len(self.results),
            "counts": {outcome.value: count for outcome, count in self.counts.items()},
            "checks": [r.as_dict() for r in self.results],
        }
