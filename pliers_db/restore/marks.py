"""The databases that restores make: how they are named, and how they are known again.

A name alone proves nothing, so each carries a mark in its comment: ``[pliers:restore=new;of=shop;from=…;at=…]``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

NEW, OLD = "new", "old"
_MARK = re.compile(r"\[pliers:restore=(new|old);of=([^;\]]*);from=([^;\]]*);at=([^;\]]*)\]")
_NEW_NAME = re.compile(r"_new_[a-z2-7]{6}$")
LONGEST_NAME = 63  # bytes of a name


@dataclass(frozen=True, slots=True)
class Existing:
    """A database of the server."""

    name: str
    comment: str
    connectable: bool
    owner: str


@dataclass(frozen=True, slots=True)
class Marked:
    """A database that a restore has made or put aside."""

    name: str
    kind: str
    """`NEW`: in the making, or left by a run that died. `OLD`: what stood there before a restore."""
    of: str
    """The database that it belongs to."""
    origin: str
    """The backup that was restored."""
    at: datetime
    size: int | None = None
    """Bytes; None: not asked for, or not to be known."""


def mark(kind: str, of: str, origin: str) -> str:
    """The text for the comment."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return f"[pliers:restore={kind};of={quote(of, safe='')};from={quote(origin, safe='')};at={now}]"


def read_mark(database: Existing) -> Marked | None:
    """The mark of a database, or None."""
    found = _MARK.search(database.comment)
    if found is None:
        return None
    at = datetime.fromisoformat(found[4])
    return Marked(database.name, found[1], unquote(found[2]), unquote(found[3]), at)


def without_mark(comment: str) -> str:
    """The rest of a comment."""
    return _MARK.sub("", comment).strip()


def leftovers(databases: Iterable[Existing], of: str) -> list[str]:
    """What restores of a database that died have left, for who holds its restore lock.

    Either marked, or killed between ``create database`` and the mark: then nobody could ever connect to it.
    """
    found = []
    for database in databases:
        marked = read_mark(database)
        if marked is not None:
            if marked.kind == NEW and marked.of == of:
                found.append(database.name)
        elif not database.connectable and not database.comment and _is_new_name(database.name, of):
            found.append(database.name)
    return found


def put_aside(databases: Iterable[Existing], of: str) -> list[Marked]:
    """The earlier databases that restores have kept, newest first."""
    marked = [m for d in databases if (m := read_mark(d)) is not None and m.kind == OLD and m.of == of]
    return sorted(marked, key=lambda m: (m.at, m.name), reverse=True)


def new_name(of: str) -> str:
    """A name for the database in the making: plain letters, for it stands in pg_restore's arguments."""
    token = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(6))
    return f"{_plain(of)}_new_{token}"


def old_name(of: str, taken: Iterable[str]) -> str:
    """A free name for what stands there now: ``shop_old_20261122t021000z``."""
    names = set(taken)
    stamp = datetime.now(UTC).strftime("_old_%Y%m%dt%H%M%Sz")
    for extra in ("", *(f"_{n}" for n in range(2, 1000))):
        ending = stamp + extra
        # The server cuts names by bytes; never in the middle of a letter.
        head = of.encode()[: LONGEST_NAME - len(ending)].decode(errors="ignore")
        if head + ending not in names:
            return head + ending
    raise AssertionError("unreachable")


def _is_new_name(name: str, of: str) -> bool:
    return bool(_NEW_NAME.search(name)) and _NEW_NAME.sub("", name) == _plain(of)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", name.lower())[:40] or "db"
