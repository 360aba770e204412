"""What was asked of the database and how long it took: the logger ``pliers_db.query``.

Every statement at DEBUG, one that failed at INFO, a slow one at WARNING (``DB_SLOW_QUERY``). Parameters are never
logged, they are other people's data. Off, it costs a statement one comparison and one cached look at the level.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any, Final

import psycopg
from psycopg import sql

from pliers_db.db.queries import name_of
from pliers_db.log import get_logger, redact
from pliers_db.units import format_duration

log = get_logger("pliers_db.query")

_LONGEST: Final = 300  # characters of a statement's text
_NAME: Final = re.compile(r"\s*(?:--|/\*)\s*name\s*[:=]\s*([\w.-]+)")


def finished(conn: Any, what: Any, begun: float, error: BaseException | None = None) -> None:
    """A statement has ended: log it, if anybody wants to know.

    :param conn: one of ours.
    :param what: the statement, or the name of what psycopg did (``commit``).
    :param begun: when, by ``time.monotonic``.
    """
    took = time.monotonic() - begun
    slow = took >= conn.slow
    level = logging.WARNING if slow else logging.INFO if error is not None else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    text = statement_text(what)
    name = query_name(text)
    extra: dict[str, Any] = {
        "query": name,
        "duration_ms": round(took * 1000, 3),
        "pool_wait_ms": round(conn.waited * 1000, 3),
    }
    if conn.origin is not None:
        extra["transaction"], extra["attempt"] = conn.origin
    if isinstance(error, psycopg.Error):
        extra["sqlstate"] = error.sqlstate
    if error is None:
        how = "slow: " if slow else ""
    else:
        how = "cancelled: " if isinstance(error, asyncio.CancelledError) else "failed: "
    short = " ".join(redact(text).split())  # before it is cut: half a secret would not be recognised
    if len(short) > _LONGEST:
        short = f"{short[:_LONGEST]}…"
    log.log(level, "%s%s after %s", how, short, format_duration(took), extra=extra)


def query_name(text: str) -> str:
    """The name that the statement was given: by ``-- name: …`` of its file, or by a comment it begins with
    (``/* name=find_user */ select …``); empty if it has none."""
    if known := name_of(text):
        return known
    found = _NAME.match(text)
    return found[1] if found else ""


def statement_text(what: Any) -> str:
    """The text of whatever psycopg takes for a statement, without the values that were composed into it."""
    if isinstance(what, str):
        return what
    if isinstance(what, bytes):
        return what.decode(errors="replace")
    if isinstance(what, sql.Composed):
        return "".join(map(statement_text, what))
    if isinstance(what, sql.SQL | sql.Identifier):
        return what.as_string()
    return "?" if isinstance(what, sql.Composable) else "unknown statement"
