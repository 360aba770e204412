"""`run_transaction`: a function as one transaction, tried again when that is safe, with a known outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar, cast

import psycopg
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from pliers_db.db.connect import Connection
from pliers_db.db.footprint import Footprint
from pliers_db.db.outcome import (
    AFTER_CRASH,
    ASK,
    END_IT,
    PATIENCE,
    Outcome,
    judge,
    judge_after_crash,
    judge_error,
    outcome_unknown,
)
from pliers_db.db.pool import Database
from pliers_db.db.replica import Lagging, wait_until_replayed
from pliers_db.db.retry import Retry, RetryPolicy, failure_class
from pliers_db.db.sqlstate import ErrorClass
from pliers_db.db.supply import PooledConnection
from pliers_db.db.transaction import CommitLost, Xid, begin, begin_statement, commit, current_xid, rollback
from pliers_db.errors import CircuitOpen, CommitUnknown, ConnectFailed, DeadlinePassed, InputError, PoolExhausted
from pliers_db.log import get_logger

log = get_logger(__name__)
T = TypeVar("T")

INSIST = 1.0
"""Seconds to wait for a transaction in progress to end by itself, before its session is ended."""

UNAVAILABLE = (ConnectFailed, CircuitOpen, PoolExhausted, DeadlinePassed)
"""Errors that mean: the database cannot be asked now. These, and lost connections, call for a ``fallback``."""


def run_transaction(
    database: Database | Connection,
    function: Callable[[Connection], T],
    *,
    isolation: IsolationLevel | str | None = None,
    read_only: bool = False,
    deferrable: bool = False,
    retries: int | None = None,
    retry: RetryPolicy | None = None,
    exactly_once: bool = False,
    deadline: float | None = None,
    after: str | None = None,
    fallback: Callable[[Exception], T] | None = None,
    name: str = "",
) -> T:
    """Run ``function(conn)`` as one transaction, and again from its beginning when that is safe.

    Safe is: the server rolled back because of a race (serialization failure, deadlock), or the connection was lost
    before COMMIT was sent, or there was none to be had. The function may be called several times: what it does outside
    the database is its own affair.

    :param database: the pool; or a connection that is in a transaction already: then the function runs once, in a
        savepoint, because only the outermost caller can run the whole transaction again.
    :param isolation: ``read committed`` (the server's default), ``repeatable read`` or ``serializable``.
    :param read_only: the server refuses writes; a lost COMMIT is then harmless. If the URL names several hosts, it runs
        on a standby, and on the primary when that cannot be asked.
    :param retries: how many times after the first, at most; default 4.
    :param retry: the whole policy, where ``retries`` is not enough.
    :param exactly_once: if the connection breaks during COMMIT, find out whether it happened, and try again only if it
        did not. Costs one round trip more for every transaction.
    :param deadline: seconds for everything, waiting and attempts; a server that hangs is cut off then.
    :param after: for reads: a `Database.position` that the standby must have reached; if it lags, the primary is asked.
    :param fallback: for reads: called with the error when the database cannot be asked; its value is returned.
    :param name: for the log; default: the function's.
    :returns: what the function returned in the attempt that was committed.
    :raises CommitUnknown: COMMIT was sent, no answer came, and nobody can tell.
    :raises psycopg.Error: what the function met, where another attempt would not help, or the last attempt's.
    :raises CircuitOpen, ConnectFailed, PoolExhausted, DeadlinePassed: the database could not be asked.
    """
    if fallback is not None and not read_only:
        raise InputError(
            "fallback= needs read_only=True",
            why="A write that is replaced by something else is a write that is lost.",
            fix="Pass read_only=True, or let the write fail.",
        )
    statement = begin_statement(isolation, read_only=read_only, deferrable=deferrable)
    name = name or getattr(function, "__qualname__", type(function).__name__)
    if isinstance(database, psycopg.Connection):
        return _join(database, function, statement)
    policy = retry or RetryPolicy()
    if retries is not None:
        policy = replace(policy, attempts=retries + 1)
    if deadline is not None:
        policy = replace(policy, deadline=deadline)
    attempts = Retry(policy, name)
    give_up = None if deadline is None else time.monotonic() + deadline
    unit = _Unit(database, name, statement, read_only=read_only, exactly_once=exactly_once)
    # A standby cannot promise serializability.
    reader = database.reader if read_only and b"SERIALIZABLE" not in statement else None
    if reader is not None:
        unit = _Unit(reader, name, statement, read_only=True, exactly_once=False, after=after)
    while True:
        try:
            return unit.attempt(function, give_up, attempts.attempt)
        except Exception as error:
            if reader is not None and (isinstance(error, Lagging) or unavailable(error)):
                log.info("%s: reading from the primary: %s", name, error)
                unit, reader = _Unit(database, name, statement, read_only=True, exactly_once=False), None
                continue
            delay = attempts.after(error)
            if delay is None:
                if fallback is not None and unavailable(error):
                    log.warning("%s: the database cannot be asked, using the fallback: %s", name, error)
                    return fallback(error)
                raise
        time.sleep(delay)


def unavailable(error: Exception) -> bool:
    """Whether this error calls for a ``fallback``."""
    return isinstance(error, UNAVAILABLE) or failure_class(error) in (ErrorClass.CONNECTION, ErrorClass.NOT_NOW)


def _join(conn: Connection, function: Callable[[Connection], T], statement: bytes) -> T:
    """Run inside the caller's transaction."""
    if conn.info.transaction_status == TransactionStatus.IDLE:
        raise InputError(
            "This connection is in no transaction",
            why="run_transaction() on a connection joins the transaction that is open on it.",
            fix="Pass the Database: run_transaction(database, function).",
        )
    if statement != b"BEGIN":
        raise InputError(
            "isolation= and read_only= cannot be chosen inside a transaction",
            fix="Choose them where the transaction begins.",
        )
    with conn.transaction():
        return function(conn)


class _Unit:
    """One call of `run_transaction`."""

    def __init__(
        self,
        database: Database,
        name: str,
        statement: bytes,
        *,
        read_only: bool,
        exactly_once: bool,
        after: str | None = None,
    ) -> None:
        self._database = database
        self._name = name
        self._statement = statement
        self._read_only = read_only
        self._exactly_once = exactly_once
        self._after = after

    def attempt(self, function: Callable[[Connection], T], give_up: float | None, number: int) -> T:
        """Once: borrow, begin, call, commit, give back."""
        database = self._database
        left = None if give_up is None else max(0.0, give_up - time.monotonic())
        timeout = None if left is None else min(left, database.limits.checkout_timeout)
        era, conn = database.enter(timeout, left, depth=4)
        conn.origin = self._name, number
        xid: Xid | None = None
        try:
            if self._after is not None:
                wait_until_replayed(conn, self._after)
            conn.wait(begin(conn, self._statement))
            result = function(conn)
            harmless = self._read_only or conn.footprint is Footprint.NOTHING
            with conn.lock:
                if self._exactly_once and not harmless:
                    xid = conn.wait(current_xid(conn))
                    harmless = xid is None
                conn.wait(commit(conn))
        except CommitLost as lost:
            cause = cast(psycopg.Error, lost.__cause__)
            unknown = database.commit_unknown(conn, self._name)
            database.leave(era, conn, cause)
            if harmless:
                raise cause from None  # nothing was written: as if it had never begun
            if xid is None:
                raise unknown from cause
            if self._committed(xid, unknown, give_up):
                return result
            raise cause from None
        except BaseException as error:
            self._roll_back(conn)
            overdue = database.leave(era, conn, error)
            if overdue:
                raise overdue from error
            raise
        database.leave(era, conn, None)
        return result

    def _roll_back(self, conn: PooledConnection) -> None:
        if not conn.closed:
            with conn.lock:
                conn.wait(rollback(conn))

    def _committed(self, xid: Xid, unknown: CommitUnknown, give_up: float | None) -> bool:
        """Ask the server, until it knows, what became of a COMMIT whose answer was lost.

        :raises CommitUnknown: it cannot be known, or not in time.
        """
        log.warning("%s: the answer to COMMIT was lost; asking for transaction %s", self._name, xid.xid)
        begun = time.monotonic()
        until = min(begun + PATIENCE, give_up or begun + PATIENCE)
        pause = 0.02
        while True:
            outcome = Outcome.IN_PROGRESS
            try:
                outcome = self._ask(xid, until, insist=time.monotonic() - begun > INSIST)
            except (*UNAVAILABLE, psycopg.OperationalError) as error:
                log.info("%s: cannot ask yet: %s", self._name, error)
            if outcome in (Outcome.COMMITTED, Outcome.ABORTED):
                log.info("%s: transaction %s was %s", self._name, xid.xid, outcome.value)
                return outcome is Outcome.COMMITTED
            if outcome is Outcome.UNKNOWABLE:
                raise outcome_unknown(unknown, xid, "The server cannot tell: it has crashed or failed over since.")
            if time.monotonic() + pause > until:
                raise outcome_unknown(unknown, xid, "The server could not be asked in time.")
            time.sleep(pause)
            pause = min(0.5, pause * 2)

    def _ask(self, xid: Xid, until: float, *, insist: bool) -> Outcome:
        """:param insist: end the session that still holds it: it may wait for a client that is gone, for as long as
        the network keeps quiet.
        """
        with self._database.connection(autocommit=True, deadline=max(0.1, until - time.monotonic())) as conn:
            try:
                outcome = judge(xid, conn.execute(ASK, [xid.xid]).fetchone())
                if outcome is Outcome.CRASHED:
                    outcome = judge_after_crash(xid, conn.execute(AFTER_CRASH).fetchone())
            except (psycopg.DataError, psycopg.ProgrammingError) as error:
                return judge_error(error)
            if outcome is Outcome.IN_PROGRESS and insist:
                conn.execute(END_IT, [xid.xid])
            return outcome
