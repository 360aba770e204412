"""The order of times: a row comes after the rows that it refers to, and is changed after it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

BIRTHS = ("created_at", "inserted_at")
"""Columns that say when a row was made."""


def birth_of(columns: Iterable[str]) -> str | None:
    """The column that says when a row was made."""
    known = set(columns)
    return next((name for name in BIRTHS if name in known), None)


def moved(
    cells: Mapping[str, str | None], columns: Iterable[str], floor: datetime, end: datetime, span: int
) -> dict[str, str]:
    """Times of a row, brought after ``floor``.

    The ``span`` seconds before ``end`` are mapped onto those from ``floor`` to ``end``: earlier stays earlier, and what
    lies after ``end`` stays where it is.
    """
    found: dict[str, str] = {}
    room = int((end - floor).total_seconds())
    start = end.timestamp() - span
    for name in columns:
        moment = read(cells.get(name))
        if moment is None or moment > end or room < 0:
            continue
        passed = int(min(max(moment.timestamp() - start, 0), span))
        later = datetime.fromtimestamp(int(floor.timestamp()) + passed * room // span, UTC)
        text = cells[name] or ""
        found[name] = (later if text.endswith("+00:00") else later.replace(tzinfo=None)).isoformat(" ")
    return found


def read(text: str | None) -> datetime | None:
    """A point in time as the database or we write it; None if it is none."""
    with suppress(ValueError):  # 'infinity', or nothing
        moment = datetime.fromisoformat(text or "")
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
