"""The connections behind `Database`: opened in the background, failing loudly, coming back clean."""

from __future__ import annotations

import logging
import threading
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool
from psycopg_pool.base import AttemptWithBackoff
from psycopg_pool.pool import AddConnection, MaintenanceTask

from pliers_db.config import PoolSettings, Target
from pliers_db.db.connect import explain, startup
from pliers_db.db.session import Baseline, wipe
from pliers_db.errors import ConnectFailed

log = logging.getLogger("pliers_db.pool")


class PooledConnection(psycopg.Connection[Any]):
    """A connection that knows how it was when it was opened."""

    baseline: Baseline


class Supply(ConnectionPool[PooledConnection]):
    """psycopg's pool, with three of its habits changed.

    - A failed connect reaches the waiting borrowers at once, with its cause. psycopg's pool goes on trying in the
      background and lets them wait for "pool timeout". Here the next borrower's request is the next try.
    - It grows only for borrowers that no connection under way will serve: a command opens one, not two.
    - A returned connection is wiped by the thread that returns it; one that cannot be wiped is dropped.

    These are private methods of psycopg_pool: pyproject.toml allows only the minor version they were tried with.
    """

    def __init__(self, target: Target, limits: PoolSettings, application_name: str, *, one_shot: bool) -> None:
        self._target = target
        self._live: WeakSet[PooledConnection] = WeakSet()
        self._coming = 0  # connections asked of the workers and neither there nor failed yet
        self._coming_lock = threading.Lock()
        super().__init__(
            kwargs=startup(target, limits, application_name=application_name),
            connection_class=PooledConnection,
            min_size=1 if one_shot else limits.min_size,
            max_size=limits.max_size,
            timeout=limits.checkout_timeout,
            max_idle=limits.idle_timeout,
            num_workers=1 if one_shot else 3,
            name=application_name,
            open=True,
        )

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
            conn = self._connect()
            conn.baseline = Baseline(conn)
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits for the news
            self._give_up(error, growing)
            return
        with self._lock:
            self._live.add(conn)
        self._add_to_pool(conn)
        with self._coming_lock:
            self._coming -= 1
        if growing:
            with self._lock:
                self._growing = False
                if self._nconns < self._min_size or self._waiting:
                    super()._maybe_grow_pool()

    def _give_up(self, error: Exception, growing: bool) -> None:
        """Free the slot and, if no connection can come any more, tell everybody who waits."""
        refused = explain(error, self._target) if isinstance(error, psycopg.Error) else error
        log.warning("connect failed: %s: %s", refused, getattr(refused, "why", ""))
        with self._coming_lock:
            self._coming -= 1
        with self._lock:
            self._nconns -= 1
            if growing:
                self._growing = False
            if self._coming or any(not conn.closed for conn in self._live):
                return
            waiting = list(self._waiting)
            self._waiting.clear()
        for client in waiting:
            client.fail(refused.again() if isinstance(refused, ConnectFailed) else refused)

    def _reset_connection(self, conn: PooledConnection) -> None:
        status = conn.pgconn.transaction_status
        if status == TransactionStatus.UNKNOWN:
            return
        try:
            if status == TransactionStatus.ACTIVE:
                raise psycopg.OperationalError("it was returned in the middle of a statement")
            wipe(conn, conn.baseline)
        except Exception as error:  # noqa: BLE001  a connection that cannot be cleaned is dropped
            log.warning("dropping a connection that cannot be cleaned: %s", error)
            self._close_connection(conn)
