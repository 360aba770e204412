"""Which backups stay: by count, by age, and by day, week, month and year. Pure: it decides, the repository removes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from pliers_db.errors import BadSetting


@dataclass(frozen=True, slots=True)
class Retention:
    """A backup stays if any of the rules keeps it; 0 switches a rule off.

    The last four are grandfather, father and son: of each of the last so many days, weeks, months or years that have
    backups the newest one stays. Days and weeks (from Monday) are those of UTC.
    """

    keep_last: int = 3
    """The newest so many, whatever their age."""
    keep_days: int = 14
    """Everything that is at most so many days older than the newest."""
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0


_PERIODS: Mapping[str, Callable[[datetime], tuple[int, ...]]] = {
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar()[:2]),
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}
_NOUNS = {"daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A good backup, as retention sees it."""

    id: str
    taken_at: datetime
    proved: bool = False
    """Whether it was restored once and nothing differed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one backup stays, and why."""

    id: str
    keep: bool
    reason: str


def retention_of(section: Mapping[str, Any], where: str) -> Retention:
    """Read the rules of ``[tool.pliers-db.backup]``.

    :param where: the settings file, for errors.
    :raises BadSetting: not a whole number, or rules that keep nothing.
    """
    found: dict[str, int] = {}
    for rule in fields(Retention):
        value = section.get(rule.name, rule.default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BadSetting(
                f"backup.{rule.name} is {value!r} ({where})",
                why="A whole number is expected, 0 or more.",
                fix=f"Write {rule.name} = {rule.default}.",
            )
        found[rule.name] = value
    if not any(found.values()):
        raise BadSetting(
            f"Every rule of retention is 0 ({where})", why="No backup would be kept.", fix="Write keep_last = 3."
        )
    return Retention(**found)


def decide(good: Sequence[Candidate], rules: Retention, protect: Collection[str] = ()) -> list[Verdict]:
    """Judge the good backups of one database.

    Age counts from the newest good backup, not from the clock: while new backups fail, or after a clock that jumped,
    nothing old is lost. The newest good one always stays, and so does the newest proved one.

    :param protect: ids that stay whatever the rules say (the one just made).
    :returns: a verdict for each, newest first.
    """
    ranked = sorted(good, key=lambda each: (each.taken_at, each.id), reverse=True)
    reasons = _reasons(ranked, rules, protect)
    return [Verdict(each.id, each.id in reasons, reasons.get(each.id, "no rule keeps it")) for each in ranked]


def _reasons(ranked: Sequence[Candidate], rules: Retention, protect: Collection[str]) -> dict[str, str]:
    """Why each backup that stays does; the first reason counts."""
    found: dict[str, str] = {}
    for rank, one in enumerate(ranked):
        if rank == 0:
            found[one.id] = "the newest"
        elif one.id in protect:
            found[one.id] = "just made"
        elif rank < rules.keep_last:
            found[one.id] = f"one of the last {rules.keep_last}"
        elif ranked[0].taken_at - one.taken_at <= timedelta(days=rules.keep_days):
            found[one.id] = f"not older than {rules.keep_days} days"
    for name, period in _PERIODS.items():
        newest: dict[tuple[int, ...], Candidate] = {}
        for one in ranked:
            newest.setdefault(period(one.taken_at.astimezone(UTC)), one)
        for one in list(newest.values())[: getattr(rules, f"keep_{name}")]:
            found.setdefault(one.id, f"the newest of its {_NOUNS[name]}")
    proved = next((one for one in ranked if one.proved), None)
    if proved is not None:
        found.setdefault(proved.id, "the newest that is proved")
    return found
