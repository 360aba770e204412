"""What a pool does with its loans, whether threads or tasks borrow: figures, reports, judgements."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from types import FrameType
from typing import Any

import psycopg
from psycopg.abc import AdaptContext
from psycopg_pool import PoolClosed, TooManyRequests

from pliers_db.config import PoolSettings, Settings, Target
from pliers_db.db.breaker import breaker_for
from pliers_db.db.histogram import Histogram
from pliers_db.db.leaks import Loan, LoanBook, is_plumbing
from pliers_db.db.replica import read_target, write_target
from pliers_db.db.retry import failure_class
from pliers_db.db.sqlstate import ErrorClass
from pliers_db.db.stats import Borrower, PoolStats
from pliers_db.db.watchdog import WATCHDOG
from pliers_db.errors import CommitUnknown, DeadlinePassed, NoDatabase, PoolExhausted
from pliers_db.log import get_logger
from pliers_db.units import format_duration

log = get_logger(__name__)


class Lender:
    """The half of a pool that knows neither threads nor tasks."""

    _supply: Any

    def __init__(
        self,
        target: Target | Settings,
        pool: PoolSettings | None,
        application_name: str,
        adapters: AdaptContext | None = None,
    ) -> None:
        if isinstance(target, Settings):
            pool = pool or target.pool
            target = target.target or _embedded(target)
        self.target = write_target(target)
        self._read_target = read_target(target)
        self.limits = pool or PoolSettings()
        self.application_name = application_name
        self.adapters = adapters
        self.breaker = breaker_for(self.target)
        self._supply = None
        self._draining = False
        self._reset_figures()

    def _reset_figures(self) -> None:
        self._book = LoanBook(self._dropped)
        self._wait, self._use = Histogram(), Histogram()
        self._refused = self._lost = self._held = self._cut = 0

    def give_back(self, conn: Any) -> None:
        """Return a borrowed connection; it is cleaned, or dropped if it cannot be."""
        raise NotImplementedError

    def leave(self, conn: Any, error: BaseException | None) -> DeadlinePassed | None:
        """`give_back`, and tell the circuit breaker how it went.

        :returns: what to raise instead of ``error``, if the watchdog cut the connection.
        """
        if error is None:
            if self.breaker.opened_at is not None:
                self.breaker.leave(conn.era, None)
            self.give_back(conn)
            return None
        # An error counts if this connection met it: its block may have called other databases too.
        met = isinstance(error, psycopg.Error) and (conn.closed or failure_class(error) is ErrorClass.DISK)
        # Whoever is interrupted while a statement runs has not heard from the server.
        silent = conn.closed or (error is not None and not isinstance(error, Exception))
        self.breaker.leave(conn.era, error if met else None, cancelled=error is not None and not met and silent)
        self.give_back(conn)
        if not (met and conn.cut_after):
            return None
        return DeadlinePassed(
            f"No answer from {self.target} for {format_duration(conn.cut_after)}; the connection was cut",
            why="The deadline passed. The statement may have been carried out.",
            fix="Check the server; raise the deadline if the statement is expected to take longer.",
        )

    def _lend(self, conn: Any, began: float, deadline: float | None, borrower: FrameType) -> None:
        """Note that a connection goes out.

        :param began: when it was asked for, by ``time.monotonic``.
        :param deadline: seconds from then on, after which the watchdog cuts it.
        """
        now = monotonic()
        waited = conn.waited = now - began
        self._wait.record(waited)
        conn.origin = None
        conn.cut_at = 0.0 if deadline is None else began + deadline
        while is_plumbing(borrower.f_code.co_filename) and borrower.f_back is not None:
            borrower = borrower.f_back
        # Only the code object and the position are kept, not the frame: a traceback would cost several checkouts.
        conn.slip.entry = now, get_ident(), borrower.f_code, borrower.f_lasti
        if WATCHDOG.asleep:
            WATCHDOG.wake()

    def _returned(self, conn: Any) -> float:
        """Note that a connection is back. :returns: now, by ``time.monotonic``; 0 if it was not out."""
        slip = conn.slip
        entry, slip.entry = slip.entry, None
        if entry is None:
            return 0.0
        now = monotonic()
        self._use.record(now - entry[0])
        return now

    # ── errors ──────────────────────────────────────────────────────────────────────────────────────────────
    def commit_unknown(self, conn: Any, what: str) -> CommitUnknown:
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

    # ── what the watchdog does ──────────────────────────────────────────────────────────────────────────────
    def tick(self, now: float) -> bool:
        """Look at what is lent out: cut hung connections, report those that are kept too long."""
        self._wait.sort_in()
        self._use.sort_in()
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

    def _site(self, conn: Any) -> str:
        loan = self._book.loan(conn)
        return loan.site if loan else "unknown"

    def _cut_all(self) -> int:
        """Cut whatever is still out. :returns: how many there were."""
        late = 0
        for conn, _ in self._book.out():
            site = self._site(conn)
            if conn.cut():
                late += 1
                log.warning("shutting down: cut the connection borrowed by %s", site)
        return late

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
