"""A connection of the pool: it takes notice of what runs on it, by whatever way psycopg runs it."""

from __future__ import annotations

from logging import DEBUG
from time import monotonic
from typing import Any, Final, Self, TypeVar, cast

import psycopg
from psycopg.abc import Params, PQGen, Query
from psycopg.errors import _NO_TRACEBACK
from psycopg.pq import ConnStatus

from pliers_db.config import PoolSettings
from pliers_db.db.lent import Lent
from pliers_db.db.pgbouncer import Passage
from pliers_db.db.querylog import finished
from pliers_db.db.querylog import log as queries

T = TypeVar("T")
OK: Final = ConnStatus.OK

_wait = psycopg.Connection.wait  # this runs for every statement: super() would cost more than what it is used for


class PooledConnection(Lent, psycopg.Connection[Any]):
    """A connection of the pool."""

    def prepare(self, limits: PoolSettings, passage: Passage) -> None:
        if self.cursor_factory is psycopg.Cursor:
            self.cursor_factory = PooledCursor
        super().prepare(limits, passage)

    def execute(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool = False
    ) -> psycopg.Cursor[Any]:
        if type(query) is not str or binary or self.cursor_factory is not PooledCursor or self.pgconn.status != OK:
            return super().execute(cast(Any, query), params, prepare=prepare, binary=binary)
        return PooledCursor(self, row_factory=self.row_factory).execute(query, params, prepare=prepare)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        return self.perform(gen, self.note(gen), interval, timeout)

    def perform(self, gen: PQGen[T], statement: Any, interval: float = 0.1, timeout: float | None = None) -> T:
        """`wait`, for a statement that has been noted.

        :param statement: for the log; None: it is none.
        """
        self.busy_since = begun = monotonic()
        try:
            result = _wait(self, gen, interval, timeout)
        except BaseException as error:
            self.busy_since = 0.0
            if statement is not None:
                finished(self, statement, begun, error)
            raise
        self.busy_since = 0.0
        if (statement is not None and queries.isEnabledFor(DEBUG)) or monotonic() - begun >= self.slow:
            finished(self, statement or gen.__name__, begun)  # type: ignore[attr-defined]
        return result


class PooledCursor(psycopg.Cursor[Any]):
    """The cursor of everyday: it hands its statement on, where `Lent.note` has to search for it."""

    _conn: PooledConnection

    def execute(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Self:
        conn = self._conn
        try:
            with conn.lock:
                conn.tread(query)
                conn.perform(self._execute_gen(query, params, prepare=prepare, binary=binary), query)
        except _NO_TRACEBACK as error:
            raise error.with_traceback(None)  # noqa: B904  as psycopg does
        return self
