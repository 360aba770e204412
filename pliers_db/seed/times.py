"""Points in time, written relative to ``as_of`` or to another value: ``as_of - 3d at 09:30``."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta

_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_AMOUNT = re.compile(r"\s*(\d+)\s*(sec|min|s|m|h|d|w)(?![a-z])")
_DURATION = re.compile(r"(?:\s*\d+\s*(?:sec|min|s|m|h|d|w)(?![a-z]))+")
_CLOCK = re.compile(r"\s+at\s+(\d{1,2}):(\d{2})(?::(\d{2}))?$")
# A base is a path: `as_of`, `each.created_at`, `@table/row-name.column` (whose hyphens are its own).
_EXPRESSION = re.compile(r"(@[\w./-]+|[A-Za-z_][\w.]*)((?:\s*[+-]\s*(?:\d+\s*(?:sec|min|s|m|h|d|w)(?![a-z])\s*)+)*)")
_LITERALS = frozenset({"infinity", "epoch"})  # words that PostgreSQL reads itself and that do not move


def parse_duration(text: str) -> timedelta:
    """Read ``90s``, ``5m``, ``2h 30m``, ``3d``, ``1w``.

    :raises ValueError: it is none.
    """
    if not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a span of time; write it like 90s, 5m, 2h 30m, 3d or 1w")
    return timedelta(seconds=sum(int(count) * _UNITS[unit] for count, unit in _AMOUNT.findall(text)))


def is_expression(text: str) -> bool:
    """Whether a text has the form of a relative time (its base may still be unknown)."""
    return text not in _LITERALS and _EXPRESSION.fullmatch(_CLOCK.sub("", text.strip())) is not None


def evaluate(text: str, lookup: Callable[[str], object]) -> datetime:
    """The point in time that an expression means, in UTC unless its base says otherwise.

    :param lookup: gives the value of a base: ``as_of``, a column, ``each.created_at``…
    :raises ValueError: the text is not of the form BASE [+|- SPAN]… [at HH:MM], or its base is not a time.
    """
    body = text.strip()
    clock = _CLOCK.search(body)
    found = _EXPRESSION.fullmatch(_CLOCK.sub("", body))
    if found is None:
        raise ValueError(f"{text!r} is not a time; write it like 2026-01-31T09:00:00Z or as_of - 3d at 09:30")
    moment = as_datetime(lookup(found[1]), found[1])
    for sign, span in re.findall(r"([+-])\s*((?:\d+\s*[a-z]+\s*)+)", found[2]):
        moment += parse_duration(span) if sign == "+" else -parse_duration(span)
    if clock:
        try:
            moment = datetime.combine(
                moment.date(), time(int(clock[1]), int(clock[2]), int(clock[3] or 0)), moment.tzinfo
            )
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
    return moment


def as_datetime(value: object, name: str) -> datetime:
    """A value as a point in time with a zone; a date means its midnight, no zone means UTC.

    :raises ValueError: it is no time.
    """
    if isinstance(value, str):
        with suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise ValueError(f"{name} is {'empty' if value is None else repr(value)}, not a time")
