"""Which backups stay: by count and by age. Pure: it decides, the repository removes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pliers_db.errors import BadSetting


@dataclass(frozen=True, slots=True)
class Retention:
    """A backup stays if any of the rules keeps it."""

    keep_last: int = 3
    """The newest so many, whatever their age."""
    keep_days: int = 14
    """Everything that is at most so many days older than the newest."""


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
    """Read ``keep_last`` and ``keep_days`` of ``[tool.pliers-db.backup]``.

    :param where: the settings file, for errors.
    :raises BadSetting: not a whole number, or rules that keep nothing.
    """
    found: dict[str, int] = {}
    for name in ("keep_last", "keep_days"):
        value = section.get(name, getattr(Retention(), name))
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BadSetting(
                f"backup.{name} is {value!r} ({where})",
                why="A whole number is expected, 0 or more.",
                fix=f"Write {name} = {getattr(Retention(), name)}.",
            )
        found[name] = value
    if not any(found.values()):
        raise BadSetting(
            f"backup.keep_last and backup.keep_days are both 0 ({where})",
            why="No backup would be kept.",
            fix="Write keep_last = 3.",
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
    proved = next((each for each in ranked if each.proved), None)
    return [
        Verdict(each.id, True, "the newest that is proved")
        if each is proved and rank > 0
        else _judge(rank, each, ranked[0], rules, protect)
        for rank, each in enumerate(ranked)
    ]


def _judge(rank: int, one: Candidate, newest: Candidate, rules: Retention, protect: Collection[str]) -> Verdict:
    if rank == 0:
        return Verdict(one.id, True, "the newest")
    if one.id in protect:
        return Verdict(one.id, True, "just made")
    if rank < rules.keep_last:
        return Verdict(one.id, True, f"one of the last {rules.keep_last}")
    age = newest.taken_at - one.taken_at
    if age <= timedelta(days=rules.keep_days):
        return Verdict(one.id, True, f"not older than {rules.keep_days} days")
    return Verdict(one.id, False, f"{age.days} days older than the newest, and not one of the last {rules.keep_last}")
