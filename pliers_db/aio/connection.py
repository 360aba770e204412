"""A connection for tasks: a cancelled statement is ended behind its task's back, and the connection is kept."""

from __future__ import annotations

import asyncio
import contextlib
import time
from logging import DEBUG
from typing import Any, Final, TypeVar

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from pliers_db.db.lent import Lent
from pliers_db.db.querylog import finished
from pliers_db.db.querylog import log as queries
from pliers_db.log import get_logger

log = get_logger(__name__)
T = TypeVar("T")
ACTIVE: Final = TransactionStatus.ACTIVE

GRACE: Final = 2.0
"""Seconds that a server gets to end a cancelled statement before its connection is cut."""

# Asking the server to cancel these would gain nothing, and a COMMIT that waits for a standby would be
# acknowledged without it (PostgreSQL documentation, synchronous_commit).
_BRIEF: Final = frozenset({"begin", "commit", "rollback", "_commit_gen", "_rollback_gen", "_enter_gen", "_exit_gen"})


class PooledConnection(Lent, psycopg.AsyncConnection[Any]):
    """A connection of the async pool."""

    supply: Any
    """The pool that it belongs to."""
    _pool = None  # psycopg: a connection that has this may be forgotten without a warning; our book of loans warns
    mending: asyncio.Task[None] | None = None
    """Ends the statement of a task that was cancelled; None: there is none."""

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Run a statement.

        psycopg keeps a cancelled task waiting for up to ten seconds when the server is silent (psycopg #1371). Here
        it is free at once: the statement is cancelled in the background, and whoever uses the connection next (the
        task's own clean-up, or the pool) waits until that is done.
        """
        if self.mending is not None:
            await self.mended()
        statement = self.note(gen)
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
