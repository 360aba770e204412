"""One transaction on a borrowed connection: begin, commit, roll back; sync and async alike.

Written as generators in psycopg's manner (``conn.perform(begin(conn), None)``, with ``await`` for tasks), because two
things need a hand on the wire: the clean-up of the session travels with the COMMIT, in the same message, and the
answer to the COMMIT is read in full: psycopg takes a server's ROLLBACK, where COMMIT was asked, for success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import IsolationLevel, generators
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from pliers_db.db.footprint import Footprint
from pliers_db.db.lent import Lent
from pliers_db.db.session import WIPE, WIPE_ALL, forget_prepared
from pliers_db.db.sqlstate import ErrorClass, classify
from pliers_db.errors import InputError, TransactionAborted

_GOOD: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)
_LEVELS: Final = {level.name.lower().replace("_", " "): level for level in IsolationLevel}


class CommitLost(Exception):
    """The connection broke after COMMIT was sent and before its answer came: it may be committed or not."""


MARK: Final = (
    "case when not pg_is_in_recovery() then substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) end,"
    " extract(epoch from pg_stat_get_bgwriter_stat_reset_time())::text"
)
"""The server's timeline (it changes with a failover) and since when it counts (it counts anew after a crash)."""


@dataclass(frozen=True, slots=True)
class Xid:
    """A transaction's number, and the life of the server in which it means something."""

    xid: str
    timeline: str
    life: str


def begin_statement(
    isolation: IsolationLevel | str | None = None, *, read_only: bool = False, deferrable: bool = False
) -> bytes:
    """``BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE``.

    :param isolation: a level of psycopg, or its name: ``read committed``, ``repeatable read``, ``serializable``.
    :raises InputError: there is no such level.
    """
    parts = ["BEGIN"]
    if isinstance(isolation, str):
        try:
            isolation = _LEVELS[isolation.strip().lower().replace("_", " ")]
        except KeyError:
            raise InputError(
                f"Unknown isolation level {isolation!r}", fix=f"Choose one of: {', '.join(_LEVELS)}."
            ) from None
    if isolation is not None:
        parts.append(f"ISOLATION LEVEL {isolation.name.replace('_', ' ')}")
    if read_only:
        parts.append("READ ONLY")
    if deferrable:
        parts.append("DEFERRABLE")
    return " ".join(parts).encode()


def begin(conn: Any, statement: bytes = b"BEGIN") -> PQGen[None]:
    """Open the transaction. From here on ``conn.commit()`` and ``conn.rollback()`` are refused."""
    for result in (yield from _run(conn, statement + conn.preamble)):
        _raise_for(result)
    conn._num_transactions = 1  # psycopg: nested conn.transaction() blocks are savepoints, commit() is an error


def commit(conn: Any) -> PQGen[None]:
    """Commit, and wipe the session in the same round trip.

    :raises TransactionAborted: the server rolled back instead, because an error had been swallowed.
    :raises CommitLost: no answer came.
    :raises psycopg.Error: the server refused: nothing is committed.
    """
    conn._num_transactions = 0
    if conn.pgconn.transaction_status == TransactionStatus.IDLE:
        raise TransactionAborted(
            "The transaction was ended inside its own block",
            why="A COMMIT or ROLLBACK was executed as a statement.",
            fix="Leave the end of the transaction to the block.",
        )
    try:
        first, *rest = yield from _run(conn, _with_wipe(conn, b"COMMIT"))
    except psycopg.OperationalError as error:
        raise CommitLost(str(error)) from error
    if first.status not in _GOOD:
        refusal = psycopg.errors.error_from_result(first, encoding=conn.pgconn._encoding)
        if classify(refusal.sqlstate) is ErrorClass.CONNECTION:
            # The server was shut down while it committed; it may have been done.
            raise CommitLost(str(refusal)) from refusal
        raise refusal
    _wiped(conn, rest)
    if first.command_status == b"ROLLBACK":
        raise TransactionAborted(
            "The block ended well, but its transaction had failed: nothing was committed",
            why="An error of the server was caught inside the block.",
            fix="Catch it around the block, or put the risky part into: with conn.transaction():",
        )


def rollback(conn: Any) -> PQGen[None]:
    """Roll back, and wipe the session in the same round trip. Never raises: a connection that cannot is closed."""
    conn._num_transactions = 0
    status = conn.pgconn.transaction_status
    if status == TransactionStatus.IDLE or conn.closed:
        return
    try:
        if status == TransactionStatus.ACTIVE:  # interrupted in the middle of a statement
            raise psycopg.OperationalError("a statement is still running")
        first, *rest = yield from _run(conn, _with_wipe(conn, b"ROLLBACK"))
        _raise_for(first)
        _wiped(conn, rest)
    except psycopg.Error:
        conn.pgconn.finish()


def current_xid(conn: Any) -> PQGen[Xid | None]:
    """The number of the running transaction; None if it has written nothing."""
    if conn.pgconn.transaction_status != TransactionStatus.INTRANS:
        return None  # failed or ended: `commit` will say so
    (result,) = yield from _run(conn, f"select pg_current_xact_id_if_assigned()::text, {MARK}".encode())
    _raise_for(result)
    xid, timeline, life = (bytes(result.get_value(0, column) or b"").decode() for column in range(3))
    return Xid(xid, timeline, life) if xid else None


def _run(conn: Any, statement: bytes) -> PQGen[list[PGresult]]:
    conn._check_connection_ok()
    conn.pgconn.send_query(statement)
    results: list[PGresult] = yield from generators.execute(conn.pgconn)
    return results


def _raise_for(result: PGresult) -> None:
    if result.status not in _GOOD:
        raise psycopg.errors.error_from_result(result)


def _with_wipe(conn: Lent, end: bytes) -> bytes:
    if conn.footprint is Footprint.NOTHING or conn.pooled:
        return end
    return end + b"; " + (WIPE_ALL if conn.footprint is Footprint.SESSION else WIPE)


def _wiped(conn: Any, results: Sequence[PGresult]) -> None:
    """The end of the transaction stands; whether the session is clean decides if the connection is kept."""
    if not results:
        return
    if any(result.status not in _GOOD for result in results):
        conn.pgconn.finish()
        return
    if conn.footprint is Footprint.SESSION:
        forget_prepared(conn)
    conn.footprint = Footprint.NOTHING
