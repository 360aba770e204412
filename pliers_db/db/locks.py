"""Advisory locks that keep our commands out of each other's way, in the same database."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from zlib import crc32

import psycopg
from psycopg.pq import TransactionStatus

from pliers_db.db.connect import Connection
from pliers_db.db.pgbouncer import pooler_in_the_way
from pliers_db.errors import LockedError
from pliers_db.units import format_duration

_CLASS = 0x706C6965  # "plie": keeps our keys apart from those of applications
_SCHEMA_CLASS = 0x706C6973  # "plis"


class LockName(Enum):
    """What a lock protects; the value is its second key."""

    SCHEMA = 1
    """The shape of the database: migrations exclusively, backups shared."""
    SEED = 2
    BACKUP = 3


@dataclass(frozen=True, slots=True)
class SchemaLock:
    """The shape of one schema among many. (Two may share a key: then one waits for the other.)"""

    schema: str

    @property
    def name(self) -> str:
        """As `LockName.name`."""
        return f"schema {self.schema}"


def _key(name: LockName | SchemaLock) -> tuple[int, int]:
    if isinstance(name, LockName):
        return _CLASS, name.value
    value = crc32(name.schema.encode())
    return _SCHEMA_CLASS, value - (1 << 32) if value >= 1 << 31 else value


def try_advisory_lock(conn: Connection, name: LockName | SchemaLock, *, shared: bool = False) -> bool:
    """Take a session lock if it is free; never waits.

    A blocking ``pg_advisory_lock`` would hold a snapshot, and with it ``create index concurrently``, while it waits.

    :raises PoolerInTheWay: the lock would stay behind in a session of the pooler.
    """
    function = "pg_try_advisory_lock_shared" if shared else "pg_try_advisory_lock"
    row = conn.execute(
        f"select case when pg_backend_pid() = %s then {function}(%s, %s) end",
        [conn.info.backend_pid, *_key(name)],
    ).fetchone()
    if row is None or row[0] is None:  # another process answers than the one that let us in
        raise pooler_in_the_way("a lock")
    return bool(row[0])


def advisory_unlock(conn: Connection, name: LockName | SchemaLock, *, shared: bool = False) -> bool:
    """Release a session lock. :returns: whether it was held."""
    function = "pg_advisory_unlock_shared" if shared else "pg_advisory_unlock"
    row = conn.execute(f"select {function}(%s, %s)", _key(name)).fetchone()
    return row is not None and bool(row[0])


def lock_holders(conn: Connection, name: LockName | SchemaLock) -> list[str]:
    """Who holds a lock: ``pliers-db/migrate (pid 4711, from 10.0.0.7, for 3 min 5 s)``.

    The time is the age of its session; what this role may not see is left out.
    """
    key = _key(name)
    rows = conn.execute(
        "select coalesce(nullif(a.application_name, ''), 'somebody'), l.pid, host(a.client_addr),"
        " extract(epoch from clock_timestamp() - a.backend_start)::float8"
        " from pg_locks l left join pg_stat_activity a using (pid)"
        " where l.locktype = 'advisory' and l.granted and l.classid = %s and l.objid::int8 = %s and l.objsubid = 2"
        " and l.database = (select oid from pg_database where datname = current_database()) order by l.pid",
        [key[0], key[1] % (1 << 32)],  # pg_locks shows the second one without its sign
    ).fetchall()
    return [
        f"{application} (pid {pid}{f', from {host}' if host else ''}"
        f"{'' if age is None else f', for {format_duration(age)}'})"
        for application, pid, host, age in rows
    ]


@contextmanager
def advisory_lock(
    conn: Connection,
    name: LockName,
    *,
    shared: bool = False,
    wait: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold a session lock for a block.

    The lock belongs to the session: it outlives a rollback and ends with the connection.

    :param conn: in autocommit, or the polling would hold one long transaction.
    :param wait: how many seconds to keep trying.
    :param on_wait: called once with the holder's name when the lock is not free.
    :raises LockedError: it stayed taken; names the holder.
    """
    deadline = time.monotonic() + wait
    told = False
    while not try_advisory_lock(conn, name, shared=shared):
        left = deadline - time.monotonic()
        if left <= 0:
            holders = ", ".join(lock_holders(conn, name)) or "another session"
            raise LockedError(
                f"The {name.name.lower()} lock is held by {holders}",
                why=f"Waited {wait:g} s." if wait else "It is taken right now.",
                fix="Wait for it to end, or look at it: select * from pg_stat_activity where pid = …",
            )
        if not told and on_wait is not None:
            on_wait(", ".join(lock_holders(conn, name)) or "another session")
            told = True
        # Jitter: twenty that wait together must not ask together.
        time.sleep(min(left, random.uniform(0.05, 0.25)))
    try:
        yield
    finally:
        _release(conn, name, shared=shared)


def _release(conn: Connection, name: LockName, *, shared: bool) -> None:
    """Unlock; a connection that is gone has unlocked by itself."""
    if conn.closed:
        return
    if conn.info.transaction_status == TransactionStatus.INERROR:
        conn.rollback()
    try:
        advisory_unlock(conn, name, shared=shared)
    except psycopg.OperationalError:
        if not conn.closed:
            raise
