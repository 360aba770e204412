"""How two databases differ, in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import unified_diff
from enum import StrEnum
from itertools import chain
from typing import Any

from pliers_db.catalog.model import Constraint, Index, Snapshot, Table, Type, quoted

# What says more than "enabled was true, is false". None: written out.
BOOLEAN = {
    "not_null": ("is now NOT NULL", "may now be NULL"),
    "valid": ("is now valid", "is no longer valid"),
    "enabled": ("is enforced again", "is no longer enforced: its triggers are disabled"),
    "local": ("is now declared here, too", "is now only inherited"),
    "clustered": ("is now the one to cluster by", "is no longer the one to cluster by"),
    "replica_identity": ("is now the replica identity", "is no longer the replica identity"),
    "populated": ("is now populated", "is no longer populated"),
    "cycle": ("now cycles", "no longer cycles"),
    "unique": ("is now unique", "is no longer unique"),
    "primary": ("is now the primary key", "is no longer the primary key"),
    "permissive": ("is now permissive", "is now restrictive"),
    "deferrable": ("is now deferrable", "is no longer deferrable"),
    "deferred": ("is now deferred", "is no longer deferred"),
}
_QUALIFIER = re.compile(r'(?:\b[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")\.(?=[a-z_"*])')
# Lists whose order means something.
_ORDERED = {"labels", "columns", "referenced_columns", "parents"}


class Change(StrEnum):
    """What kind of difference it is."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    REORDERED = "reordered"
    """The same columns in another order: queries that name their columns don't notice."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs from the first snapshot to the second; as text, a sentence that says what."""

    change: Change
    kind: str
    """``table``, ``column``, ``index``… as in the snapshot."""
    path: str
    """Where: ``public.orders``, ``public.orders.total``."""
    field: str = ""
    """Which property changed."""
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        subject = f"{self.kind} {self.path}"
        if self.change in (Change.ADDED, Change.REMOVED):
            return f"{subject} was {self.change}"
        if self.change is Change.REORDERED:
            return f"{subject}: same columns in another order: was {_say(self.before)}, is {_say(self.after)}"
        if isinstance(self.after, bool):
            yes, no = BOOLEAN.get(self.field, (f"is now {self.field}", f"is no longer {self.field}"))
            return f"{subject} {yes if self.after else no}"
        name = self.field.replace("_", " ")
        if isinstance(self.after, tuple) and self.field not in _ORDERED:
            gained, lost = set(self.after) - set(self.before), set(self.before) - set(self.after)
            parts = [f"gained {_say(sorted(gained))}" if gained else "", f"lost {_say(sorted(lost))}" if lost else ""]
            return f"{subject}: {name} {', '.join(filter(None, parts))}"
        if "\n" in str(self.before).strip() or "\n" in str(self.after).strip():
            return f"{subject}: {name} changed\n" + "\n".join(f"  {line}" for line in self.lines())
        return f"{subject}: {name} was {_say(self.before)}, is {_say(self.after)}"

    def lines(self) -> list[str]:
        """The lines of a longer text that changed, marked with - and +."""
        before, after = ("" if v is None else str(v) for v in (self.before, self.after))
        return list(unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[2:]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        body: dict[str, Any] = {"change": str(self.change), "kind": self.kind, "path": self.path}
        if self.change in (Change.CHANGED, Change.REORDERED):
            body |= {"field": self.field, "before": self.before, "after": self.after}
        return body


def diff(a: Snapshot, b: Snapshot, *, ignore: Collection[str] = ()) -> tuple[Difference, ...]:
    """Say how ``b`` differs from ``a``, sorted by path. Of something added or removed the parts are not listed.

    Between servers of different versions two things are taken as equal that those write differently: queries that only
    differ in the table's name before a column (since 16 it is left out where it can be), and the names of NOT NULL
    constraints (since 18 there are any; whether a column is NOT NULL is always compared).

    :param ignore: names of fields that don't matter (``owner``, ``grants``, ``comment``, ``version``) or
        ``reordered`` columns.
    """
    one_version = a.server_version_num // 10000 == b.server_version_num // 10000
    compare = _Comparison(frozenset(ignore), one_version)
    found = list(compare.all("", a.objects, b.objects, lambda o: o.path, lambda o: o.kind))
    return tuple(sorted(found, key=lambda d: (d.path, d.kind, d.change, d.field)))


@dataclass(frozen=True)
class _Comparison:
    ignore: frozenset[str]
    one_version: bool

    def all(
        self,
        inside: str,
        before: Iterable[Any],
        after: Iterable[Any],
        name_of: Callable[[Any], str],
        kind_of: Callable[[Any], str],
    ) -> Iterator[Difference]:
        """Compare two sets of objects, paired by kind of object and name."""
        old: Mapping[tuple[type, str, str], Any] = {_key(o, name_of, kind_of): o for o in before if self.counts(o)}
        new = {_key(o, name_of, kind_of): o for o in after if self.counts(o)}
        for key in sorted(old.keys() | new.keys(), key=lambda k: k[1:]):
            path = inside + key[1]
            if key not in new:
                yield Difference(Change.REMOVED, kind_of(old[key]), path)
            elif key not in old:
                yield Difference(Change.ADDED, kind_of(new[key]), path)
            elif old[key] != new[key]:
                yield from self.one(kind_of(new[key]), path, old[key], new[key])

    def one(self, kind: str, path: str, before: Any, after: Any) -> Iterator[Difference]:
        """What differs between two objects of one name."""
        for field in fields(before):
            old, new = getattr(before, field.name), getattr(after, field.name)
            if old == new or field.name in self.ignore or self.written_differently(field.name, old, new):
                continue
            part = field.metadata.get("children")
            if part is None:
                yield Difference(Change.CHANGED, kind, path, field.name, old, new)
                continue
            if part in ("constraint", "index"):
                old, new = _unsaid(before, after, old, new), _unsaid(after, before, new, old)
            yield from self.all(f"{path}.", old, new, _quoted_name, lambda _, part=part: str(part))  # type: ignore[misc]
            if part in ("column", "attribute") and "reordered" not in self.ignore:
                yield from _order(kind, path, old, new)

    def written_differently(self, field: str, old: Any, new: Any) -> bool:
        """Whether two versions write the same query."""
        if self.one_version or field != "definition" or old is None or new is None:
            return False
        return bool(_loose(old) == _loose(new))

    def counts(self, item: Any) -> bool:
        return self.one_version or not (isinstance(item, Constraint) and item.kind == "not null")


def _loose(query: str) -> str:
    return " ".join(_QUALIFIER.sub("", query).split())


def _key(item: Any, name_of: Callable[[Any], str], kind_of: Callable[[Any], str]) -> tuple[type, str, str]:
    # A table that becomes a view is a changed kind of one thing; a cast and an operator of one name are two things.
    return type(item), name_of(item), kind_of(item) if not hasattr(item, "schema") else ""


def _quoted_name(part: Any) -> str:
    return quoted(part.name)


def _unsaid(here: Table | Type, there: Table | Type, parts: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    """Leave out what another difference says already: the index of a constraint, the NOT NULL of a column."""
    in_both = {part.name for part in others}
    constraints = {c.name for c in here.constraints} - {c.name for c in there.constraints}

    def said(part: Any) -> bool:
        if isinstance(part, Index):
            return part.name in constraints
        return part.kind == "not null" and _not_null(here, part) != _not_null(there, part)

    return [part for part in parts if part.name in in_both or not said(part)]


def _not_null(owner: Table | Type, constraint: Constraint) -> bool:
    """Whether the column of this NOT NULL constraint, or the domain, is NOT NULL."""
    if isinstance(owner, Type):
        return owner.not_null
    return any(c.not_null and c.name in constraint.columns for c in owner.columns)


def _order(kind: str, path: str, before: Iterable[Any], after: Iterable[Any]) -> Iterator[Difference]:
    """Whether the columns that both have stand in another order."""
    old, new = [c.name for c in before], [c.name for c in after]
    kept = set(old) & set(new)
    was, now = (tuple(n for n in names if n in kept) for names in (old, new))
    if was != now:
        yield Difference(Change.REORDERED, kind, path, "columns", was, now)


def _say(value: Any) -> str:
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, (tuple, list)):
        return ", ".join(chain(value[:20], ["…"] if len(value) > 20 else []))
    return str(value)
