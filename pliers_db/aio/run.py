"""`run_transaction` for tasks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import psycopg
from psycopg import IsolationLevel

from pliers_db.aio.pool import AsyncConnection, AsyncDatabase
from pliers_db.db.call import UNAVAILABLE, Call
from pliers_db.db.footprint import Footprint
from pliers_db.db.outcome import AFTER_CRASH, ASK, END_IT, Inquiry, Outcome, judge, judge_after_crash, judge_error
from pliers_db.db.replica import CAUGHT_UP, PATIENCE, Pauses
from pliers_db.db.retry import RetryPolicy
from pliers_db.db.transaction import CommitLost, Xid, begin, commit, current_xid, rollback

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
    if isinstance(database, psycopg.AsyncConnection):
        call.join(database)
        async with database.transaction():
            return await function(database)
    while True:
        try:
            return await _attempt(call, function)
        except Exception as error:
            delay = call.failed(error)
            if delay is None:
                if fallback is not None and call.degrades(error):
                    return await fallback(error)
                raise
        await asyncio.sleep(delay)


async def _wait_until_replayed(conn: AsyncConnection, position: str) -> None:
    pauses = Pauses(position, PATIENCE)
    while True:
        row = await (await conn.execute(CAUGHT_UP, [position])).fetchone()
        if row is not None and row[0]:
            return
        await asyncio.sleep(pauses.next())


async def _attempt(call: Call, function: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Once: borrow, begin, call, commit, give back."""
    database: AsyncDatabase = call.database
    left = call.left()
    timeout = None if left is None else min(left, database.limits.checkout_timeout)
    borrower = sys._getframe(2)
    conn = database.ready(left, borrower) or await database.enter(timeout, left, borrower)
    conn.origin = call.name, call.attempt
    xid: Xid | None = None
    try:
        if call.after is not None:
            await _wait_until_replayed(conn, call.after)
        await conn.perform(begin(conn, call.statement), None)
        result = await function(conn)
        harmless = call.read_only or conn.footprint is Footprint.NOTHING
        async with conn.lock:
            if call.exactly_once and not harmless:
                xid = await conn.perform(current_xid(conn), None)
                harmless = xid is None
            await conn.perform(commit(conn), None)
    except CommitLost as lost:
        cause = cast(psycopg.Error, lost.__cause__)
        unknown = database.commit_unknown(conn, call.name)
        database.leave(conn, cause)
        if harmless:
            raise cause from None  # nothing was written: as if it had never begun
        if xid is None:
            raise unknown from cause
        if await _committed(database, Inquiry(call.name, xid, unknown, call.give_up)):
            return result
        raise cause from None
    except Exception as error:
        try:
            if not conn.closed:
                async with conn.lock:
                    await conn.perform(rollback(conn), None)
        finally:
            overdue = database.leave(conn, error)
        if overdue:
            raise overdue from error
        raise
    except BaseException as error:  # cancelled: the pool rolls back, nobody waits for it
        database.leave(conn, error)
        raise
    database.leave(conn, None)
    return result


async def _committed(database: AsyncDatabase, inquiry: Inquiry) -> bool:
    """Ask the server, until it knows. :raises CommitUnknown: it cannot be known, or not in time."""
    while True:
        try:
            outcome = await _ask(database, inquiry)
        except (*UNAVAILABLE, psycopg.OperationalError) as error:
            outcome = inquiry.in_vain(error)
        if (committed := inquiry.committed(outcome)) is not None:
            return committed
        await asyncio.sleep(inquiry.pause())


async def _ask(database: AsyncDatabase, inquiry: Inquiry) -> Outcome:
    xid = inquiry.xid
    async with database.connection(autocommit=True, deadline=inquiry.left) as conn:
        try:
            outcome = judge(xid, await (await conn.execute(ASK, [xid.xid])).fetchone())
            if outcome is Outcome.CRASHED:
                outcome = judge_after_crash(xid, await (await conn.execute(AFTER_CRASH)).fetchone())
        except (psycopg.DataError, psycopg.ProgrammingError) as error:
            return judge_error(error)
        if outcome is Outcome.IN_PROGRESS and inquiry.insist:
            await conn.execute(END_IT, [xid.xid])
        return outcome
