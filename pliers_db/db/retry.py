"""When to try again, and after how long. Pure: the caller sleeps, sync or async.

Exponential backoff with full jitter: the wait before attempt n is random between 0 and ``base * 2**(n-1)``, at most
``cap`` (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). The unit that is tried again is a
whole transaction with its COMMIT, never a statement inside somebody's transaction.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from pliers_db.db.sqlstate import ErrorClass, classify
from pliers_db.errors import ConnectFailed, PliersError
from pliers_db.log import get_logger

log = get_logger(__name__)

# Why a connect failed -> what can be done. Where the server has answered and said no, it will say no again.
_CONNECT = {
    "unreachable": ErrorClass.CONNECTION,
    "timeout": ErrorClass.CONNECTION,
    "host": ErrorClass.CONNECTION,  # a name server can be away for a moment, too
    "starting": ErrorClass.NOT_NOW,
    "slots": ErrorClass.NOT_NOW,
    "standby": ErrorClass.NOT_NOW,  # no host takes writes: a failover takes a moment
}


def failure_class(error: BaseException) -> ErrorClass:
    """Sort any error of a database call into what can be done about it.

    Server errors go by SQLSTATE, failed connects by what a ping found (their SQLSTATE is always None), and whatever is
    no database error at all is PERMANENT.
    """
    if isinstance(error, ConnectFailed):
        return _CONNECT.get(error.kind, ErrorClass.PERMANENT)
    if isinstance(error, psycopg.OperationalError | psycopg.InternalError):
        return classify(error.sqlstate)
    if isinstance(error, psycopg.Error):
        return classify(error.sqlstate) if error.sqlstate else ErrorClass.PERMANENT
    return ErrorClass.PERMANENT


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long. Times in seconds.

    Defaults: five attempts within 15 s, waits of up to 50, 100, 200, 400 ms.
    """

    attempts: int = 5
    """Including the first."""
    base: float = 0.05
    cap: float = 2.0
    """No single wait is longer."""
    deadline: float = 15.0
    """From the first attempt; no wait goes past it."""
    locks: bool = False
    """Also when a lock was not to be had in time (55P03): the caller has to know that this is wanted."""

    def worth_it(self, kind: ErrorClass) -> bool:
        """Whether another attempt can end otherwise."""
        return kind in (ErrorClass.RERUN, ErrorClass.CONNECTION, ErrorClass.NOT_NOW) or (
            kind is ErrorClass.LOCK and self.locks
        )

    def longest_wait(self, attempt: int, kind: ErrorClass) -> float:
        """The upper end of the wait after the attempt of this number (from 1)."""
        # A server that starts or is full needs time; two transactions that collided need a moment.
        base = self.base * 10 if kind is ErrorClass.NOT_NOW else self.base
        return min(self.cap, base * 2.0 ** (attempt - 1))


NO_RETRY = RetryPolicy(attempts=1)


@dataclass(slots=True)
class Retry:
    """The attempts of one call::

    retry = Retry(policy)
    while True:
        try:
            return work()
        except Exception as error:
            delay = retry.after(error)
            if delay is None:
                raise
        time.sleep(delay)
    """

    policy: RetryPolicy
    name: str = "transaction"
    """What is tried, for the log."""
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    """A number from 0 to 1."""
    attempt: int = 1
    """The attempt under way."""
    begun: float = 0.0
    """When, by the clock; default: now."""

    def __post_init__(self) -> None:
        self.begun = self.begun or self.clock()

    def after(self, error: BaseException) -> float | None:
        """Judge a failed attempt; logs it.

        :returns: seconds to wait before the next one, or None: raise the error.
        """
        kind = failure_class(error)
        if not self.policy.worth_it(kind):
            return None
        delay = self.jitter() * self.policy.longest_wait(self.attempt, kind)
        left = self.policy.deadline - (self.clock() - self.begun)
        given_up = self.attempt >= self.policy.attempts or delay >= left
        log.log(
            30 if given_up else 20,
            "%s: attempt %d of %d failed: %s",
            self.name,
            self.attempt,
            self.policy.attempts,
            error.message if isinstance(error, PliersError) else " ".join(str(error).split()),
            extra={
                "attempt": self.attempt,
                "sqlstate": getattr(error, "sqlstate", None),
                "error_class": kind.name,
                "delay": None if given_up else round(delay, 4),
            },
        )
        if given_up:
            return None
        self.attempt += 1
        return delay
