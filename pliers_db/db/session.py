"""What a borrower can leave behind in a session, and how it is wiped away."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, LiteralString

import psycopg
from psycopg import postgres
from psycopg.adapt import AdaptersMap
from psycopg.pq import TransactionStatus

# What DISCARD ALL does, as one round trip that may run in the implicit transaction of several statements.
WIPE: LiteralString = (
    "reset session authorization; reset role; reset all; close all; unlisten *; discard temp; discard sequences; "
    "deallocate all; select pg_advisory_unlock_all()"
)

_ATTRIBUTES = (
    "_autocommit",
    "_isolation_level",
    "_read_only",
    "_deferrable",
    "row_factory",
    "cursor_factory",
    "server_cursor_factory",
    "prepare_threshold",
    "prepared_max",
    "_num_transactions",
    "_tpc",
    "_pipeline",
)
_look = attrgetter(*_ATTRIBUTES)


class Baseline:
    """The Python side of a connection as it was opened."""

    __slots__ = ("_adapters", "_values")

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._values = _look(conn)
        self._adapters = AdaptersMap(conn._adapters or postgres.adapters)

    def restore(self, conn: psycopg.Connection[Any]) -> None:
        """Undo what a borrower changed on the object: autocommit, factories, adapters, handlers."""
        if _look(conn) != self._values:
            for name, value in zip(_ATTRIBUTES, self._values, strict=True):
                setattr(conn, name, value)
            conn._begin_statement = b""
        conn._notice_handlers.clear()
        conn._notify_handlers.clear()
        conn._adapters = AdaptersMap(self._adapters)


def wipe(conn: psycopg.Connection[Any], baseline: Baseline) -> None:
    """Bring a connection back to the state it was opened in.

    :raises psycopg.Error: it cannot be cleaned; close it.
    """
    if conn.info.transaction_status != TransactionStatus.IDLE:
        conn.rollback()
    baseline.restore(conn)
    conn.execute(WIPE, prepare=False)
    # psycopg has not understood that its prepared statements are gone: it looks at the last command only.
    conn._prepared.clear()
    conn._prepared._to_flush.clear()
    if conn._notifies_backlog:
        conn._notifies_backlog.clear()
