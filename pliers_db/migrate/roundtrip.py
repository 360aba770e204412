"""Whether migrations can be undone: the plan of a trial, and the judgement of what it saw. Pure.

A migration goes up, down and up again, and a snapshot of the catalog is taken after each step:

    S0 → up → S1 → down → S0' → up → S1'

S0 and S0' must be equal (the rollback undoes all of it, and no more), S1 and S1' too (it can be applied again).
With rows in the tables, what they hold is compared as well: see `pliers_db.migrate.losses`. `pliers_db.migrate.verify`
runs it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pliers_db.catalog import Change, Difference, Snapshot, diff
from pliers_db.migrate.files import Folder, MigrationFile, RollbackFile, read_rollback
from pliers_db.migrate.parser import is_empty

Roles = Mapping[str, Mapping[str, Any]]
"""The roles of a server: what each may do, by name."""


class Result(StrEnum):
    """What the trial of a migration has shown."""

    VERIFIED = "verified"
    """Down leaves what was there before, and up again makes the same."""
    FINDINGS = "findings"
    NO_WAY_BACK = "no way back"
    """It has no rollback file; it was applied, and that is all."""
    CANNOT_VERIFY = "cannot verify"
    """It cannot run on this server, or one before it cannot."""


class Moment(StrEnum):
    """When something showed."""

    APPLY = "apply"
    """Going up."""
    ROLLBACK = "rollback"
    """Comparing before with after going up and down."""
    AGAIN = "again"
    """Comparing after going up with after going up, down and up."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rollback leaves, loses or changes, or that cannot be run."""

    moment: Moment
    text: str
    difference: Difference | None = None
    """None if a file failed."""
    warning: bool = False
    """Whether it counts only as a remark: the order of columns, and roles, which belong to the whole server."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "moment": self.moment,
            "text": self.text,
            "difference": self.difference.as_dict() if self.difference else None,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about one migration."""

    id: str
    result: Result
    findings: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    reason: str = ""
    """Why it cannot be verified, or has no way back."""
    seconds: float = 0.0
    without_rows: str = ""
    """Why it was tried without rows only, where rows were asked for."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Which tables had rows while migrations were tried."""

    tables: int
    rows: int
    not_looked_at: Mapping[str, str]
    """The tables that could be given no rows, and the columns no values, and why: what happens to theirs is unknown."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What is known about the migrations that were asked for, in their order."""

    verdicts: tuple[Verdict, ...]
    server: str = ""
    """The version of the server on which they ran; empty if nothing was to be done."""
    seconds: float = 0.0
    rows: Rows | None = None
    """None if they were tried without rows."""

    def of(self, result: Result) -> tuple[Verdict, ...]:
        """The verdicts with one result."""
        return tuple(v for v in self.verdicts if v.result is result)

    def passed(self, *, strict: bool = False) -> bool:
        """Whether nothing was found, and nothing left open.

        :param strict: a migration without a rollback file does not pass, nor a table that could be given no rows.
        """
        failing = {Result.FINDINGS, Result.CANNOT_VERIFY} | ({Result.NO_WAY_BACK} if strict else set())
        passed_over = any(v.without_rows for v in self.verdicts) or bool(self.rows and self.rows.not_looked_at)
        return not any(v.result in failing for v in self.verdicts) and not (strict and passed_over)


@dataclass(frozen=True, slots=True)
class Trip:
    """One migration of a trial: only applied, or taken up, down and up."""

    file: MigrationFile
    asked: bool
    undo: RollbackFile | None = None

    @property
    def there_and_back(self) -> bool:
        """Whether it is to be rolled back, too."""
        return self.asked and self.undo is not None and not is_empty(self.undo.text)


def plan_trial(folder: Folder, asked: Collection[str]) -> tuple[Trip, ...]:
    """The migrations up to the last that is asked for; those before that nobody asked for are only applied.

    :param asked: ids.
    :raises InputError: a rollback file cannot be read.
    """
    last = max((n for n, m in enumerate(folder.migrations) if m.id in asked), default=-1)
    return tuple(
        Trip(m, m.id in asked, read_rollback(m) if m.id in asked else None) for m in folder.migrations[: last + 1]
    )


def judge(file: MigrationFile, moment: Moment, wanted: State, found: State) -> tuple[Finding, ...]:
    """Say how a state differs from what it should be.

    :param wanted: S0 for the moment of the rollback, S1 for up again.
    :param found: S0', or S1'.
    """
    differences = [*diff(wanted.catalog, found.catalog), *diff_roles(wanted.roles, found.roles)]
    return tuple(
        Finding(
            moment,
            _sentence(file, moment, each, _definition(each, wanted, found)),
            each,
            warning=each.change is Change.REORDERED or each.kind == "role",
        )
        for each in differences
    )


@dataclass(frozen=True, slots=True)
class State:
    """What a server has at one moment: the database's catalog, and the roles."""

    catalog: Snapshot
    roles: Roles


def verdict(trip: Trip, findings: Sequence[Finding]) -> Verdict:
    """Sum up what the trial of a migration has shown."""
    counted = tuple(f for f in findings if not f.warning)
    return Verdict(
        trip.file.id,
        Result.FINDINGS if counted else Result.VERIFIED,
        counted,
        tuple(f for f in findings if f.warning),
    )


def no_way_back(trip: Trip) -> Verdict:
    """The verdict on a migration that was only applied, because nothing undoes it.

    A rollback file without SQL is a finding: `down` refuses it, and stock yoyo would take the migration for undone.
    """
    if trip.undo is not None:
        text = f"{trip.undo.path.name} holds no SQL (`select 1;` if nothing is to be undone)"
        return Verdict(trip.file.id, Result.FINDINGS, (Finding(Moment.ROLLBACK, text),))
    return Verdict(trip.file.id, Result.NO_WAY_BACK, reason=f"there is no {trip.file.id}.rollback.sql")


def _sentence(file: MigrationFile, moment: Moment, difference: Difference, definition: str) -> str:
    what = f"{difference.kind} {difference.path}".rstrip()
    if moment is Moment.AGAIN:
        return f"after up, down and up: {difference}"
    match difference.change:
        case Change.ADDED:
            return f"the rollback leaves {what}{definition}"
        case Change.REMOVED:
            return f"the rollback loses {what}{definition}, which was there before {file.id}"
    return f"after the rollback: {difference}"


def _definition(difference: Difference, *states: State) -> str:
    """What the name alone does not tell: the text of a setting, of default privileges, of a cast."""
    for state in states:
        for entry in state.catalog.entries:
            if (entry.kind, entry.path) == (difference.kind, difference.path):
                return f" ({' '.join(entry.definition.split())})"
    return ""


def diff_roles(before: Roles, after: Roles) -> list[Difference]:
    """Say how the roles of a server differ."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            found.append(Difference(Change.REMOVED, "role", name))
        elif name not in before:
            found.append(Difference(Change.ADDED, "role", name))
        else:
            found += [
                Difference(Change.CHANGED, "role", name, key, old, after[name][key])
                for key, old in before[name].items()
                if old != after[name][key]
            ]
    return found
