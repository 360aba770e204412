"""What one call of `run_transaction` was asked for, and what follows when an attempt fails; for threads and tasks."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from pliers_db.db.replica import Lagging
from pliers_db.db.retry import Retry, RetryPolicy, failure_class
from pliers_db.db.sqlstate import ErrorClass
from pliers_db.db.transaction import begin_statement
from pliers_db.errors import CircuitOpen, ConnectFailed, DeadlinePassed, InputError, PoolExhausted
from pliers_db.log import get_logger

log = get_logger(__name__)

UNAVAILABLE: Final = (ConnectFailed, CircuitOpen, PoolExhausted, DeadlinePassed)
"""Errors that mean: the database cannot be asked now. These, and lost connections, call for a ``fallback``."""

_DEFAULT: Final = RetryPolicy()


class Call:
    """One call of `run_transaction`; its parameters are described there."""

    __slots__ = (
        "_policy",
        "_primary",
        "_retry",
        "after",
        "attempt",
        "begun",
        "database",
        "exactly_once",
        "give_up",
        "name",
        "read_only",
        "statement",
    )

    def __init__(
        self,
        database: Any,
        function: object,
        *,
        isolation: IsolationLevel | str | None,
        read_only: bool,
        deferrable: bool,
        retries: int | None,
        retry: RetryPolicy | None,
        exactly_once: bool,
        deadline: float | None,
        after: str | None,
        fallback: object,
        name: str,
    ) -> None:
        """:raises InputError: these parameters do not go together."""
        if fallback is not None and not read_only:
            raise InputError(
                "fallback= needs read_only=True",
                why="A write that is replaced by something else is a write that is lost.",
                fix="Pass read_only=True, or let the write fail.",
            )
        self.database = database
        self.statement = begin_statement(isolation, read_only=read_only, deferrable=deferrable)
        self.name = name or getattr(function, "__qualname__", type(function).__name__)
        self.read_only = read_only
        self.exactly_once = exactly_once
        self.attempt = 1
        self.after: str | None = None
        self.begun = time.monotonic()
        self.give_up: float | None = None
        """When everything must have ended, by ``time.monotonic``."""
        policy = retry or _DEFAULT
        if retries is not None:
            policy = replace(policy, attempts=retries + 1)
        if deadline is not None:
            policy = replace(policy, deadline=deadline)
            self.give_up = self.begun + deadline
        self._policy = policy
        self._retry: Retry | None = None
        self._primary: Any = None
        # A standby cannot promise serializability.
        if read_only and b"SERIALIZABLE" not in self.statement:
            reader = getattr(database, "reader", None)
            if reader is not None:
                self._primary, self.database, self.after = database, reader, after

    def left(self) -> float | None:
        """Seconds until everything must have ended."""
        return None if self.give_up is None else max(0.0, self.give_up - time.monotonic())

    def failed(self, error: Exception) -> float | None:
        """What follows a failed attempt. :returns: seconds to wait before the next one, or None: raise the error."""
        if self._primary is not None and (isinstance(error, Lagging) or unavailable(error)):
            log.info("%s: reading from the primary: %s", self.name, error)
            self.database, self._primary, self.after = self._primary, None, None
            return 0.0
        if self._retry is None:
            self._retry = Retry(self._policy, self.name, begun=self.begun)
        delay = self._retry.after(error)
        self.attempt = self._retry.attempt
        return delay

    def degrades(self, error: Exception) -> bool:
        """Whether this error calls for the ``fallback``, if there is one."""
        if not unavailable(error):
            return False
        log.warning("%s: the database cannot be asked, using the fallback: %s", self.name, error)
        return True

    def join(self, conn: Any) -> None:
        """Look whether the function can run inside the caller's transaction. :raises InputError: it cannot."""
        if conn.info.transaction_status == TransactionStatus.IDLE:
            raise InputError(
                "This connection is in no transaction",
                why="run_transaction() on a connection joins the transaction that is open on it.",
                fix="Pass the database: run_transaction(database, function).",
            )
        if self.statement != b"BEGIN":
            raise InputError(
                "isolation= and read_only= cannot be chosen inside a transaction",
                fix="Choose them where the transaction begins.",
            )


def unavailable(error: Exception) -> bool:
    """Whether this error calls for a ``fallback``."""
    return isinstance(error, UNAVAILABLE) or failure_class(error) in (ErrorClass.CONNECTION, ErrorClass.NOT_NOW)
