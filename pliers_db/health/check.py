"""What a check is: a question to the database, and how its answer is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level

if TYPE_CHECKING:
    from pliers_db.health.situation import Situation

Row = Mapping[str, Any]
Rows = Sequence[Row]


class Privilege(StrEnum):
    """What a role needs to see what a check looks at."""

    ANY = "any role"
    MONITOR = "pg_monitor"
    """pg_read_all_stats, really; pg_monitor is what people grant."""
    HBA = "superuser, or execute on pg_hba_file_rules()"
    LOCAL = "no database"


def suspects(rows: Rows) -> list[Row]:
    """Those of a query's rows that it calls suspect."""
    return [row for row in rows if row["suspect"]]


def examined(rows: Rows) -> int:
    """How many things a query has looked at, which it says in every row."""
    return int(rows[0]["examined"]) if rows else 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    level: Level
    about: str
    """What it is about: an index, a session, a setting. With the check's id it names the finding for good."""
    message: str
    fix: str = ""
    """What to type; default: the check's."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that a check has seen, for machines."""

    name: str
    value: float
    unit: str
    warn: float | None = None
    fail: float | None = None
    below: bool = False
    """Whether less is worse."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a check has to say."""

    summary: str
    """One line that holds when there is nothing worse to say."""
    findings: Sequence[Finding] = ()
    measures: Sequence[Measure] = ()
    examined: int | None = None
    """How many things were looked at, where that can be counted."""


class Skip(Exception):
    """Raised by a check that has nothing to look at; its text is the reason."""


Judge = Callable[[Any, "Situation"], Judgement]
Probe = Callable[["Situation"], Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: where its facts come from (``sql`` or ``probe``) and the function that judges them."""

    id: str
    title: str
    """What holds when it is ok."""
    group: str
    judge: Judge
    worst: Level
    needs: Privilege
    fix: str
    """What to do in general; a finding may know better."""
    sql: str = ""
    """``file.name`` of a query in ``sql/``."""
    probe: Probe | None = None
    """Instead of SQL: a function that finds the facts by itself."""
    limits: Mapping[str, Limit] = field(default_factory=dict)

    @property
    def docs(self) -> str:
        """The section of the documentation."""
        return f"docs/health.md#{self.id}"

    @property
    def facts(self) -> str:
        """Its worst outcome, the privilege it needs and its limits, as the documentation states them."""
        limits = "; ".join(f"`{name}`: {limit}" for name, limit in self.limits.items())
        return f"Worst: {self.worst}. Needs: {self.needs}." + (f" {limits}." if limits else "")

    @property
    def needs_database(self) -> bool:
        """Whether it can only run with a connection."""
        return self.needs is not Privilege.LOCAL


def check(
    id: str,
    title: str,
    *,
    group: str,
    worst: Level,
    fix: str,
    needs: Privilege = Privilege.ANY,
    sql: str = "",
    probe: Probe | None = None,
    limits: Mapping[str, Limit] | None = None,
) -> Callable[[Judge], Check]:
    """Make a `Check` of the function that judges."""

    def made(judge: Judge) -> Check:
        return Check(id, title, group, judge, worst, needs, fix, sql, probe, limits or {})

    return made
