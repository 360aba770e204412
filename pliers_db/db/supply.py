"""The connections behind `Database`: opened in the background, failing loudly, coming back clean."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from logging import DEBUG
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg
from psycopg.abc import AdaptContext, PQGen
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout
from psycopg_pool.base import AttemptWithBackoff
from psycopg_pool.pool import AddConnection, MaintenanceTask

from pliers_db.config import PoolSettings, Target
from pliers_db.db.connect import explain
from pliers_db.db.footprint import Footprint
from pliers_db.db.lent import Lent
from pliers_db.db.pgbouncer import Passage, noticed
from pliers_db.db.querylog import finished
from pliers_db.db.querylog import log as queries
from pliers_db.db.session import finish_wipe, send_wipe
from pliers_db.errors import ConnectFailed
from pliers_db.log import get_logger

log = get_logger(__name__)
T = TypeVar("T")
IDLE = TransactionStatus.IDLE

# Seconds. A connection that came back just now is lent without a look at its socket: under load that would be a
# system call for nothing. Once one turns out broken, all are looked at.
_FRESH = 0.02


_wait = psycopg.Connection.wait  # this runs for every statement: super() would cost more than what it is used for


class PooledConnection(Lent, psycopg.Connection[Any]):
    """A connection of the pool."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        statement = self.note(gen)
        self.busy_since = begun = time.monotonic()
        try:
            result = _wait(self, gen, interval, timeout)
        except BaseException as error:
            self.busy_since = 0.0
            if statement is not None:
                finished(self, statement, begun, error)
            raise
        self.busy_since = 0.0
        if (statement is not None and queries.isEnabledFor(DEBUG)) or time.monotonic() - begun >= self.slow:
            finished(self, statement or gen.__name__, begun)  # type: ignore[attr-defined]
        return result


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
        self.suspect = 0.0
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
            conn = self._ready() or self.getconn(max(0.0, deadline - time.monotonic()))
            try:
                if conn.wiping:
                    finish_wipe(conn, deadline)
                    conn.wiping = False
                elif (now - conn.back_at > _FRESH or conn.back_at < self.suspect) and conn.dead():
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

    def _ready(self) -> PooledConnection | None:
        """A resting connection, if there is one: `getconn` without its logging and counting.

        The one that came back last serves best, its server process is warm; unless it is still being wiped and
        another one waits.
        """
        with self._lock:
            pool = self._pool
            if not pool or self._closed:
                return None
            conn = pool.popleft() if pool[-1].wiping else pool.pop()
            self._nconns_min = min(self._nconns_min, len(pool))
        conn._pool = self
        return conn

    def put(self, conn: PooledConnection, now: float) -> None:
        """Take a lent connection back: `putconn` without its logging and checks.

        :param now: by ``time.monotonic``.
        """
        conn.back_at = now
        if (
            conn.footprint is Footprint.NOTHING
            and conn.pgconn.transaction_status == IDLE
            and self._drained_at < conn._created_at
            and now < conn._expire_at
        ):
            conn.baseline.restore(conn)
            with self._lock:
                if not self._closed and not self._waiting:
                    conn._pool = None
                    self._pool.append(conn)
                    return
        if self._closed:
            self._close_connection(conn)
        else:
            self._return_connection(conn, from_getconn=False)

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
            self.suspect = conn.back_at  # one is broken: look at the others before they are lent
            return
        try:
            if status == TransactionStatus.ACTIVE:
                raise psycopg.OperationalError("it was returned in the middle of a statement")
            if status != TransactionStatus.IDLE:
                conn.rollback()
            conn.baseline.restore(conn)
            if conn.footprint is not Footprint.NOTHING:
                if not conn.pooled:
                    send_wipe(conn, conn.footprint)
                    conn.wiping = True
                conn.footprint = Footprint.NOTHING
        except Exception as error:  # noqa: BLE001  a connection that cannot be cleaned is dropped
            log.warning("dropping a connection that cannot be cleaned: %s", error)
            self.unclean += 1
            self._close_connection(conn)
