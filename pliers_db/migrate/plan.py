"""What is to be done: folder and history in, plan out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum

from pliers_db.errors import HistoryConflict, NoRollback, UnknownMigration
from pliers_db.migrate.edits import same_meaning, short_diff
from pliers_db.migrate.files import Folder, MigrationFile, migration_hash, sort_key
from pliers_db.migrate.history import Applied, History, Progress


class State(StrEnum):
    """How a migration stands."""

    APPLIED = "applied"
    UNVERIFIED = "unverified"
    """Applied by stock yoyo: what was run is not known."""
    EDITED = "edited"
    """Applied, and its file says something else now."""
    MISSING = "missing"
    """Applied, and its file is gone."""
    PENDING = "pending"
    OUT_OF_ORDER = "out-of-order"
    """Pending, and older than one that is applied."""
    PARTIAL = "partial"
    """Without a transaction, and stopped part-way: `up` (or `down`) goes on."""
    SQUASHED = "squashed"
    """All that it replaces is applied: `up` only records it."""
    SPLIT = "split"
    """Some of what it replaces is applied, some is not: neither can it run, nor be recorded."""


_TO_DO = (State.PENDING, State.OUT_OF_ORDER, State.PARTIAL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of `status`."""

    id: str
    state: State
    file: MigrationFile | None = None
    record: Applied | None = None
    progress: Progress | None = None
    by: str | None = None
    """Who applied it, ``user@host``, where that was asked for and may be known."""

    @property
    def hash(self) -> str:
        """yoyo's key."""
        return migration_hash(self.id)

    @property
    def applied_at(self) -> datetime | None:
        """When it was applied."""
        return self.record.at if self.record else None

    @property
    def reversible(self) -> bool:
        """Whether there is a rollback: a file, or the text that was stored when it was applied."""
        return (self.file is not None and self.file.rollback_path is not None) or (
            self.record is not None and self.record.reversible
        )

    @property
    def cosmetic(self) -> bool:
        """Whether its file differs from what was applied, but only in comments and layout."""
        return self.state is State.APPLIED and bool(self.record and self.record.sql)


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
        return tuple(e.file for e in self.entries if e.state in _TO_DO and e.file and not e.record)

    @property
    def applied(self) -> tuple[Entry, ...]:
        """What the database has, in order."""
        return tuple(e for e in self.entries if e.record is not None)

    @property
    def ahead(self) -> tuple[Entry, ...]:
        """Missing ones that are newer than every file here: the database was migrated by a newer version."""
        last = max((n for n, e in enumerate(self.entries) if e.file), default=-1)
        return tuple(e for e in self.entries[last + 1 :] if e.state is State.MISSING)

    @property
    def clean(self) -> bool:
        """Whether everything is applied and as it was then."""
        return all(e.state in (State.APPLIED, State.UNVERIFIED) for e in self.entries)


def compare(folder: Folder, history: History) -> Status:
    """Lay the folder beside the history."""
    applied = {a.id: a for a in history.applied}
    # A row that stands here though the migration went all the way since (by stock yoyo) says nothing any more.
    partial = {p.id: p for p in history.progress if (p.id in applied) == (p.operation == "rollback")}
    entries = [
        _squash_entry(m, applied)
        if m.replaces and m.id not in applied
        else Entry(
            m.id,
            State.PARTIAL if m.id in partial else _state(m, applied.get(m.id)),
            m,
            applied.get(m.id),
            partial.get(m.id),
        )
        for m in folder.migrations
    ]
    # The rows of what a squash replaces stay, for older copies of the folder; the squash speaks for them.
    known = {i for e in entries if e.file for i in (e.id, *(e.file.replaces if e.record else ()))}
    gone = sorted((a for a in history.applied if a.id not in known), key=lambda a: sort_key(a.id))
    for missing in gone:  # in among the others, where its number puts it
        place = next(
            (n for n, e in enumerate(entries) if sort_key(e.id) > sort_key(missing.id)),
            len(entries),
        )
        entries.insert(place, Entry(missing.id, State.MISSING, record=missing))
    last = max((n for n, e in enumerate(entries) if e.record), default=-1)
    return Status(
        tuple(
            replace(e, state=State.OUT_OF_ORDER) if e.state is State.PENDING and n < last else e
            for n, e in enumerate(entries)
        )
    )


def _squash_entry(file: MigrationFile, applied: Mapping[str, Applied]) -> Entry:
    """A squash that is not on record itself: as what it replaces stands."""
    found = [applied[i] for i in file.replaces if i in applied]
    if not found:
        return Entry(file.id, State.PENDING, file)
    if len(found) < len(file.replaces):
        return Entry(file.id, State.SPLIT, file)
    last = max(found, key=lambda a: (a.at is not None, a.at))
    return Entry(file.id, State.SQUASHED, file, Applied(file.id, file.hash, last.at))


def _state(file: MigrationFile, record: Applied | None) -> State:
    if record is None:
        return State.PENDING
    if record.sha256 is None:
        return State.UNVERIFIED
    if record.sha256 == file.sha256 or (record.sql is not None and same_meaning(record.sql, file.text)):
        return State.APPLIED
    return State.EDITED


def check_history(status: Status, planned: tuple[MigrationFile, ...], *, allow_out_of_order: bool = False) -> None:
    """Let `up` go on only if the folder continues what the database has.

    :raises HistoryConflict: an applied file was edited or is gone, or one to apply is older than an applied one.
    """
    for entry in status.of(State.SPLIT):
        assert entry.file is not None
        missing = [i for i in entry.file.replaces if i not in {e.id for e in status.applied}]
        raise HistoryConflict(
            f"{entry.id} replaces {len(entry.file.replaces)} migrations, of which this database lacks {len(missing)}",
            why=f"It lacks {', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}; the rest cannot be made twice.",
            fix="Bring it to the last of them with the folder as it was before the squash, then: pliers-db migrate up",
            id=entry.id,
            missing=missing,
        )
    ahead = {e.id for e in status.ahead}
    for entry in status.entries:
        if entry.state is State.EDITED and entry.file:
            sql = entry.record.sql if entry.record else None
            diff = "\n" + short_diff(sql, entry.file.text) if sql else ""
            raise HistoryConflict(
                f"{entry.file.path} was edited after it was applied",
                why=f"The database has the earlier text; a new database would get the later one.{diff}",
                fix=f"Undo the edit and write a new migration; or: pliers-db migrate repair --accept-edit {entry.id}",
                id=entry.id,
            )
        if entry.state is State.MISSING and entry.id not in ahead:
            raise HistoryConflict(
                f"{entry.id} is applied, but its file is missing",
                why="It stands before other migrations of this folder: another branch, or a deleted file.",
                fix=f"Bring the file back; or: pliers-db migrate repair --forget {entry.id}",
                id=entry.id,
            )
    for entry in status.of(State.PARTIAL):
        if entry.record is not None:
            raise HistoryConflict(
                f"{entry.id} is half rolled back",
                why="Its rollback has no transaction and was stopped part-way.",
                fix="pliers-db migrate down",
                id=entry.id,
            )
    wanted = {m.id for m in planned}
    late = [e.id for e in status.of(State.OUT_OF_ORDER) if e.id in wanted]
    if late and not allow_out_of_order:
        raise HistoryConflict(
            f"{late[0]} is older than a migration that is already applied",
            why=f"Elsewhere it would run before {status.applied[-1].id}, here after it: the results may differ.",
            fix="Give it a newer number; or: pliers-db migrate up --allow-out-of-order",
            ids=late,
        )


def plan_up(status: Status, to: str | None = None, steps: int | None = None) -> tuple[MigrationFile, ...]:
    """The migrations that `up` applies, in order.

    :param to: the last one, included.
    :param steps: how many at most.
    :raises UnknownMigration: no file has that id.
    """
    if to is None:
        return status.pending[:steps]
    ids = [e.id for e in status.entries if e.file]
    last = find_id(to, ids)
    wanted = set(ids[: ids.index(last) + 1])
    return tuple(m for m in status.pending if m.id in wanted)[:steps]


def plan_down(status: Status, *, steps: int = 1, to: str | None = None) -> tuple[Entry, ...]:
    """The migrations that `down` rolls back, the last one first.

    :param steps: how many; more than there are means all.
    :param to: instead: everything after this one, which stays applied.
    :raises NoRollback: what undoes one of them is in no file and was not stored.
    """
    applied = status.applied
    if to is not None:
        ids = [e.id for e in applied]
        steps = len(ids) - 1 - ids.index(find_id(to, ids, "applied migration"))
    chosen = applied[len(applied) - min(steps, len(applied)) :][::-1]
    for entry in chosen:
        if entry.reversible:
            continue
        if entry.file is None:
            raise NoRollback(
                f"{entry.id} is applied, but its file is missing; nothing was changed",
                why="Stock yoyo applied it, or it had no rollback: what would undo it is not known.",
                fix=f"Bring {entry.id}.sql and its .rollback.sql back, for example with git.",
            )
        raise NoRollback(
            f"{entry.id} has no rollback file; nothing was changed",
            why=f"{entry.file.path.with_suffix('')}.rollback.sql does not exist.",
            fix="Write that file, or go forward with a new migration.",
        )
    return chosen


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
