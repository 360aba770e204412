"""A connection for tasks: a cancelled statement is ended behind its task's back, and the connection is kept."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from logging import DEBUG
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

import psycopg
from psycopg import waiting
from psycopg.abc import Params, PQGen, Query
from psycopg.errors import _NO_TRACEBACK
from psycopg.pq import ConnStatus, TransactionStatus

from pliers_db.config import PoolSettings
from pliers_db.db.lent import Lent
from pliers_db.db.pgbouncer import Passage
from pliers_db.db.querylog import finished
from pliers_db.db.querylog import log as queries
from pliers_db.log import get_logger

if TYPE_CHECKING:
    from pliers_db.aio.supply import AsyncSupply

log = get_logger(__name__)
T = TypeVar("T")
ACTIVE: Final = TransactionStatus.ACTIVE
OK: Final = ConnStatus.OK

GRACE: Final = 2.0
"""Seconds that a server gets to end a cancelled statement before its connection is cut."""

# Asking the server to cancel these would gain nothing, and a COMMIT that waits for a standby would be
# acknowledged without it (PostgreSQL documentation, synchronous_commit).
_BRIEF: Final = frozenset({"begin", "commit", "rollback", "_commit_gen", "_rollback_gen", "_enter_gen", "_exit_gen"})


class PooledConnection(Lent, psycopg.AsyncConnection[Any]):
    """A connection of the async pool."""

    supply: AsyncSupply
    """The pool that it belongs to."""
    _pool = None  # psycopg: a connection that has this may be forgotten without a warning; our book of loans warns
    mending: asyncio.Task[None] | None = None
    """Ends the statement of a task that was cancelled; None: there is none."""

    def prepare(self, limits: PoolSettings, passage: Passage) -> None:
        if self.cursor_factory is psycopg.AsyncCursor:
            self.cursor_factory = PooledCursor
        super().prepare(limits, passage)

    def execute(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool = False
    ) -> Coroutine[Any, Any, psycopg.AsyncCursor[Any]]:
        if type(query) is not str or binary or self.cursor_factory is not PooledCursor or self.pgconn.status != OK:
            return super().execute(cast(Any, query), params, prepare=prepare, binary=binary)
        return PooledCursor(self, row_factory=self.row_factory).execute(query, params, prepare=prepare)

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        if self.mending is not None:
            await self.mended()
        return await self.perform(gen, self.note(gen), interval, timeout)

    async def perform(self, gen: PQGen[T], statement: Any, interval: float = 0.1, timeout: float | None = None) -> T:
        """`wait`, for a statement that has been noted.

        psycopg keeps a cancelled task waiting for up to ten seconds when the server is silent (psycopg #1371). Here
        it is free at once: the statement is cancelled in the background, and whoever uses the connection next (the
        task's own clean-up, or the pool) waits until that is done.

        :param statement: for the log; None: it is none.
        """
        if self.mending is not None:
            await self.mended()
        self.busy_since = begun = time.monotonic()
        try:
            result = await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=timeout)
        except BaseException as error:
            if statement is not None:
                finished(self, statement, begun, error)
            self._interrupted(gen, error)
            raise
        finally:
            self.busy_since = 0.0
        if (statement is not None and queries.isEnabledFor(DEBUG)) or time.monotonic() - begun >= self.slow:
            finished(self, statement or gen.__name__, begun)  # type: ignore[attr-defined]
        return result

    def _interrupted(self, gen: Any, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            if self.pgconn.transaction_status == ACTIVE:
                self.mending = asyncio.create_task(self._mend(gen), name="pliers-db: end a cancelled statement")
        elif not isinstance(error, Exception):
            self.cut()  # the loop itself is ending: nobody is left to mend it

    async def mended(self) -> None:
        """Wait until a cancelled statement is out of the way, `GRACE` seconds at most."""
        if self.mending is not None:
            await asyncio.shield(self.mending)

    async def _mend(self, gen: Any) -> None:
        timer = asyncio.get_running_loop().call_later(GRACE, self.cut)
        try:
            if gen.__name__ not in _BRIEF:
                with contextlib.suppress(psycopg.Error, OSError):
                    await self.cancel_safe(timeout=GRACE)
            await waiting.wait_async(gen, self.pgconn.socket, interval=0.1)
        except psycopg.Error as error:  # cancelled, as asked; or cut: the connection's status tells which
            log.debug("a cancelled statement ended: %s", error)
        except Exception as error:  # noqa: BLE001  of a row's loader, for example
            log.info("a cancelled statement ended badly: %r", error)
            self.cut()
        except asyncio.CancelledError:  # the loop is ending
            self.cut()
            raise
        finally:
            timer.cancel()
            self.mending = None

    def hang_up(self) -> None:
        """`close`, without being a coroutine: it may be called while everything is being cancelled."""
        if not self._closed:
            self._closed = True
            self.pgconn.finish()


class PooledCursor(psycopg.AsyncCursor[Any]):
    """The cursor of everyday, as in `pliers_db.db.connection`."""

    _conn: PooledConnection

    async def execute(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Self:
        conn = self._conn
        try:
            async with conn.lock:
                conn.tread(query)
                await conn.perform(self._execute_gen(query, params, prepare=prepare, binary=binary), query)
        except _NO_TRACEBACK as error:
            raise error.with_traceback(None)  # noqa: B904  as psycopg does
        return self
