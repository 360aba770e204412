"""The one connection pool of a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout

from pliers_db.config import PoolSettings, Target
from pliers_db.db.connect import Connection, connect
from pliers_db.errors import PoolExhausted

# Not DISCARD ALL: it frees prepared statements that psycopg believes to be there (research: health §2.2).
_RESET = (
    "reset all; reset role; reset session authorization; close all; unlisten *; discard temp; "
    "select pg_advisory_unlock_all()"
)


class Database:
    """A lazily opened, bounded pool of connections to one database.

    Everything that speaks SQL borrows from here::

        with Database(target) as database, database.connection() as conn:
            conn.execute("select 1")
    """

    def __init__(
        self,
        target: Target,
        pool: PoolSettings | None = None,
        *,
        application_name: str = "pliers-db",
        one_shot: bool = False,
    ) -> None:
        """:param pool: limits and timeouts; default: those of `PoolSettings`.
        :param application_name: shown in ``pg_stat_activity``.
        :param one_shot: a command that ends soon: open one connection first, more only when borrowed.
        """
        self.target = target
        self.limits = pool or PoolSettings()
        self.application_name = application_name
        self._one_shot = one_shot
        self._pool: ConnectionPool[Connection] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def connection(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """Borrow a connection; it goes back clean.

        Without ``autocommit`` the block is one transaction: committed at its end, rolled back on any error.

        :raises ConnectFailed: at once, with the real cause.
        :raises PoolExhausted: all connections stayed in use for the checkout timeout.
        """
        pool = self._opened()
        try:
            conn = pool.getconn(timeout=self.limits.checkout_timeout)
        except PoolTimeout as error:
            raise PoolExhausted(
                f"No free connection to {self.target} within {self.limits.checkout_timeout:g} s",
                why=f"All {self.limits.max_size} connections of the pool are in use.",
                fix="Raise DB_POOL_MAX, or look for work that keeps connections too long.",
            ) from error
        try:
            if autocommit:
                conn.autocommit = True
                yield conn
            else:
                with conn.transaction():
                    yield conn
        finally:
            pool.putconn(conn)

    def _opened(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None:
                # The pool would hide the reason of a failed connect behind its own timeout.
                connect(self.target, application_name=self.application_name).close()
                self._pool = ConnectionPool(
                    kwargs={
                        **self.target.parameters(),
                        "application_name": self.application_name,
                    },
                    connection_class=psycopg.Connection,
                    min_size=1 if self._one_shot else self.limits.min_size,
                    max_size=self.limits.max_size,
                    timeout=self.limits.checkout_timeout,
                    max_idle=self.limits.idle_timeout,
                    reset=_reset,
                    open=True,
                )
            return self._pool

    def close(self) -> None:
        """Close every connection; borrowing again opens anew."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
                self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _reset(conn: Connection) -> None:
    """Bring a connection back to the state it was opened in."""
    if conn.info.transaction_status != TransactionStatus.IDLE:
        conn.rollback()
    conn.autocommit = True
    conn.execute(_RESET)
    conn.autocommit = False
