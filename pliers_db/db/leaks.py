"""Who has which connection: the book of loans, and what becomes of those that never come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any, Final
from weakref import ref

_PLUMBING: Final = ("contextlib.py", "/pliers_db/db/", "/pliers_db/aio")  # the borrower is whoever called these

_Entry = tuple[float, int, CodeType, int]  # since, thread, where


class Slip(ref[Any]):
    """The page of one connection: a weak reference to it, and its loan while it is out."""

    __slots__ = ("entry",)
    entry: _Entry | None


@dataclass(frozen=True, slots=True)
class Loan:
    """One connection that is out."""

    since: float
    """When it went out, by ``time.monotonic``."""
    thread: int
    site: str
    """The place that borrowed: ``shop/orders.py:42 in place_order``."""


class LoanBook:
    """The loans of one pool, each with the place that borrowed."""

    __slots__ = ("_on_dropped", "_slips")

    def __init__(self, on_dropped: Callable[[Loan], None]) -> None:
        """:param on_dropped: called when a lent connection was garbage-collected: in any thread, in the middle of
        anything. It must take no lock.
        """
        self._on_dropped = on_dropped
        self._slips: dict[int, Slip] = {}

    def register(self, conn: Any) -> None:
        """A connection was opened and may be lent from now on."""
        slip = Slip(conn, self._gone)
        slip.entry = None
        self._slips[id(slip)] = conn.slip = slip

    def loans(self) -> list[Loan]:
        """What is out now, the oldest first."""
        entries = [slip.entry for slip in self._slips.copy().values()]
        return sorted((_loan(entry) for entry in entries if entry), key=lambda loan: loan.since)

    def out(self) -> list[tuple[Any, float]]:
        """The connections that are out, and since when."""
        found = []
        for slip in self._slips.copy().values():
            entry, conn = slip.entry, slip()
            if entry is not None and conn is not None:
                found.append((conn, entry[0]))
        return found

    def loan(self, conn: Any) -> Loan | None:
        """The loan of one connection."""
        entry = conn.slip.entry
        return _loan(entry) if entry else None

    def __bool__(self) -> bool:
        return any(slip.entry for slip in self._slips.copy().values())

    def _gone(self, slip: ref[Any]) -> None:
        assert isinstance(slip, Slip)
        self._slips.pop(id(slip), None)
        if slip.entry is not None:
            self._on_dropped(_loan(slip.entry))


def _loan(entry: _Entry) -> Loan:
    since, thread, code, at = entry
    file = "/".join(_slashes(code.co_filename).split("/")[-2:])
    return Loan(since, thread, f"{file}:{_line(code, at)} in {code.co_qualname}")


@cache
def is_plumbing(file: str) -> bool:
    """Whether code in this file borrows for somebody else."""
    return any(part in _slashes(file) for part in _PLUMBING)


def _slashes(file: str) -> str:
    return file.replace("\\", "/")


def _line(code: CodeType, at: int) -> int:
    for start, end, line in code.co_lines():
        if start <= at < end and line is not None:
            return line
    return code.co_firstlineno
