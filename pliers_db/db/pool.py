"""The one connection pool of a process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from pliers_db.config import PoolSettings, Settings, Target
from pliers_db.db.breaker import breaker_for
from pliers_db.db.connect import Connection
from pliers_db.db.histogram import Histogram
from pliers_db.db.leaks import Loan, LoanBook
from pliers_db.db.retry import failure_class
from pliers_db.db.sqlstate import ErrorClass
from pliers_db.db.stats import Borrower, PoolStats
from pliers_db.db.supply import PooledConnection, Supply
from pliers_db.db.transaction import CommitLost, begin, commit, rollback
from pliers_db.db.watchdog import WATCHDOG
from pliers_db.errors import CommitUnknown, ConnectFailed, DeadlinePassed, NoDatabase, PoolClosing, PoolExhausted
from pliers_db.log import get_logger
from pliers_db.units import format_duration

log = get_logger(__name__)


class Database:
    """A lazily opened, bounded pool of connections to one database. Threads may share it.

    Everything that speaks SQL borrows from here::

        with Database(target) as database, database.connection() as conn:
            conn.execute("select 1")
    """

    def __init__(
        self,
        target: Target | Settings,
        pool: PoolSettings | None = None,
        *,
        application_name: str = "pliers-db",
        one_shot: bool = False,
    ) -> None:
        """:param target: where to connect; or the settings, which say it all.
        :param pool: limits and timeouts; default: those of the settings, or of `PoolSettings`.
        :param application_name: shown in ``pg_stat_activity``.
        :param one_shot: a command that ends soon: open one connection first, more only when borrowed.
        """
        if isinstance(target, Settings):
            pool = pool or target.pool
            target = target.target or _embedded(target)
        self.target = target
        self.limits = pool or PoolSettings()
        self.application_name = application_name
        self.breaker = breaker_for(target)
        self._one_shot = one_shot
        self._supply: Supply | None = None
        self._lock = threading.Lock()
        self._draining = False
        self._reset_figures()
        _databases.add(self)

    def _reset_figures(self) -> None:
        self._book = LoanBook(self._dropped)
        self._wait, self._use = Histogram(), Histogram()
        self._refused = self._lost = self._held = self._cut = 0
        self._before: dict[str, int] = {}

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
        self, *, timeout: float | None = None, deadline: float | None = None, depth: int = 2
    ) -> PooledConnection:
        """Borrow a connection (in autocommit) where no ``with`` fits; every one must come back by `give_back`.

        :param depth: how many callers up the borrower stands that a leak is reported with.
        """
        if self._draining:
            raise PoolClosing(f"The pool of {self.target} is closing", fix="Nothing may borrow after drain().")
        supply = self._supply or self._opened()
        began = time.monotonic()
        limit = self.limits.checkout_timeout if timeout is None else timeout
        try:
            conn = supply.take(began, limit)
        except ConnectFailed as error:
            self._refused += 1
            raise error.again() from None
        except (PoolTimeout, TooManyRequests, PoolClosed) as error:
            self._refused += 1
            raise self._exhausted(error, limit) from None
        now = time.monotonic()
        self._wait.record(now - began)
        conn.cut_at = 0.0 if deadline is None else began + deadline
        self._book.open(conn, now, depth)
        if WATCHDOG.asleep:
            WATCHDOG.wake()
        return conn

    def give_back(self, conn: PooledConnection) -> None:
        """Return a borrowed connection; it is cleaned, or dropped if it cannot be."""
        now = time.monotonic()
        since = self._book.close(conn)
        if since:
            self._use.record(now - since)
        supply = conn._pool
        if not isinstance(supply, Supply):
            return
        try:
            supply.put(conn, now)
        except BaseException:
            # Ctrl-C in the middle of the clean-up: the connection is lost, its slot must not be.
            if conn._pool is not None:
                supply.discard(conn)
            raise

    def enter(self, timeout: float | None, deadline: float | None, *, depth: int) -> tuple[int, PooledConnection]:
        """`borrow` through the circuit breaker. :returns: what `leave` wants back."""
        era = self.breaker.enter()
        try:
            return era, self.borrow(timeout=timeout, deadline=deadline, depth=depth + 1)
        except ConnectFailed as error:
            self.breaker.leave(era, error)
            raise
        except BaseException:
            self.breaker.leave(era, None, cancelled=True)
            raise

    def leave(self, era: int, conn: PooledConnection, error: BaseException | None) -> DeadlinePassed | None:
        """`give_back`, and tell the circuit breaker how it went.

        :returns: what to raise instead of ``error``, if the watchdog cut the connection.
        """
        # An error counts if this connection met it: its block may have called other databases too.
        met = isinstance(error, psycopg.Error) and (conn.closed or failure_class(error) is ErrorClass.DISK)
        self.breaker.leave(era, error if met else None, cancelled=error is not None and not met and conn.closed)
        self.give_back(conn)
        if not (met and conn.cut_after):
            return None
        return DeadlinePassed(
            f"No answer from {self.target} for {format_duration(conn.cut_after)}; the connection was cut",
            why="The deadline passed. The statement may have been carried out.",
            fix="Check the server; raise the deadline if the statement is expected to take longer.",
        )

    def commit_unknown(self, conn: PooledConnection, what: str) -> CommitUnknown:
        """The error for a COMMIT without an answer. :param what: was committed."""
        return CommitUnknown(
            f"COMMIT of {what} was sent to {self.target}, and the connection broke before the answer",
            why="The server may have committed or not.",
            fix="Look whether its effects are there; run_transaction(…, exactly_once=True) does that by itself.",
            deadline=bool(conn.cut_after),
        )

    def _exhausted(self, error: Exception, waited: float) -> PoolExhausted:
        if isinstance(error, TooManyRequests):
            why = f"{self.limits.max_waiting} others are already waiting for a connection."
        elif isinstance(error, PoolClosed):
            why = "The pool was closed meanwhile."
        else:
            why = f"All {self.limits.max_size} connections stayed in use for {waited:g} s."
        oldest = self._book.loans()[:3]
        now = time.monotonic()
        held = "".join(f"\nheld for {format_duration(now - loan.since)} by {loan.site}" for loan in oldest)
        return PoolExhausted(
            f"No free connection to {self.target}",
            why=why + held,
            fix="Raise DB_POOL_MAX, or look for work that keeps connections too long.",
        )

    def _opened(self) -> Supply:
        with self._lock:
            if self._supply is None:
                self._supply = Supply(
                    self.target,
                    self.limits,
                    self.application_name,
                    one_shot=self._one_shot,
                    on_open=self._book.register,
                )
                WATCHDOG.watch(self)
            return self._supply

    # ── what the watchdog does ──────────────────────────────────────────────────────────────────────────────
    def tick(self, now: float) -> bool:
        """Look at what is lent out: cut hung connections, report those that are kept too long."""
        out = self._book.out()
        for conn, since in out:
            if conn.overdue(now, self.limits.statement_timeout):
                site = self._site(conn)
                if conn.cut():
                    self._cut += 1
                    log.warning("the server did not answer: cut the connection borrowed by %s", site)
            if self.limits.held_warning and since + self.limits.held_warning < now and conn.reported < since:
                conn.reported = now
                self._held += 1
                age = format_duration(now - since)
                log.warning("a connection has been out for %s, borrowed by %s", age, self._site(conn))
        return bool(out)

    def _site(self, conn: PooledConnection) -> str:
        loan = self._book.loan(conn)
        return loan.site if loan else "unknown"

    def _dropped(self, loan: Loan) -> None:
        """A lent connection was garbage-collected. Here, in the collector, nothing may take a lock."""
        WATCHDOG.soon(lambda: self._reclaim(loan))

    def _reclaim(self, loan: Loan) -> None:
        self._lost += 1
        age = format_duration(time.monotonic() - loan.since)
        log.warning("a connection was dropped without being returned; borrowed %s ago by %s", age, loan.site)
        if self._supply is not None:
            self._supply.forget()

    # ── figures ─────────────────────────────────────────────────────────────────────────────────────────────
    def stats(self) -> PoolStats:
        """What the pool has done so far, and what it is doing."""
        supply = self._supply
        found: dict[str, Any] = supply.get_stats() if supply else {}
        loans, now = self._book.loans(), time.monotonic()
        wait, use = self._wait.summary(), self._use.summary()
        return PoolStats(
            min_size=self.limits.min_size,
            max_size=self.limits.max_size,
            size=found.get("pool_size", 0),
            idle=found.get("pool_available", 0),
            lent=len(loans),
            waiting=found.get("requests_waiting", 0),
            borrowed=wait.count,
            refused=self._refused,
            connected=supply.connected if supply else 0,
            connect_failures=supply.failed if supply else 0,
            hung_up=supply.hung_up if supply else 0,
            unclean=supply.unclean if supply else 0,
            dropped=self._lost,
            held_too_long=self._held,
            cut=self._cut,
            wait=wait,
            use=use,
            borrowers=tuple(Borrower(loan.site, now - loan.since, loan.thread) for loan in loans),
            breaker=self.breaker.status(),
        )

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
        late = 0
        for conn, _ in self._book.out():
            site = self._site(conn)
            if conn.cut():
                late += 1
                log.warning("shutting down: cut the connection borrowed by %s", site)
        self.close()
        return late

    def close(self) -> None:
        """Close every connection; borrowing again opens anew (unless `drain` was called)."""
        with self._lock:
            supply, self._supply = self._supply, None
        WATCHDOG.unwatch(self)
        if supply is not None:
            supply.close()

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
        self._supply, self._lock = None, threading.Lock()
        self._reset_figures()


class Checkout:
    """One loan as a ``with`` block; made by `Database.connection`."""

    __slots__ = ("_autocommit", "_conn", "_database", "_deadline", "_era", "_timeout")

    def __init__(self, database: Database, autocommit: bool, timeout: float | None, deadline: float | None) -> None:
        self._database = database
        self._autocommit = autocommit
        self._timeout = timeout
        self._deadline = deadline
        self._conn: PooledConnection | None = None

    def __enter__(self) -> Connection:
        database = self._database
        self._era, conn = database.enter(self._timeout, self._deadline, depth=3)
        if not self._autocommit:
            try:
                conn.wait(begin(conn))
            except BaseException as error:
                database.leave(self._era, conn, error)
                raise
        self._conn = conn
        return conn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        conn, self._conn = self._conn, None
        assert conn is not None
        try:
            if self._autocommit:
                pass
            elif error is None:
                with conn.lock:
                    conn.wait(commit(conn))
            elif not conn.closed:
                with conn.lock:
                    conn.wait(rollback(conn))
        except CommitLost as lost:
            self._database.leave(self._era, conn, lost.__cause__)
            raise self._database.commit_unknown(conn, "the block") from lost.__cause__
        except BaseException as late:
            self._database.leave(self._era, conn, late)
            raise
        if overdue := self._database.leave(self._era, conn, error):
            raise overdue from error
        return isinstance(error, psycopg.Rollback) or None


_provide: Callable[[Settings], Target] | None = None


def provide_embedded(provide: Callable[[Settings], Target]) -> None:
    """Say how settings without a URL become a target: the embedded server stands in a layer above this one."""
    global _provide  # noqa: PLW0603
    _provide = provide


def _embedded(settings: Settings) -> Target:
    if _provide is None:
        raise NoDatabase(
            "These settings name no database",
            why="Without a URL they mean the embedded server, which this layer cannot start.",
            fix="Use: from pliers_db import Database; or set DATABASE_URL.",
        )
    return _provide(settings)


_databases: WeakSet[Database] = WeakSet()
_parents: list[Supply] = []


def _after_fork() -> None:
    for database in list(_databases):
        database._after_fork()


os.register_at_fork(after_in_child=_after_fork)
