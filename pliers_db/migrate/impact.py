"""What statements do to tables that are in use: from what was observed to words. Pure.

`pliers_db.migrate.trace` observes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pliers_db.units import format_count, format_size

# PostgreSQL's documentation, table 13.2, from the weakest to the strongest; what waits while one is held.
MODES: Mapping[str, tuple[str, str]] = {
    "AccessShareLock": ("ACCESS SHARE", ""),
    "RowShareLock": ("ROW SHARE", ""),
    "RowExclusiveLock": ("ROW EXCLUSIVE", ""),
    "ShareUpdateExclusiveLock": (
        "SHARE UPDATE EXCLUSIVE",
        "reads and writes go on; VACUUM and other changes of the schema wait",
    ),
    "ShareLock": ("SHARE", "INSERT, UPDATE and DELETE wait; reads go on"),
    "ShareRowExclusiveLock": ("SHARE ROW EXCLUSIVE", "INSERT, UPDATE and DELETE wait; reads go on"),
    "ExclusiveLock": ("EXCLUSIVE", "INSERT, UPDATE, DELETE and SELECT FOR UPDATE wait; plain reads go on"),
    "AccessExclusiveLock": ("ACCESS EXCLUSIVE", "every query on it waits, reads too"),
}
_STRENGTH = {mode: n for n, mode in enumerate(MODES)}
_STRENGTH_BY_WORDS = {words: n for n, (words, _) in enumerate(MODES.values())}
ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
_QUERY_OF_VIEW = '"_RETURN" on '
"""The rule that is a view's query: the view itself is named beside it."""
_WORTH_TELLING = _STRENGTH["ShareUpdateExclusiveLock"]

# AT_REWRITE_… in src/include/commands/event_trigger.h.
_REASONS = {
    1: "between logged and unlogged",
    2: "the new column has another value in each row",
    4: "the column's values are stored in another way",
    8: "another access method",
}


class Kind(StrEnum):
    """What a statement does to a relation."""

    LOCK = "lock"
    REWRITE = "rewrite"
    """All its rows are written anew, its indexes built anew."""
    REINDEX = "reindex"
    """An index is built anew."""
    SCAN = "scan"
    """All its rows are read."""
    EMPTIED = "emptied"
    """TRUNCATE."""
    CASCADE = "cascade"
    """It is dropped because something else is."""


@dataclass(frozen=True, slots=True)
class Relation:
    """Something that was there before the migration."""

    oid: int
    path: str
    kind: str
    """``table``, ``index``…"""
    table: int | None = None
    """Of an index: its table."""
    root: int | None = None
    """Of a partition: the table at the top."""
    filenode: int = 0
    """The number of the file it is stored in: another one, and it was written anew."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A table that ALTER TABLE writes anew."""

    oid: int
    reason: int
    """The bits that PostgreSQL gives."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """An object that a statement drops."""

    kind: str
    identity: str
    original: bool
    """It is named by the statement."""
    normal: bool
    """Something that depends on what is dropped; not a part of it, like its indexes."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of one statement."""

    locks: frozenset[tuple[int, str]] = frozenset()
    """New ones: the relation's oid, and the mode as pg_locks writes it."""
    held: frozenset[tuple[int, str]] = frozenset()
    """Those that its transaction had before."""
    rewrites: tuple[Rewrite, ...] = ()
    refiled: frozenset[int] = frozenset()
    """Relations whose file is another one."""
    scans: frozenset[int] = frozenset()
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True, slots=True)
class Size:
    """How large a table is somewhere, in bytes."""

    heap: int
    indexes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a statement does to a relation that was there before."""

    kind: Kind
    relation: str
    mode: str = ""
    """Of a lock, as in the documentation: ``ACCESS EXCLUSIVE``."""
    reason: str = ""
    bytes: int | None = None
    """How much is read or written, or how large what is locked is; None if sizes are not known."""
    parts: int = 0
    """How many of its partitions this is true of."""

    @property
    def text(self) -> str:
        """As a sentence."""
        size = "" if self.bytes is None else f" ({format_size(self.bytes)})"
        parts = f" and {format_count(self.parts, 'partition')}" if self.parts else ""
        what = f"{self.relation}{parts}{size}"
        reason = f": {self.reason}" if self.reason else ""
        match self.kind:
            case Kind.LOCK:
                return f"{self.mode} on {what}{reason}"
            case Kind.REWRITE:
                return f"rewrites {what}{reason}"
            case Kind.REINDEX:
                return f"builds {what} anew{reason}"
            case Kind.SCAN:
                return f"reads all of {what}{reason}"
            case Kind.EMPTIED:
                return f"empties {what}"
        return f"CASCADE drops {what}"

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "kind": self.kind,
            "relation": self.relation,
            "mode": self.mode or None,
            "reason": self.reason or None,
            "bytes": self.bytes,
            "partitions": self.parts,
            "text": self.text,
        }


def interpret(
    seen: Observed,
    relations: Mapping[int, Relation],
    *,
    purpose: str = "",
    truncates: bool = False,
    sizes: Mapping[str, Size] | None = None,
) -> tuple[Effect, ...]:
    """Say what one statement does to the relations that were there before the migration.

    :param relations: those, by oid.
    :param purpose: what the statement reads tables for, in words.
    :param truncates: the statement is a TRUNCATE.
    :param sizes: of tables and indexes by path, somewhere where they are filled.
    """
    scale = _Scale(relations, sizes)
    rewritten = {r.oid for r in seen.rewrites if r.oid in relations}
    found = [*_locks(seen, relations, scale)]
    for rewrite in seen.rewrites:
        if rewrite.oid in relations:
            why = [words for bit, words in _REASONS.items() if rewrite.reason & bit]
            found.append((rewrite.oid, scale.effect(Kind.REWRITE, rewrite.oid, ", ".join(why))))
    for oid in sorted(seen.refiled - rewritten, key=lambda o: relations[o].path):
        relation = relations[oid]
        if relation.kind == "index":
            if relation.table not in seen.refiled | rewritten:
                found.append((oid, scale.effect(Kind.REINDEX, oid)))
        else:
            found.append((oid, scale.effect(Kind.EMPTIED if truncates else Kind.REWRITE, oid)))
    read = (oid for oid in seen.scans - rewritten - seen.refiled if oid in relations)
    found += [(oid, scale.effect(Kind.SCAN, oid, purpose)) for oid in sorted(read, key=lambda o: relations[o].path)]
    effects = _with_partitions_folded(found, relations, scale)
    victims = (d for d in seen.dropped if d.normal and not d.original and not d.identity.startswith(_QUERY_OF_VIEW))
    return (*effects, *(Effect(Kind.CASCADE, f"{d.kind} {d.identity}") for d in victims))


def documented(kind: Kind, relation: str, sizes: Mapping[str, Size] | None, *, mode: str = "", reason: str) -> Effect:
    """An effect that cannot be observed, from PostgreSQL's documentation."""
    size = (sizes or {}).get(relation)
    return Effect(kind, relation, mode, f"{reason} (by the documentation, not observed)", size.heap if size else None)


def headline(effects: Iterable[Effect]) -> str:
    """The worst of a migration in one line; empty if it locks nothing that anybody waits for."""
    by_relation: dict[str, list[Effect]] = {}
    for effect in effects:
        by_relation.setdefault(effect.relation, []).append(effect)
    worst = max(by_relation.items(), key=lambda item: _badness(item[1]), default=None)
    if worst is None or _badness(worst[1]) == (0, 0, 0):
        return ""
    relation, found = worst
    lock = max((e.mode for e in found if e.mode), key=lambda m: _STRENGTH_BY_WORDS[m], default="")
    work = next((e for kind in (Kind.REWRITE, Kind.SCAN) for e in found if e.kind is kind), None)
    parts = [lock] if lock else []
    if work is not None:
        size = "" if work.bytes is None else f" of {format_size(work.bytes)}"
        parts.append(f"a {'rewrite' if work.kind is Kind.REWRITE else 'full scan'}{size}")
    return f"{' and '.join(parts)} on {relation}" if parts else ""


def fails(effects: Iterable[Effect], on: Collection[str]) -> bool:
    """Whether a migration does what it must not.

    :param on: ``rewrite``, ``scan`` (a rewrite reads all, too), ``access-exclusive``.
    """
    return any(
        ("rewrite" in on and e.kind is Kind.REWRITE)
        or ("scan" in on and e.kind in (Kind.SCAN, Kind.REWRITE))
        or ("access-exclusive" in on and e.mode == ACCESS_EXCLUSIVE)
        for e in effects
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    relations: Mapping[int, Relation]
    sizes: Mapping[str, Size] | None

    def effect(self, kind: Kind, oid: int, reason: str = "") -> Effect:
        return Effect(kind, self.relations[oid].path, "", reason, self.bytes(kind, self.relations[oid].path))

    def bytes(self, kind: Kind, path: str) -> int | None:
        size = (self.sizes or {}).get(path)
        if size is None:
            return None
        # What is rewritten gets new indexes, and what is locked is locked with them; only the rows are read.
        return size.heap if kind is Kind.SCAN else size.heap + size.indexes


def _locks(seen: Observed, relations: Mapping[int, Relation], scale: _Scale) -> list[tuple[int, Effect]]:
    """The strongest lock on each relation, where anybody waits for it; on an index, where its table's is weaker."""
    strongest: dict[int, str] = {}
    for oid, mode in seen.locks:
        if oid in relations and _STRENGTH[mode] > _STRENGTH.get(strongest.get(oid, ""), -1):
            strongest[oid] = mode
    had = {oid: max(_STRENGTH[mode] for other, mode in seen.held if other == oid) for oid, _ in seen.held}
    found = []
    for oid in sorted(strongest, key=lambda o: (-_STRENGTH[strongest[o]], relations[o].path)):
        mode, relation = strongest[oid], relations[oid]
        held = strongest.get(relation.table) if relation.table is not None else None
        if _STRENGTH[mode] < max(_WORTH_TELLING, had.get(oid, 0) + 1):
            continue
        if held is not None and _STRENGTH[held] >= _STRENGTH[mode]:
            continue
        words, waits = MODES[mode]
        if relation.kind == "index" and mode == "AccessExclusiveLock":
            waits = "every query that could use it waits, reads too"
        found.append((oid, replace(scale.effect(Kind.LOCK, oid, waits), mode=words)))
    return found


def _with_partitions_folded(
    found: Sequence[tuple[int, Effect]], relations: Mapping[int, Relation], scale: _Scale
) -> list[Effect]:
    """Say of a partitioned table once what is true of its partitions."""
    groups: dict[tuple[Any, ...], list[tuple[int, Effect]]] = {}
    for oid, effect in found:
        relation = relations[oid]
        top = oid if relation.root is None or relation.kind == "index" else relation.root
        groups.setdefault((effect.kind, effect.mode, effect.reason, top), []).append((oid, effect))
    result = []
    for (*_, top), members in groups.items():
        parts = [effect for oid, effect in members if oid != top]
        if not parts or (len(members) == 1 and top not in relations):
            result += [effect for _, effect in members]
            continue
        known = [e.bytes for e in parts if e.bytes is not None]
        path = relations[top].path if top in relations else parts[0].relation
        result.append(replace(parts[0], relation=path, parts=len(parts), bytes=sum(known) if known else None))
    return result


def _badness(effects: Sequence[Effect]) -> tuple[int, int, int]:
    lock = max((_STRENGTH_BY_WORDS[e.mode] for e in effects if e.mode), default=0)
    work = 2 * any(e.kind is Kind.REWRITE for e in effects) + any(e.kind is Kind.SCAN for e in effects)
    return lock * (1 + work), work, max((e.bytes or 0 for e in effects), default=0)
