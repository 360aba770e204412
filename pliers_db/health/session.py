"""The one connection of a health run: read-only, with short timeouts, and an end that holds even if the server hangs.

It does not come from the application's pool: a probe must neither wait for the pool nor take a place in it, and
only its own connection may be cut by force.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString, Self

import psycopg
from psycopg.rows import dict_row

from pliers_db.config import Target
from pliers_db.db import Connection, connect, load_queries
from pliers_db.health.check import Rows

APPLICATION_NAME = "pliers-db/health"
LOCK_TIMEOUT = 0.5
STATEMENT_TIMEOUT = 5.0
# search_path: nobody's function runs in place of pg_catalog's, and names are printed with their schema.
# jit: compiling a catalog query costs more than running it.
_SETTINGS: Mapping[LiteralString, LiteralString] = {
    "lock_timeout": "500ms",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "15s",
    "search_path": "pg_catalog",
    "jit": "off",
    "timezone": "UTC",
    "max_parallel_workers_per_gather": "0",
}
QUERIES_PACKAGE = "pliers_db.health"


def load(name: str, version_num: int = 0) -> LiteralString:
    """The text of a query, in its variant for a server: ``query_17`` is for 17 and newer.

    :param name: ``file.query`` below ``sql/``.
    """
    file, _, query = name.partition(".")
    queries = load_queries(QUERIES_PACKAGE, f"sql/{file}.sql")
    for major in range(version_num // 10000, 14, -1):
        if f"{query}_{major}" in queries:
            return queries[f"{query}_{major}"]
    return queries[query]


class Session:
    """An open connection; a context manager. At the deadline its socket is shut, so that no wait outlives it."""

    def __init__(self, target: Target, deadline: float) -> None:
        """:param deadline: when to end, on the clock of ``time.monotonic``.
        :raises ConnectFailed: with the real cause.
        """
        self.target = target
        self.deadline = deadline
        self.expired = False
        began = time.monotonic()
        self._conn: Connection = connect(target, application_name=APPLICATION_NAME)
        self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._cut)
        self._timer.daemon = True
        self._timer.start()
        try:
            row = self._conn.execute("select pg_backend_pid()").fetchone()
            self.latency = time.monotonic() - began
            # libpq was told another process than the one that answers: a pooler stands between.
            self.pooled = row is None or row[0] != self._conn.info.backend_pid
            if not self.pooled:
                self._conn.execute(f"set default_transaction_read_only = on; {_set('set')}".encode())
        except BaseException:
            self.close()
            raise

    def fetch(self, query: LiteralString, params: Mapping[str, Any] | None = None) -> Rows:
        """The rows of a query, as mappings.

        Behind a pooler a session's settings would stay with a server connection that others use next, so there each
        query has a transaction with settings of its own.
        """
        with self._conn.cursor(row_factory=dict_row) as cursor:
            if not self.pooled:
                return cursor.execute(query, params).fetchall()
            with self._conn.transaction():
                self._conn.execute(f"set transaction read only; {_set('set local')}".encode())
                return cursor.execute(query, params, prepare=False).fetchall()

    @property
    def broken(self) -> bool:
        """Whether the connection is gone."""
        return self._conn.closed

    @contextmanager
    def as_others_see_it(self) -> Iterator[Connection]:
        """The connection with the role's own search path, for functions of other packages."""
        if self.pooled:
            with self._conn.transaction():
                self._conn.execute(f"set transaction read only; {_set('set local')}; reset search_path".encode())
                yield self._conn
            return
        self._conn.execute("reset search_path")
        try:
            yield self._conn
        finally:
            if not self._conn.broken:
                self._conn.execute(f"set search_path = '{_SETTINGS['search_path']}'".encode())

    def close(self) -> None:
        """Close it; a wait of the watchdog ends too."""
        self._timer.cancel()
        self._conn.close()

    def _cut(self) -> None:
        # statement_timeout is the server's and a hung server keeps no promises; TCP keepalives are answered by its
        # kernel. Shutting our side of the socket ends the wait at once (research: health §1.4).
        self.expired = True
        try:
            duplicate = socket.socket(fileno=os.dup(self._conn.fileno()))
        except (OSError, psycopg.Error):
            return  # closed meanwhile
        with duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _set(verb: str) -> str:
    return "; ".join(f"{verb} {name} = '{value}'" for name, value in _SETTINGS.items())
