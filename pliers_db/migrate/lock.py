"""One migration run at a time.

Three marks stand for one lock. The advisory lock is the real one: it belongs to the session that runs the DDL and dies
with it. yoyo's row makes stock yoyo wait and see us. Our owner record beside it says whose row it is: whoever holds
the advisory lock and finds a row of ours knows that its owner is dead.

The advisory lock is only ever tried, never waited for: a session that waits in ``pg_advisory_lock`` holds a snapshot,
and CREATE INDEX CONCURRENTLY of the holder would wait for it in turn.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from pliers_db.db import Connection
from pliers_db.db.locks import LockName, SchemaLock, advisory_unlock, lock_holders, try_advisory_lock
from pliers_db.errors import MigrationLocked
from pliers_db.migrate.history import OWN_TABLE, PROGRESS_TABLE, QUERIES, yoyo_now
from pliers_db.progress import Reporter
from pliers_db.units import format_duration

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds


@contextmanager
def migration_lock(
    conn: Connection, schema: str, *, wait: float, reporter: Reporter, alone: bool = False
) -> Iterator[None]:
    """Hold the lock of migrations for the block.

    :param conn: in autocommit mode; the one that runs the DDL.
    :param schema: where yoyo's tables stand.
    :param wait: how long to wait for another run, in seconds.
    :param alone: of this schema only; somebody holds `database_lock` for all of them.
    :raises MigrationLocked: it is still held; names the holder.
    """
    deadline = time.monotonic() + wait
    with _advisory(conn, SchemaLock(schema) if alone else LockName.SCHEMA, deadline, reporter):
        taken = _take_row(conn, schema, deadline, reporter)
        try:
            yield
        finally:
            _release_row(conn, schema, taken)


@contextmanager
def database_lock(conn: Connection, *, wait: float, reporter: Reporter) -> Iterator[None]:
    """Keep other runs out of the whole database for the block; it migrates nothing by itself.

    :raises MigrationLocked: another run is under way.
    """
    with _advisory(conn, LockName.SCHEMA, time.monotonic() + wait, reporter):
        yield


def left_behind(conn: Connection, schema: str) -> bool:
    """Whether a run that died has left its row in yoyo's lock table; the next `migration_lock` removes it."""
    query = sql.SQL(QUERIES["dead_lock"]).format(owners=sql.Identifier(schema, "_pliers_lock"))
    row = conn.execute(query).fetchone()
    return bool(row and row[0])


@contextmanager
def _advisory(conn: Connection, name: LockName | SchemaLock, deadline: float, reporter: Reporter) -> Iterator[None]:
    _poll(
        lambda: try_advisory_lock(conn, name),
        lambda: ", ".join(lock_holders(conn, name)) or "another session",
        deadline,
        reporter,
        why="It works or waits in this database right now; its lock goes with its connection.",
        fix="Wait, or give --wait a longer time; pliers-db migrate unlock --terminate ends it.",
    )
    try:
        yield
    finally:
        if _usable(conn):
            advisory_unlock(conn, name)


def _take_row(conn: Connection, schema: str, deadline: float, reporter: Reporter) -> datetime:
    """Insert our row; it carries the returned time."""
    _create_tables(conn, schema)
    row_table, owner_table = sql.Identifier(schema, "yoyo_lock"), sql.Identifier(schema, "_pliers_lock")
    found: list[tuple[int, datetime, bool, str | None]] = []
    taken = yoyo_now()
    select = sql.SQL(QUERIES["lock_row"]).format(rows=row_table, owners=owner_table)
    delete = sql.SQL("delete from {} where pid = %s and ctime is not distinct from %s")

    def attempt() -> bool:
        found[:] = conn.execute(select).fetchall()
        for pid, ctime, ours, host in found:
            if not ours:
                return False
            with conn.transaction():
                conn.execute(delete.format(row_table), [pid, ctime])
                conn.execute(sql.SQL("delete from {}").format(owner_table))
            age = format_duration((yoyo_now() - ctime).total_seconds())
            reporter.warn(f"removed the lock of a run that died (process {pid} on {host}, {age} ago)")
        nonlocal taken
        taken = yoyo_now()
        try:
            with conn.transaction():
                conn.execute(sql.SQL("delete from {}").format(owner_table))
                conn.execute(
                    sql.SQL("insert into {} (locked, ctime, pid) values (1, %s, %s)").format(row_table),
                    [taken, os.getpid()],
                )
                conn.execute(
                    sql.SQL(
                        "insert into {} (pid, ctime, host, backend_pid, backend_start) select %s, %s, %s, pid,"
                        " backend_start from pg_stat_activity where pid = pg_backend_pid()"
                    ).format(owner_table),
                    [os.getpid(), taken, socket.gethostname()],
                )
        except psycopg.errors.UniqueViolation:  # stock yoyo was faster
            found[:] = conn.execute(select).fetchall()
            return False
        return True

    def holder() -> str:
        if not found:
            return "yoyo"
        pid, ctime, _, _ = found[0]
        age = f", for {format_duration((yoyo_now() - ctime).total_seconds())}" if ctime else ""
        return f"yoyo (process {pid}{age})"

    _poll(
        attempt,
        holder,
        deadline,
        reporter,
        why="Its row stands in yoyo_lock; a yoyo that was killed leaves it behind.",
        fix="Wait, or give --wait a longer time; if that process is dead: pliers-db migrate unlock",
    )
    return taken


def _poll(
    attempt: Callable[[], bool],
    holder: Callable[[], str],
    deadline: float,
    reporter: Reporter,
    *,
    why: str,
    fix: str,
) -> None:
    """Try until it works or the deadline has passed."""
    pause, told, begun = _FIRST_PAUSE, False, time.monotonic()
    while not attempt():
        left = deadline - time.monotonic()
        if left <= 0:
            raise MigrationLocked(
                f"This database is being migrated by {holder()}",
                why=f"{why} Waited {time.monotonic() - begun:.0f} s.",
                fix=fix,
            )
        if not told and pause > 4 * _FIRST_PAUSE:
            reporter.info(f"Waiting for {holder()}, {format_duration(left)} at most")
            told = True
        # Jitter, so that twenty that start together do not ask together.
        time.sleep(min(left, pause * random.uniform(0.5, 1.0)))
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _create_tables(conn: Connection, schema: str) -> None:
    for relation in ("yoyo_lock", "_pliers_lock", OWN_TABLE, PROGRESS_TABLE):
        exists = conn.execute(
            "select to_regclass(format('%%I.%%I', %s::text, %s::text))", [schema, relation]
        ).fetchone()
        if exists and exists[0] is None:
            statement = sql.SQL(QUERIES[f"create_{relation.strip('_')}"])
            conn.execute(statement.format(sql.Identifier(schema, relation)))


def _release_row(conn: Connection, schema: str, taken: datetime) -> None:
    if not _usable(conn):
        return  # the connection is gone: the next run will see that we are
    conn.execute("reset session authorization; reset role")  # a file that failed half-way may have left its own
    with conn.transaction():
        for table in ("yoyo_lock", "_pliers_lock"):
            conn.execute(
                sql.SQL("delete from {} where pid = %s and ctime = %s").format(sql.Identifier(schema, table)),
                [os.getpid(), taken],
            )


def _usable(conn: Connection) -> bool:
    """Whether the connection can still be asked; what was under way is rolled back."""
    if conn.info.transaction_status == TransactionStatus.ACTIVE:
        conn.close()
    elif not conn.closed and conn.info.transaction_status != TransactionStatus.IDLE:
        conn.rollback()
    return not conn.closed
