"""What is to be done: folder and history in, plan out. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum

from pliers_db.errors import NoRollback, UnknownMigration
from pliers_db.migrate.files import Folder, MigrationFile, sort_key
from pliers_db.migrate.history import History


class State(StrEnum):
    """How a migration stands."""

    APPLIED = "applied"
    PENDING = "pending"
    MISSING = "missing"
    """Applied, but its file is gone."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of `status`."""

    id: str
    state: State
    applied_at: datetime | None = None
    file: MigrationFile | None = None

    @property
    def reversible(self) -> bool:
        """Whether there is a rollback file."""
        return self.file is not None and self.file.rollback_path is not None


@dataclass(frozen=True, slots=True)
class Status:
    """Every migration of the folder and of the database, in order."""

    entries: tuple[Entry, ...]

    def of(self, state: State) -> tuple[Entry, ...]:
        """The entries in one state."""
        return tuple(e for e in self.entries if e.state is state)

    @property
    def pending(self) -> tuple[MigrationFile, ...]:
        """The files to apply, in order."""
        return tuple(e.file for e in self.entries if e.state is State.PENDING and e.file)

    @property
    def out_of_order(self) -> tuple[MigrationFile, ...]:
        """Pending files that stand before an applied one."""
        last = max((n for n, e in enumerate(self.entries) if e.state is not State.PENDING), default=-1)
        return tuple(e.file for e in self.entries[: last + 1] if e.state is State.PENDING and e.file)


def compare(folder: Folder, history: History) -> Status:
    """Lay the folder beside the history."""
    applied = {a.id: a for a in history.applied}
    entries = [
        Entry(m.id, State.APPLIED, applied[m.id].at, m) if m.id in applied else Entry(m.id, State.PENDING, file=m)
        for m in folder.migrations
    ]
    known = {m.id for m in folder.migrations}
    gone = sorted((a for a in history.applied if a.id not in known), key=lambda a: sort_key(a.id))
    for missing in gone:  # in among the others, where its number puts it
        place = next(
            (n for n, e in enumerate(entries) if sort_key(e.id) > sort_key(missing.id)),
            len(entries),
        )
        entries.insert(place, Entry(missing.id, State.MISSING, missing.at))
    return Status(tuple(entries))


def plan_up(status: Status, to: str | None = None) -> tuple[MigrationFile, ...]:
    """The migrations that `up` applies, in order.

    :param to: the last one, included.
    :raises UnknownMigration: no file has that id.
    """
    if to is None:
        return status.pending
    ids = [e.id for e in status.entries if e.file]
    last = find_id(to, ids)
    wanted = set(ids[: ids.index(last) + 1])
    return tuple(m for m in status.pending if m.id in wanted)


def plan_down(status: Status, *, steps: int = 1, to: str | None = None) -> tuple[MigrationFile, ...]:
    """The migrations that `down` rolls back, the last one first.

    :param steps: how many; more than there are means all.
    :param to: instead: everything after this one, which stays applied.
    :raises NoRollback: one of them has no file, or no rollback file.
    """
    applied = [e for e in status.entries if e.state is not State.PENDING]
    if to is not None:
        ids = [e.id for e in applied]
        steps = len(ids) - 1 - ids.index(find_id(to, ids, "applied migration"))
    chosen = applied[len(applied) - min(steps, len(applied)) :][::-1]
    for entry in chosen:
        if entry.file is None:
            raise NoRollback(
                f"{entry.id} is applied, but its file is missing; nothing was changed",
                why="What would undo it is not known.",
                fix=f"Bring {entry.id}.sql and its .rollback.sql back, for example with git.",
            )
        if entry.file.rollback_path is None:
            raise NoRollback(
                f"{entry.id} has no rollback file; nothing was changed",
                why=f"{entry.file.path.with_suffix('')}.rollback.sql does not exist.",
                fix="Write that file, or go forward with a new migration.",
            )
    return tuple(e.file for e in chosen if e.file)


def find_id(wanted: str, ids: list[str], kind: str = "migration") -> str:
    """The id that somebody typed: in full, or its number if that is unique.

    :raises UnknownMigration: with the nearest one.
    """
    name = wanted.rpartition("/")[2].removesuffix(".sql").removesuffix(".rollback")
    if name in ids:
        return name
    starting = [i for i in ids if i.startswith(name)]
    if len(starting) == 1:
        return starting[0]
    near = starting[:3] or get_close_matches(name, ids, n=1, cutoff=0.4)
    raise UnknownMigration(
        f"No {kind} is called {wanted!r}" if not starting else f"More than one {kind} begins with {wanted!r}",
        why="An id is the file's name without .sql.",
        fix=f"Did you mean {' or '.join(near)}?" if near else "pliers-db migrate status",
    )
