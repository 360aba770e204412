"""`AsyncDatabase`: the pool for tasks."""

from __future__ import annotations

import asyncio
import sys
import time
from types import FrameType, TracebackType
from typing import Any, Self

import psycopg
from psycopg.abc import AdaptContext
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from pliers_db.aio.connection import PooledConnection
from pliers_db.aio.supply import AsyncSupply
from pliers_db.config import PoolSettings, Settings, Target
from pliers_db.db.lender import Lender
from pliers_db.db.replica import POSITION
from pliers_db.db.transaction import CommitLost, begin, commit, rollback
from pliers_db.db.watchdog import WATCHDOG
from pliers_db.errors import ConnectFailed, InputError, PoolClosing

AsyncConnection = psycopg.AsyncConnection[Any]


class AsyncDatabase(Lender):
    """A lazily opened, bounded pool of connections to one database, for the tasks of one event loop.

    The twin of `pliers_db.Database`: same settings, same promises::

        async with AsyncDatabase(settings) as database:
            async with database.connection() as conn:
                await conn.execute("select 1")
    """

    _supply: AsyncSupply | None

    def __init__(
        self,
        target: Target | Settings,
        pool: PoolSettings | None = None,
        *,
        application_name: str = "pliers-db",
        adapters: AdaptContext | None = None,
    ) -> None:
        """:param target: where to connect; or the settings, which say it all.
        :param pool: limits and timeouts; default: those of the settings, or of `PoolSettings`.
        :param application_name: shown in ``pg_stat_activity``.
        :param adapters: of every connection, see `load_adapters`.
        """
        super().__init__(target, pool, application_name, adapters)
        self._reader: AsyncDatabase | None = None

    # ── replicas ────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def reader(self) -> AsyncDatabase | None:
        """The pool for reads, where the URL names several hosts: of a standby if one can be reached."""
        if self._read_target is None:
            return None
        if self._reader is None:
            name = f"{self.application_name}/read"
            self._reader = AsyncDatabase(self._read_target, self.limits, application_name=name, adapters=self.adapters)
        return self._reader

    async def position(self) -> str:
        """Where the primary's log stands: ask after a write, pass it as ``run_transaction(…, after=)`` to a read that
        must see that write. One round trip.
        """
        async with self.connection(autocommit=True) as conn:
            row = await (await conn.execute(POSITION)).fetchone()
            assert row is not None
            return str(row[0])

    # ── borrowing ───────────────────────────────────────────────────────────────────────────────────────────
    def connection(
        self, *, autocommit: bool = False, timeout: float | None = None, deadline: float | None = None
    ) -> Checkout:
        """Borrow a connection for an ``async with`` block; it goes back clean, whatever was done to it.

        Without ``autocommit`` the block is one transaction: committed at its end, rolled back on any error. When its
        task is cancelled the block ends at once, and the statement is ended and rolled back behind it.

        :param timeout: seconds to wait for a free connection; default: the pool's checkout timeout.
        :param deadline: seconds after which a server that does not answer is cut off.
        :raises ConnectFailed: at once, with the real cause.
        :raises PoolExhausted: all connections stayed in use, or too many borrowers wait already.
        :raises CircuitOpen: at once, after the server could not be reached several times.
        :raises DeadlinePassed: the server did not answer by the deadline.
        :raises TransactionAborted: an error of the server was swallowed in the block: nothing is committed.
        :raises CommitUnknown: the connection broke during the COMMIT.
        """
        return Checkout(self, autocommit, timeout, deadline)

    async def borrow(
        self, timeout: float | None = None, deadline: float | None = None, borrower: FrameType | None = None
    ) -> PooledConnection:
        """Borrow a connection (in autocommit) where no ``async with`` fits; it must come back by `give_back`.

        :param borrower: the place that a leak is reported with; default: the caller.
        """
        if self._draining:
            raise PoolClosing(f"The pool of {self.target} is closing", fix="Nothing may borrow after drain().")
        supply = self._supply
        if supply is None or supply.loop is not asyncio.get_running_loop():
            supply = self._opened()
        began = time.monotonic()
        limit = self.limits.checkout_timeout if timeout is None else timeout
        try:
            conn = await supply.take(began, limit)
        except ConnectFailed:
            self._refused += 1
            raise
        except (PoolTimeout, TooManyRequests, PoolClosed) as error:
            self._refused += 1
            raise self._exhausted(error, limit) from None
        self._lend(conn, began, deadline, borrower or sys._getframe(1))
        return conn

    def give_back(self, conn: PooledConnection) -> None:
        """Return a borrowed connection. Never waits: no cancellation can come between."""
        if now := self._returned(conn):
            conn.supply.put(conn, now)

    async def enter(self, timeout: float | None, deadline: float | None, borrower: FrameType) -> PooledConnection:
        """`borrow` through the circuit breaker; to be given back by `leave`."""
        era = self.breaker.enter()
        try:
            conn = await self.borrow(timeout, deadline, borrower)
        except ConnectFailed as error:
            self.breaker.leave(era, error)
            raise
        except BaseException:
            self.breaker.leave(era, None, cancelled=True)
            raise
        conn.era = era
        return conn

    def ready(self, deadline: float | None, borrower: FrameType) -> PooledConnection | None:
        """`enter`, if that is possible without waiting, as it mostly is."""
        supply, breaker = self._supply, self.breaker
        if supply is None or breaker.opened_at is not None or self._draining:
            return None
        began = time.monotonic()
        conn = supply.ready(began)
        if conn is not None:
            conn.era = breaker.era
            self._lend(conn, began, deadline, borrower)
        return conn

    def _opened(self) -> AsyncSupply:
        old = self._supply
        if old is not None and not old.loop.is_closed():
            raise InputError(
                "This AsyncDatabase belongs to another event loop",
                why="Its connections wait in the loop that opened them.",
                fix="Make one AsyncDatabase for each event loop.",
            )
        # A loop that has ended took its connections with it: asyncio.run() may be called again.
        self._reset_figures()
        self._supply = AsyncSupply(
            self.target, self.limits, self.application_name, on_open=self._book.register, adapters=self.adapters
        )
        WATCHDOG.watch(self)
        return self._supply

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────
    async def drain(self, timeout: float = 10.0) -> int:
        """Shut down in good order: lend nothing more, wait for what is out, cut what does not come back.

        :param timeout: seconds to wait for the borrowers.
        :returns: how many connections had to be cut; each is logged with its borrower.
        """
        self._draining = True
        deadline = time.monotonic() + timeout
        while self._book and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        late = self._cut_all()
        await self.close()
        return late

    async def close(self) -> None:
        """Close every connection; borrowing again opens anew (unless `drain` was called)."""
        supply, self._supply = self._supply, None
        reader, self._reader = self._reader, None
        WATCHDOG.unwatch(self)
        if supply is not None and not supply.loop.is_closed():
            await supply.close()
        if reader is not None:
            await reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Checkout:
    """One loan as an ``async with`` block; made by `AsyncDatabase.connection`."""

    __slots__ = ("_autocommit", "_conn", "_database", "_deadline", "_timeout")

    _conn: PooledConnection

    def __init__(
        self, database: AsyncDatabase, autocommit: bool, timeout: float | None, deadline: float | None
    ) -> None:
        self._database = database
        self._autocommit = autocommit
        self._timeout = timeout
        self._deadline = deadline

    async def __aenter__(self) -> AsyncConnection:
        database = self._database
        borrower = sys._getframe(1)
        conn = database.ready(self._deadline, borrower)
        self._conn = conn = conn or await database.enter(self._timeout, self._deadline, borrower)
        if not self._autocommit:
            try:
                await conn.perform(begin(conn), None)
            except BaseException as error:
                if overdue := database.leave(conn, error):
                    raise overdue from error
                raise
        return conn

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        conn = self._conn
        if not self._autocommit:
            try:
                if error is None:
                    async with conn.lock:
                        await conn.perform(commit(conn), None)
                elif isinstance(error, Exception) and not conn.closed:
                    async with conn.lock:
                        await conn.perform(rollback(conn), None)
                # else: it is cancelled; the pool rolls back
            except CommitLost as lost:
                self._database.leave(conn, lost.__cause__)
                raise self._database.commit_unknown(conn, "the block") from lost.__cause__
            except BaseException as late:
                self._database.leave(conn, late)
                raise
        if overdue := self._database.leave(conn, error):
            raise overdue from error
        return isinstance(error, psycopg.Rollback) or None
