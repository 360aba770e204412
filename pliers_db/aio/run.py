"""`run_transaction` for tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar, cast

import psycopg
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from pliers_db.aio.pool import AsyncConnection, AsyncDatabase
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
from pliers_db.db.replica import CAUGHT_UP, Lagging, Pauses
from pliers_db.db.replica import PATIENCE as PATIENCE_OF_READERS
from pliers_db.db.retry import Retry, RetryPolicy
from pliers_db.db.run import INSIST, UNAVAILABLE, unavailable
from pliers_db.db.transaction import CommitLost, Xid, begin, begin_statement, commit, current_xid, rollback
from pliers_db.errors import CommitUnknown, InputError
from pliers_db.log import get_logger

log = get_logger(__name__)
T = TypeVar("T")


async def run_transaction(
    database: AsyncDatabase | AsyncConnection,
    function: Callable[[AsyncConnection], Awaitable[T]],
    *,
    isolation: IsolationLevel | str | None = None,
    read_only: bool = False,
    deferrable: bool = False,
    retries: int | None = None,
    retry: RetryPolicy | None = None,
    exactly_once: bool = False,
    deadline: float | None = None,
    after: str | None = None,
    fallback: Callable[[Exception], Awaitable[T]] | None = None,
    name: str = "",
) -> T:
    """Run ``await function(conn)`` as one transaction, and again from its beginning when that is safe.

    The twin of `pliers_db.run_transaction`, which describes every parameter. When the task is cancelled the transaction
    is rolled back; a COMMIT that was already sent is not taken back.

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
    if isinstance(database, psycopg.AsyncConnection):
        return await _join(database, function, statement)
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
            return await unit.attempt(function, give_up, attempts.attempt)
        except Exception as error:
            if reader is not None and (isinstance(error, Lagging) or unavailable(error)):
                log.info("%s: reading from the primary: %s", name, error)
                unit, reader = _Unit(database, name, statement, read_only=True, exactly_once=False), None
                continue
            delay = attempts.after(error)
            if delay is None:
                if fallback is not None and unavailable(error):
                    log.warning("%s: the database cannot be asked, using the fallback: %s", name, error)
                    return await fallback(error)
                raise
        await asyncio.sleep(delay)


async def _join(conn: AsyncConnection, function: Callable[[AsyncConnection], Awaitable[T]], statement: bytes) -> T:
    """Run inside the caller's transaction."""
    if conn.info.transaction_status == TransactionStatus.IDLE:
        raise InputError(
            "This connection is in no transaction",
            why="run_transaction() on a connection joins the transaction that is open on it.",
            fix="Pass the AsyncDatabase: run_transaction(database, function).",
        )
    if statement != b"BEGIN":
        raise InputError(
            "isolation= and read_only= cannot be chosen inside a transaction",
            fix="Choose them where the transaction begins.",
        )
    async with conn.transaction():
        return await function(conn)


class _Unit:
    """One call of `run_transaction`."""

    def __init__(
        self,
        database: AsyncDatabase,
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

    async def _wait_until_replayed(self, conn: AsyncConnection, position: str) -> None:
        pauses = Pauses(position, PATIENCE_OF_READERS)
        while True:
            row = await (await conn.execute(CAUGHT_UP, [position])).fetchone()
            if row is not None and row[0]:
                return
            await asyncio.sleep(pauses.next())

    async def attempt(
        self, function: Callable[[AsyncConnection], Awaitable[T]], give_up: float | None, number: int
    ) -> T:
        """Once: borrow, begin, call, commit, give back."""
        database = self._database
        left = None if give_up is None else max(0.0, give_up - time.monotonic())
        timeout = None if left is None else min(left, database.limits.checkout_timeout)
        era, conn = await database.enter(timeout, left, depth=4)
        conn.origin = self._name, number
        xid: Xid | None = None
        try:
            if self._after is not None:
                await self._wait_until_replayed(conn, self._after)
            await conn.wait(begin(conn, self._statement))
            result = await function(conn)
            harmless = self._read_only or conn.footprint is Footprint.NOTHING
            async with conn.lock:
                if self._exactly_once and not harmless:
                    xid = await conn.wait(current_xid(conn))
                    harmless = xid is None
                await conn.wait(commit(conn))
        except CommitLost as lost:
            cause = cast(psycopg.Error, lost.__cause__)
            unknown = database.commit_unknown(conn, self._name)
            database.leave(era, conn, cause)
            if harmless:
                raise cause from None  # nothing was written: as if it had never begun
            if xid is None:
                raise unknown from cause
            if await self._committed(xid, unknown, give_up):
                return result
            raise cause from None
        except Exception as error:
            try:
                if not conn.closed:
                    async with conn.lock:
                        await conn.wait(rollback(conn))
            finally:
                overdue = database.leave(era, conn, error)
            if overdue:
                raise overdue from error
            raise
        except BaseException as error:  # cancelled: the pool rolls back, nobody waits for it
            database.leave(era, conn, error)
            raise
        database.leave(era, conn, None)
        return result

    async def _committed(self, xid: Xid, unknown: CommitUnknown, give_up: float | None) -> bool:
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
                outcome = await self._ask(xid, until, insist=time.monotonic() - begun > INSIST)
            except (*UNAVAILABLE, psycopg.OperationalError) as error:
                log.info("%s: cannot ask yet: %s", self._name, error)
            if outcome in (Outcome.COMMITTED, Outcome.ABORTED):
                log.info("%s: transaction %s was %s", self._name, xid.xid, outcome.value)
                return outcome is Outcome.COMMITTED
            if outcome is Outcome.UNKNOWABLE:
                raise outcome_unknown(unknown, xid, "The server cannot tell: it has crashed or failed over since.")
            if time.monotonic() + pause > until:
                raise outcome_unknown(unknown, xid, "The server could not be asked in time.")
            await asyncio.sleep(pause)
            pause = min(0.5, pause * 2)

    async def _ask(self, xid: Xid, until: float, *, insist: bool) -> Outcome:
        """:param insist: end the session that still holds it: it may wait for a client that is gone, for as long as
        the network keeps quiet.
        """
        left = max(0.1, until - time.monotonic())
        async with self._database.connection(autocommit=True, deadline=left) as conn:
            try:
                outcome = judge(xid, await (await conn.execute(ASK, [xid.xid])).fetchone())
                if outcome is Outcome.CRASHED:
                    outcome = judge_after_crash(xid, await (await conn.execute(AFTER_CRASH)).fetchone())
            except (psycopg.DataError, psycopg.ProgrammingError) as error:
                return judge_error(error)
            if outcome is Outcome.IN_PROGRESS and insist:
                await conn.execute(END_IT, [xid.xid])
            return outcome
