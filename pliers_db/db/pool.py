"""The one connection pool of a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from pliers_db.config import PoolSettings, Target
from pliers_db.db.connect import Connection
from pliers_db.db.supply import PooledConnection, Supply
from pliers_db.errors import ConnectFailed, PoolExhausted


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
        self._supply: Supply | None = None
        self._lock = threading.Lock()

    @contextmanager
    def connection(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """Borrow a connection; it goes back clean, whatever was done to it.

        Without ``autocommit`` the block is one transaction: committed at its end, rolled back on any error.

        :raises ConnectFailed: at once, with the real cause.
        :raises PoolExhausted: all connections stayed in use for the checkout timeout.
        """
        supply = self._opened()
        conn = self._borrow(supply)
        try:
            if autocommit:
                yield conn
            else:
                with conn.transaction():
                    yield conn
        finally:
            _give_back(supply, conn)

    def _borrow(self, supply: Supply) -> PooledConnection:
        try:
            return supply.getconn()
        except ConnectFailed as error:
            raise error.again() from None
        except TooManyRequests:
            why = f"{supply.max_waiting} others are already waiting for one."
        except PoolTimeout:
            why = f"All {self.limits.max_size} connections stayed in use for {self.limits.checkout_timeout:g} s."
        except PoolClosed:
            why = "The pool was closed meanwhile."
        raise PoolExhausted(
            f"No free connection to {self.target}",
            why=why,
            fix="Raise DB_POOL_MAX, or look for work that keeps connections too long.",
        )

    def _opened(self) -> Supply:
        supply = self._supply
        if supply is not None:
            return supply
        with self._lock:
            if self._supply is None:
                self._supply = Supply(self.target, self.limits, self.application_name, one_shot=self._one_shot)
            return self._supply

    def close(self) -> None:
        """Close every connection; borrowing again opens anew."""
        with self._lock:
            supply, self._supply = self._supply, None
        if supply is not None:
            supply.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _give_back(supply: Supply, conn: PooledConnection) -> None:
    try:
        supply.putconn(conn)
    except BaseException:
        # Ctrl-C in the middle of the clean-up: the connection is lost, its slot must not be.
        if conn._pool is not None:
            conn.close()
            supply.putconn(conn)
        raise
