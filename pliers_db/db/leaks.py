"""Who has which connection: the book of loans, and what becomes of those that never come back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final
from weakref import ref

_PLUMBING: Final = ("contextlib.py", "/pliers_db/db/", "/pliers_db/aio")  # the borrower is whoever called these

_Entry = tuple[float, int, CodeType, int, CodeType | None, int]  # since, thread, where, and who called that


class _Known(ref[Any]):
    """A weak reference to a connection that knows its place in the book."""

    __slots__ = ("key",)
    key: int


@dataclass(frozen=True, slots=True)
class Loan:
    """One connection that is out."""

    since: float
    """When it went out, by ``time.monotonic``."""
    thread: int
    site: str
    """The place that borrowed: ``shop/orders.py:42 in place_order``."""


class LoanBook:
    """Notes each loan with the place that borrowed it.

    Only code objects and positions are kept, not frames: formatting a traceback would cost several checkouts.
    """

    __slots__ = ("_entries", "_known", "_on_dropped")

    def __init__(self, on_dropped: Callable[[Loan], None]) -> None:
        """:param on_dropped: called when a lent connection was garbage-collected: in any thread, in the middle of
        anything. It must take no lock.
        """
        self._on_dropped = on_dropped
        self._known: dict[int, _Known] = {}
        self._entries: dict[int, _Entry] = {}

    def register(self, conn: Any) -> None:
        """A connection was opened and may be lent from now on."""
        known = _Known(conn, self._gone)
        key = known.key = id(conn)
        self._known[key] = known

    def open(self, conn: Any, now: float, depth: int = 1) -> None:
        """A connection goes out.

        :param depth: how many callers up the borrower stands.
        """
        frame = sys._getframe(depth)
        above = frame.f_back
        caller, at = (None, 0) if above is None else (above.f_code, above.f_lasti)
        self._entries[id(conn)] = (now, threading.get_ident(), frame.f_code, frame.f_lasti, caller, at)

    def close(self, conn: Any) -> float:
        """A connection came back. :returns: when it went out; 0 if it was not out."""
        entry = self._entries.pop(id(conn), None)
        return entry[0] if entry else 0.0

    def loans(self) -> list[Loan]:
        """What is out now, the oldest first."""
        return sorted((_loan(entry) for entry in self._entries.copy().values()), key=lambda loan: loan.since)

    def out(self) -> list[tuple[Any, float]]:
        """The connections that are out, and since when."""
        found = []
        for key, entry in self._entries.copy().items():
            known = self._known.get(key)
            if known is not None and (conn := known()) is not None:
                found.append((conn, entry[0]))
        return found

    def loan(self, conn: Any) -> Loan | None:
        """The loan of one connection."""
        entry = self._entries.get(id(conn))
        return _loan(entry) if entry else None

    def __len__(self) -> int:
        return len(self._entries)

    def _gone(self, known: ref[Any]) -> None:
        assert isinstance(known, _Known)
        self._known.pop(known.key, None)
        if entry := self._entries.pop(known.key, None):
            self._on_dropped(_loan(entry))


def _loan(entry: _Entry) -> Loan:
    since, thread, code, at, above, above_at = entry
    places = [(code, at)] if above is None else [(code, at), (above, above_at)]
    own = [place for place in places if not any(part in _slashes(place[0]) for part in _PLUMBING)]
    code, at = (own or places)[0]
    return Loan(since, thread, f"{'/'.join(_slashes(code).split('/')[-2:])}:{_line(code, at)} in {code.co_qualname}")


def _slashes(code: CodeType) -> str:
    return code.co_filename.replace("\\", "/")


def _line(code: CodeType, at: int) -> int:
    for start, end, line in code.co_lines():
        if start <= at < end and line is not None:
            return line
    return code.co_firstlineno
