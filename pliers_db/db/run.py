"""`run_transaction`: a function as one transaction, tried again when that is safe, with a known outcome."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar, cast

import psycopg
from psycopg import IsolationLevel

from pliers_db.db.call import UNAVAILABLE, Call
from pliers_db.db.connect import Connection
from pliers_db.db.footprint import Footprint
from pliers_db.db.outcome import AFTER_CRASH, ASK, END_IT, Inquiry, Outcome, judge, judge_after_crash, judge_error
from pliers_db.db.pool import Database
from pliers_db.db.replica import wait_until_replayed
from pliers_db.db.retry import RetryPolicy
from pliers_db.db.transaction import CommitLost, Xid, begin, commit, current_xid, rollback

T = TypeVar("T")


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
    call = Call(
        database,
        function,
        isolation=isolation,
        read_only=read_only,
        deferrable=deferrable,
        retries=retries,
        retry=retry,
        exactly_once=exactly_once,
        deadline=deadline,
        after=after,
        fallback=fallback,
        name=name,
    )
    if isinstance(database, psycopg.Connection):
        call.join(database)
        with database.transaction():
            return function(database)
    while True:
        try:
            return _attempt(call, function)
        except Exception as error:
            delay = call.failed(error)
            if delay is None:
                if fallback is not None and call.degrades(error):
                    return fallback(error)
                raise
        time.sleep(delay)


def _attempt(call: Call, function: Callable[[Connection], T]) -> T:
    """Once: borrow, begin, call, commit, give back."""
    database: Database = call.database
    left = call.left()
    timeout = None if left is None else min(left, database.limits.checkout_timeout)
    conn = database.enter(timeout, left, sys._getframe(2))
    conn.origin = call.name, call.attempt
    xid: Xid | None = None
    try:
        if call.after is not None:
            wait_until_replayed(conn, call.after)
        conn.perform(begin(conn, call.statement), None)
        result = function(conn)
        harmless = call.read_only or conn.footprint is Footprint.NOTHING
        with conn.lock:
            if call.exactly_once and not harmless:
                xid = conn.perform(current_xid(conn), None)
                harmless = xid is None
            conn.perform(commit(conn), None)
    except CommitLost as lost:
        cause = cast(psycopg.Error, lost.__cause__)
        unknown = database.commit_unknown(conn, call.name)
        database.leave(conn, cause)
        if harmless:
            raise cause from None  # nothing was written: as if it had never begun
        if xid is None:
            raise unknown from cause
        if _committed(database, Inquiry(call.name, xid, unknown, call.give_up)):
            return result
        raise cause from None
    except BaseException as error:
        if not conn.closed:
            with conn.lock:
                conn.perform(rollback(conn), None)
        if overdue := database.leave(conn, error):
            raise overdue from error
        raise
    database.leave(conn, None)
    return result


def _committed(database: Database, inquiry: Inquiry) -> bool:
    """Ask the server, until it knows. :raises CommitUnknown: it cannot be known, or not in time."""
    while True:
        try:
            outcome = _ask(database, inquiry)
        except (*UNAVAILABLE, psycopg.OperationalError) as error:
            outcome = inquiry.in_vain(error)
        if (committed := inquiry.committed(outcome)) is not None:
            return committed
        time.sleep(inquiry.pause())


def _ask(database: Database, inquiry: Inquiry) -> Outcome:
    xid = inquiry.xid
    with database.connection(autocommit=True, deadline=inquiry.left) as conn:
        try:
            outcome = judge(xid, conn.execute(ASK, [xid.xid]).fetchone())
            if outcome is Outcome.CRASHED:
                outcome = judge_after_crash(xid, conn.execute(AFTER_CRASH).fetchone())
        except (psycopg.DataError, psycopg.ProgrammingError) as error:
            return judge_error(error)
        if outcome is Outcome.IN_PROGRESS and inquiry.insist:
            conn.execute(END_IT, [xid.xid])
        return outcome
