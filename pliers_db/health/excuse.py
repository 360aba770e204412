"""Findings that somebody has accepted: for a reason and until a day, or because they were there before.

An excused finding stays in the report; it no longer decides how its check ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pliers_db.errors import BadSetting
from pliers_db.health.outcome import Level

BASELINE_SCHEMA = "pliers.health-baseline/1"
_EXAMPLE = 'finding = "fk_index:public.notes.*", reason = "filled once a year", until = 2027-06-30'


@dataclass(frozen=True, slots=True)
class Ignore:
    """An entry of ``[[tool.pliers-db.health.ignore]]``."""

    finding: str
    """A finding's id, or a pattern with ``*``."""
    reason: str
    until: date
    """The last day on which it holds."""


@dataclass(frozen=True, slots=True)
class Excuses:
    """Everything that is accepted in a run."""

    ignores: tuple[Ignore, ...]
    today: date
    baseline: Mapping[str, Level] | None = None
    """The findings that were there before, with the level they had; None: all findings count."""

    def why(self, finding_id: str, level: Level) -> str:
        """Why a finding does not count; empty if it does."""
        for ignore in self.ignores:
            if self.today <= ignore.until and fnmatchcase(finding_id, ignore.finding):
                return f"{ignore.reason} (until {ignore.until})"
        known = (self.baseline or {}).get(finding_id)
        if known is not None and _RANK[level] <= _RANK[known]:
            return "in the baseline"
        return ""

    def lapsed(self, finding_id: str) -> Ignore | None:
        """The entry that excused a finding until a day that is past."""
        return next((i for i in self.ignores if self.today > i.until and fnmatchcase(finding_id, i.finding)), None)


_RANK = {Level.INFO: 0, Level.WARN: 1, Level.FAIL: 2}


def read_ignores(entries: Any, where: str) -> tuple[Ignore, ...]:
    """The entries of the list ``ignore``.

    :raises BadSetting: one has no reason or no end, or cannot be read.
    """
    if not isinstance(entries, list):
        raise BadSetting(f"ignore in {where} is not a list", fix=f"ignore = [{{ {_EXAMPLE} }}]")
    return tuple(_ignore(entry, where) for entry in entries)


def _ignore(entry: Any, where: str) -> Ignore:
    keys = {"finding", "reason", "until"}
    if not isinstance(entry, Mapping) or entry.keys() != keys:
        raise BadSetting(
            f"An entry of ignore in {where} is not whole",
            why="It needs the finding's id (or a pattern), a reason, and the day until which it holds.",
            fix=f"{{ {_EXAMPLE} }}",
        )
    until = entry["until"]
    if isinstance(until, datetime) or not isinstance(until, date):
        raise BadSetting(
            f"until of {entry['finding']} in {where} is {until!r}", why="A date is expected.", fix="until = 2027-06-30"
        )
    if not all(isinstance(entry[key], str) and entry[key].strip() for key in ("finding", "reason")):
        raise BadSetting(f"An entry of ignore in {where} has no finding or no reason", fix=f"{{ {_EXAMPLE} }}")
    return Ignore(entry["finding"], entry["reason"], until)


def read_baseline(file: Path) -> Mapping[str, Level]:
    """The findings of a baseline by their ids.

    :raises BadSetting: there is none, or it cannot be read.
    """
    fix = "pliers-db health --save-baseline"
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        if body["schema"] != BASELINE_SCHEMA:
            raise ValueError(f"its schema is {body['schema']}")
        return {str(key): Level(level) for key, level in body["findings"].items()}
    except FileNotFoundError:
        raise BadSetting(f"There is no baseline {file}", fix=fix) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSetting(f"{file} is not a baseline", why=str(error), fix=fix) from None


def write_baseline(file: Path, findings: Sequence[tuple[str, Level]]) -> None:
    """Write the findings of a run, sorted, so that a change shows as lines in a diff."""
    body = {"schema": BASELINE_SCHEMA, "findings": {key: level.value for key, level in sorted(findings)}}
    file.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
