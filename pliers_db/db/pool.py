"""The one connection pool of a process."""

from __future__ import annotations

import os
import sys
import threading
import time
from time import monotonic
from types import FrameType, TracebackType
from typing import Self, cast
from weakref import WeakSet

import psycopg
from psycopg.abc import AdaptContext
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from pliers_db.config import PoolSettings, Settings, Target
from pliers_db.db.connect import Connection
from pliers_db.db.connection import PooledConnection
from pliers_db.db.lender import Lender
from pliers_db.db.replica import POSITION
from pliers_db.db.supply import Supply
from pliers_db.db.transaction import CommitLost, begin, commit, rollback
from pliers_db.db.watchdog import WATCHDOG
from pliers_db.errors import ConnectFailed, PoolClosing
from pliers_db.log import get_logger

log = get_logger(__name__)


class Database(Lender):
    """A lazily opened, bounded pool of connections to one database. Threads may share it.

    Everything that speaks SQL borrows from here::

        with Database(target) as database, database.connection() as conn:
            conn.execute("select 1")
    """

    _supply: Supply | None

    def __init__(
        self,
        target: Target | Settings,
        pool: PoolSettings | None = None,
        *,
        application_name: str = "pliers-db",
        adapters: AdaptContext | None = None,
        one_shot: bool = False,
    ) -> None:
        """:param target: where to connect; or the settings, which say it all.
        :param pool: limits and timeouts; default: those of the settings, or of `PoolSettings`.
        :param application_name: shown in ``pg_stat_activity``.
        :param adapters: of every connection, see `load_adapters`.
        :param one_shot: a command that ends soon: open one connection first, more only when borrowed.
        """
        super().__init__(target, pool, application_name, adapters)
        self._one_shot = one_shot
        self._reader: Database | None = None
        self._lock = threading.Lock()
        _databases.add(self)

    # ── replicas ────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def reader(self) -> Database | None:
        """The pool for reads, where the URL names several hosts: of a standby if one can be reached."""
        if self._read_target is None:
            return None
        with self._lock:
            if self._reader is None:
                name = f"{self.application_name}/read"
                self._reader = Database(self._read_target, self.limits, application_name=name, adapters=self.adapters)
            return self._reader

    def position(self) -> str:
        """Where the primary's log stands: ask after a write, pass it as ``run_transaction(…, after=)`` to a read that
        must see that write. One round trip.
        """
        with self.connection(autocommit=True) as conn:
            row = conn.execute(POSITION).fetchone()
            assert row is not None
            return str(row[0])

    # ── borrowing ───────────────────────────────────────────────────────────────────────────────────────────
    def connection(
        self, *, autocommit: bool = False, timeout: float | None = None, deadline: float | None = None
    ) -> Checkout:
        """Borrow a connection for a ``with`` block; it goes back clean, whatever was done to it.

        Without ``autocommit`` the block is one transaction: committed at its end, rolled back on any error.

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

    def borrow(
        self, timeout: float | None = None, deadline: float | None = None, borrower: FrameType | None = None
    ) -> PooledConnection:
        """Borrow a connection (in autocommit) where no ``with`` fits; every one must come back by `give_back`.

        :param borrower: the place that a leak is reported with; default: the caller.
        """
        if self._draining:
            raise PoolClosing(f"The pool of {self.target} is closing", fix="Nothing may borrow after drain().")
        supply = self._supply or self._opened()
        began = monotonic()
        limit = self.limits.checkout_timeout if timeout is None else timeout
        try:
            conn = supply.take(began, limit)
        except ConnectFailed as error:
            self._refused += 1
            raise error.again() from None
        except (PoolTimeout, TooManyRequests, PoolClosed) as error:
            self._refused += 1
            raise self._exhausted(error, limit) from None
        self._lend(conn, began, deadline, borrower or sys._getframe(1))
        return conn

    def give_back(self, conn: PooledConnection) -> None:
        """Return a borrowed connection; it is cleaned, or dropped if it cannot be."""
        now = self._returned(conn)
        supply = cast("Supply | None", conn._pool)
        if not now or supply is None:
            return
        try:
            supply.put(conn, now)
        except BaseException:
            # Ctrl-C in the middle of the clean-up: the connection is lost, its slot must not be.
            if conn._pool is not None:
                supply.discard(conn)
            raise

    def enter(self, timeout: float | None, deadline: float | None, borrower: FrameType) -> PooledConnection:
        """`borrow` through the circuit breaker; to be given back by `leave`."""
        breaker = self.breaker
        era = breaker.enter() if breaker.opened_at is not None else breaker.era
        try:
            conn = self.borrow(timeout, deadline, borrower)
        except ConnectFailed as error:
            self.breaker.leave(era, error)
            raise
        except BaseException:
            self.breaker.leave(era, None, cancelled=True)
            raise
        conn.era = era
        return conn

    def _opened(self) -> Supply:
        with self._lock:
            if self._supply is None:
                self._supply = Supply(
                    self.target,
                    self.limits,
                    self.application_name,
                    one_shot=self._one_shot,
                    on_open=self._book.register,
                    adapters=self.adapters,
                )
                WATCHDOG.watch(self)
            return self._supply

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────
    def drain(self, timeout: float = 10.0) -> int:
        """Shut down in good order: lend nothing more, wait for what is out, cut what does not come back.

        :param timeout: seconds to wait for the borrowers.
        :returns: how many connections had to be cut; each is logged with its borrower.
        """
        self._draining = True
        deadline = time.monotonic() + timeout
        while self._book and time.monotonic() < deadline:
            time.sleep(0.01)
        late = self._cut_all()
        self.close()
        return late

    def close(self) -> None:
        """Close every connection; borrowing again opens anew (unless `drain` was called)."""
        with self._lock:
            supply, self._supply = self._supply, None
            reader, self._reader = self._reader, None
        WATCHDOG.unwatch(self)
        if supply is not None:
            supply.close()
        if reader is not None:
            reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _after_fork(self) -> None:
        """In a forked child: the connections belong to the parent. Keep them untouched, open our own."""
        if self._supply is not None:
            _parents.append(self._supply)
        self._supply, self._reader, self._lock = None, None, threading.Lock()
        self._reset_figures()


class Checkout:
    """One loan as a ``with`` block; made by `Database.connection`."""

    __slots__ = ("_autocommit", "_conn", "_database", "_deadline", "_timeout")

    _conn: PooledConnection

    def __init__(self, database: Database, autocommit: bool, timeout: float | None, deadline: float | None) -> None:
        self._database = database
        self._autocommit = autocommit
        self._timeout = timeout
        self._deadline = deadline

    def __enter__(self) -> Connection:
        database = self._database
        self._conn = conn = database.enter(self._timeout, self._deadline, sys._getframe(1))
        if not self._autocommit:
            try:
                conn.perform(begin(conn), None)
            except BaseException as error:
                if overdue := database.leave(conn, error):
                    raise overdue from error
                raise
        return conn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        conn = self._conn
        if not self._autocommit:
            try:
                if error is None:
                    with conn.lock:
                        conn.perform(commit(conn), None)
                elif not conn.closed:
                    with conn.lock:
                        conn.perform(rollback(conn), None)
            except CommitLost as lost:
                self._database.leave(conn, lost.__cause__)
                raise self._database.commit_unknown(conn, "the block") from lost.__cause__
            except BaseException as late:
                self._database.leave(conn, late)
                raise
        if overdue := self._database.leave(conn, error):
            raise overdue from error
        return isinstance(error, psycopg.Rollback) or None


_databases: WeakSet[Database] = WeakSet()
_parents: list[Supply] = []


def _after_fork() -> None:
    for database in list(_databases):
        database._after_fork()


os.register_at_fork(after_in_child=_after_fork)
