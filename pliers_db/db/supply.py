"""The connections behind `Database`: opened in the background, failing loudly, coming back clean."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Final
from weakref import WeakSet

import psycopg
from psycopg.abc import AdaptContext
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout
from psycopg_pool.base import AttemptWithBackoff
from psycopg_pool.pool import AddConnection, MaintenanceTask

from pliers_db.config import PoolSettings, Target
from pliers_db.db.connect import explain
from pliers_db.db.connection import PooledConnection
from pliers_db.db.lent import NOTHING, SESSION
from pliers_db.db.pgbouncer import Passage, noticed
from pliers_db.db.session import finish_wipe, send_wipe
from pliers_db.errors import ConnectFailed
from pliers_db.log import get_logger

log = get_logger(__name__)
IDLE: Final = int(TransactionStatus.IDLE)

FRESH: Final = 0.02
"""Seconds. A connection that came back just now is lent without a look at its socket: under load that would be a
system call for nothing. Once one turns out broken, all are looked at."""


class Supply(ConnectionPool[PooledConnection]):
    """psycopg's pool, with some of its habits changed.

    - A failed connect reaches the waiting borrowers at once, with its cause. psycopg's pool goes on trying in the
      background and lets them wait for "pool timeout". Here the next borrower's request is the next try.
    - It grows only for borrowers that no connection under way will serve: a command opens one, not two.
    - A connection that the server has hung up on is not lent.
    - A returned connection is wiped, if what ran on it calls for it; one that cannot be wiped is dropped.

    These are private methods of psycopg_pool: pyproject.toml allows only the minor version they were tried with.
    """

    def __init__(
        self,
        target: Target,
        limits: PoolSettings,
        application_name: str,
        *,
        one_shot: bool,
        on_open: Callable[[PooledConnection], None],
        adapters: AdaptContext | None = None,
    ) -> None:
        """:param on_open: called with each new connection, in the thread of a worker."""
        self._target = target
        self._limits = limits
        self._passage = Passage(target, limits, application_name, adapters)
        self._on_open = on_open
        self._live: WeakSet[PooledConnection] = WeakSet()
        self._coming = 0  # connections asked of the workers and neither there nor failed yet
        self._coming_lock = threading.Lock()
        self.connected = self.failed = self.hung_up = self.unclean = 0
        super().__init__(
            kwargs=lambda: self._passage.parameters,
            connection_class=PooledConnection,
            min_size=1 if one_shot else limits.min_size,
            max_size=limits.max_size,
            max_waiting=limits.max_waiting,
            max_lifetime=limits.max_lifetime,
            timeout=limits.checkout_timeout,
            max_idle=limits.idle_timeout,
            num_workers=1 if one_shot else 3,
            name=application_name,
            open=True,
        )

    # ── lending ─────────────────────────────────────────────────────────────────────────────────────────────
    def take(self, now: float, timeout: float) -> PooledConnection:
        """Take a connection that is alive and clean.

        :param now: by ``time.monotonic``.
        :param timeout: seconds to wait for one.
        :raises ConnectFailed: the server cannot be reached, and no connection is left to wait for.
        :raises PoolTimeout, TooManyRequests, PoolClosed: as psycopg's pool does.
        """
        deadline = now + timeout
        while True:
            try:
                # `getconn` without its lock, its logging and counting: `_settle` says what makes up for that. The one
                # that came back last serves best, its server process is warm.
                conn = self._pool.pop()
            except IndexError:
                conn = self.getconn(max(0.0, deadline - time.monotonic()))
            else:
                if conn.wiping is SESSION:
                    conn = self._exchange(conn)
                if len(self._pool) < self._nconns_min:  # noqa: PLR1730  min() would cost as much as the lock
                    self._nconns_min = len(self._pool)
                conn._pool = self
                if self._closed:
                    self.discard(conn)
                    continue
            if now < conn.fit_until:
                return conn
            try:
                if conn.wiping:
                    finish_wipe(conn, deadline)
                    conn.wiping = NOTHING
                elif conn.dead():
                    raise psycopg.OperationalError("the server has hung up")
            except psycopg.Error as error:
                log.info("replacing a connection: %s", error)
                self.hung_up += 1
                self.discard(conn)
                now = time.monotonic()
                if now >= deadline:
                    raise PoolTimeout from None
            except BaseException:
                self.discard(conn)
                raise
            else:
                return conn

    def _exchange(self, conn: PooledConnection) -> PooledConnection:
        """Another resting connection, if there is one, for one whose clean-up may take its time (temporary tables).

        After mere reads and writes it takes some microseconds, and another server process would have to wake up.
        """
        try:
            other = self._pool.popleft()
        except IndexError:
            return conn
        self._pool.append(conn)
        if self._waiting or self._closed:
            self._settle()
        return other

    def put(self, conn: PooledConnection, now: float) -> None:
        """Take a lent connection back: `putconn` without its lock, its logging and checks.

        :param now: by ``time.monotonic``.
        """
        conn.back_at = now
        if conn.footprint is NOTHING and conn.pgconn.transaction_status == IDLE and now < conn._expire_at:
            conn.fit_until = now + FRESH
            if conn.stirred or not conn.baseline.stands(conn):
                conn.baseline.restore(conn)
            if not self._waiting and not self._closed:
                conn._pool = None
                self._pool.append(conn)
                if self._waiting or self._closed:
                    self._settle()
                return
        if self._closed:
            self._close_connection(conn)
        else:
            self._return_connection(conn, from_getconn=False)

    def _settle(self) -> None:
        """Somebody came to wait, or closed the pool, just when a connection was put to rest without the lock.

        What a lock would cost twice is a tenth of a checkout. Without it, `take` and `put` only pop from the deque and
        append to it, each in one step; whoever waits looks again once he stands in line (`_maybe_grow_pool`), whoever
        appends looks whether somebody has come, and what psycopg does under the lock may find the deque emptied.
        """
        while self._waiting or self._closed:
            try:
                conn = self._pool.popleft()
            except IndexError:
                return
            self._add_to_pool(conn)

    def _get_ready_connection(self, timeout: float | None) -> PooledConnection | None:
        while True:
            try:
                return super()._get_ready_connection(timeout)
            except IndexError:  # taken between its look and its grip
                continue

    def _shrink_pool(self) -> None:
        with contextlib.suppress(IndexError):  # likewise
            super()._shrink_pool()

    def discard(self, conn: PooledConnection) -> None:
        """Close a lent connection; its slot is free for a new one."""
        conn.close()
        if conn._pool is not None:
            self.put(conn, time.monotonic())

    def forget(self) -> None:
        """A lent connection is gone for good, garbage-collected: its slot is free for a new one."""
        with self._lock:
            self._nconns -= 1
            if self._waiting:
                self._maybe_grow_pool()

    # ── connecting ──────────────────────────────────────────────────────────────────────────────────────────
    def run_task(self, task: MaintenanceTask) -> None:
        if isinstance(task, AddConnection):
            with self._coming_lock:
                self._coming += 1
        super().run_task(task)

    def _maybe_grow_pool(self) -> None:
        if self._pool:
            self._settle()
        if self._coming < len(self._waiting):
            super()._maybe_grow_pool()

    def _add_connection(self, attempt: AttemptWithBackoff | None, growing: bool = False) -> None:
        try:
            conn = self._arrive()
            self._on_open(conn)
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits for the news
            self._give_up(error, growing)
            return
        with self._lock:
            self._live.add(conn)
            self.connected += 1
        self._add_to_pool(conn)
        with self._coming_lock:
            self._coming -= 1
        with self._lock:
            if growing:
                self._growing = False
            if self._waiting or (growing and self._nconns < self._min_size):
                super()._maybe_grow_pool()

    def _arrive(self) -> PooledConnection:
        """Connect, and find out what stands between."""
        passage = self._passage
        try:
            conn = self._connect()
        except psycopg.OperationalError as error:
            if not passage.refuses(error):
                raise
            conn = self._connect()
        if passage.pooled is None:
            passage.pooled = psycopg.Connection.wait(conn, noticed(conn))
        conn.prepare(self._limits, passage)
        return conn

    def _give_up(self, error: Exception, growing: bool) -> None:
        """Free the slot and, if no connection can come any more, tell everybody who waits."""
        refused = explain(error, self._target) if isinstance(error, psycopg.Error) else error
        log.warning("connect failed: %s: %s", refused, getattr(refused, "why", ""))
        with self._coming_lock:
            self._coming -= 1
        with self._lock:
            self.failed += 1
            self._nconns -= 1
            if growing:
                self._growing = False
            if self._coming or any(not conn.closed for conn in self._live):
                return
            waiting = list(self._waiting)
            self._waiting.clear()
        for client in waiting:
            client.fail(refused.again() if isinstance(refused, ConnectFailed) else refused)

    # ── coming back ─────────────────────────────────────────────────────────────────────────────────────────
    def _reset_connection(self, conn: PooledConnection) -> None:
        status = conn.pgconn.transaction_status
        if status == TransactionStatus.UNKNOWN:
            with self._lock:
                for other in self._live:  # one is broken: look at the others before they are lent
                    other.fit_until = 0.0
            return
        conn.fit_until = conn.back_at + FRESH
        try:
            if status == TransactionStatus.ACTIVE:
                raise psycopg.OperationalError("it was returned in the middle of a statement")
            if status != TransactionStatus.IDLE:
                conn.rollback()
            conn.baseline.restore(conn)
            if conn.footprint is not NOTHING:
                if not conn.pooled:
                    send_wipe(conn, conn.footprint)
                    conn.wiping, conn.fit_until = conn.footprint, 0.0
                conn.footprint = NOTHING
        except Exception as error:  # noqa: BLE001  a connection that cannot be cleaned is dropped
            log.warning("dropping a connection that cannot be cleaned: %s", error)
            self.unclean += 1
            self._close_connection(conn)
