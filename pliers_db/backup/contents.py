"""Reading what a database holds, and saying how two that should hold the same differ."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from pliers_db.backup.manifest import Contents, SequenceValue, TableContent
from pliers_db.catalog import digests
from pliers_db.db import Connection, Database, load_queries

_Read = TypeVar("_Read")
_QUERIES = load_queries("pliers_db.backup", "sql/contents.sql")


@dataclass(frozen=True, slots=True)
class DumpedTable:
    """A table whose rows belong into a dump."""

    oid: int
    path: str
    readable: bool
    """Whether our role may select from it."""
    filtered: bool
    """Whether row-level security would hide rows from our role."""


@dataclass(frozen=True, slots=True)
class ComparedTable:
    """A table whose rows are counted or hashed."""

    path: str
    schema: str
    name: str
    kind: str
    size: int


def read_dumped(conn: Connection) -> list[DumpedTable]:
    """The tables for which pg_dump writes data."""
    return [DumpedTable(*row) for row in conn.execute(_QUERIES["dumped_tables"])]


def unlimited(conn: Connection, *, lock_timeout: float = 0) -> None:
    """Lift the limits that protect an application, for the current transaction.

    :param lock_timeout: seconds to wait for a table that somebody holds exclusively; 0 means no limit.
    """
    # transaction_timeout came with 17.
    names = ["statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"]
    for name in names if conn.info.server_version >= 170000 else names[:2]:
        conn.execute(sql.SQL("set local {} = 0").format(sql.Identifier(name)))
    conn.execute("select set_config('lock_timeout', %s, true)", [f"{lock_timeout * 1000:.0f}ms"])
    # As pg_dump does: an error rather than rows silently left out.
    conn.execute("set local row_security = off")


@contextmanager
def reading(
    database: Database,
    conn: Connection,
    *,
    snapshot: str | None = None,
    hashes: bool = True,
    streams: int = 2,
    lock_timeout: float = 0,
) -> Iterator[Reading]:
    """Read the contents on connections of their own while the block does something else.

    :param conn: tells which tables there are.
    :param snapshot: the exported snapshot to read in; default: each connection's own.
    :param hashes: hash the rows, too, not only count them.
    :param streams: how many connections to use at most.
    :param lock_timeout: seconds to wait for a table that somebody holds exclusively; 0 means no limit.
    """
    tables = [ComparedTable(*row) for row in conn.execute(_QUERIES["compared_tables"])]
    sequences = tuple(SequenceValue(*row) for row in conn.execute(_QUERIES["sequences"]))
    row = conn.execute(_QUERIES["large_objects"]).fetchone()
    assert row is not None
    task = Reading(database, snapshot, hashes, lock_timeout, sequences, row[0])
    streams = max(1, min(streams, database.limits.max_size - 1, len(tables)))
    with ThreadPoolExecutor(streams, thread_name_prefix="contents") as threads:
        task.start(threads, _shares(tables, streams))
        try:
            yield task
        except BaseException:
            task.cancel()
            raise


class Reading:
    """The reading of contents, under way; make it with `reading`."""

    def __init__(
        self,
        database: Database,
        snapshot: str | None,
        hashes: bool,
        lock_timeout: float,
        sequences: tuple[SequenceValue, ...],
        large_objects: int,
    ) -> None:
        self._database, self._snapshot, self._hashes, self._lock_timeout = database, snapshot, hashes, lock_timeout
        self._sequences, self._large_objects = sequences, large_objects
        self._futures: list[Future[list[TableContent]]] = []
        self._objects_hash: Future[str | None] | None = None
        self._connections: set[Connection] = set()
        self._lock = threading.Lock()
        self._cancelled = False

    def start(self, threads: ThreadPoolExecutor, shares: Sequence[Sequence[ComparedTable]]) -> None:
        """Begin, each share in a thread of its own."""
        self._futures = [threads.submit(self._inside, partial(self._tables, share)) for share in shares]
        if self._hashes and self._large_objects:
            self._objects_hash = threads.submit(self._inside, _hash_large_objects)

    def check(self) -> None:
        """Raise what has gone wrong so far."""
        for future in self._all():
            if future.done() and (error := future.exception()) is not None:
                raise error

    def result(self, tick: Callable[[], None] = lambda: None) -> Contents:
        """Wait for the end. :param tick: called a few times a second meanwhile."""
        while wait(self._all(), timeout=0.2).not_done:
            self.check()
            tick()
        tables = [table for future in self._futures for table in future.result()]
        objects = self._objects_hash.result() if self._objects_hash else None
        return Contents(tuple(sorted(tables, key=lambda t: t.path)), self._sequences, self._large_objects, objects)

    def _all(self) -> list[Future[Any]]:
        return [*self._futures, *filter(None, [self._objects_hash])]

    def cancel(self) -> None:
        """End it; the statements under way are cancelled on the server."""
        with self._lock:
            self._cancelled = True
            for conn in self._connections:
                with suppress(psycopg.Error):  # it may have gone by itself
                    conn.cancel_safe(timeout=5)

    def _tables(self, tables: Sequence[ComparedTable], conn: Connection) -> list[TableContent]:
        return _hash(conn, tables) if self._hashes else [_count(conn, table) for table in tables]

    def _inside(self, read: Callable[[Connection], _Read]) -> _Read:
        """Read something on a connection of its own, in the snapshot."""
        with self._database.connection(autocommit=True) as conn:
            with self._lock:
                if self._cancelled:
                    raise psycopg.errors.QueryCanceled("cancelled before it began")
                self._connections.add(conn)
            try:
                conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                conn.read_only = True
                with conn.transaction():
                    if self._snapshot is not None:
                        conn.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(self._snapshot)))
                    unlimited(conn, lock_timeout=self._lock_timeout)
                    return read(conn)
            finally:
                with self._lock:
                    self._connections.discard(conn)


def _hash_large_objects(conn: Connection) -> str | None:
    try:
        with conn.transaction():
            row = conn.execute(_QUERIES["large_objects_hash"]).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ProgramLimitExceeded, psycopg.errors.DataException):
        return None  # one of more than a gigabyte, or somebody else's: then only their number is compared
    assert row is not None
    return str(row[0])


def _hash(conn: Connection, tables: Sequence[ComparedTable]) -> list[TableContent]:
    found = digests(conn, [table.path for table in tables])
    return [TableContent(path, digest.rows, digest.hash) for path, digest in found.items()]


def _count(conn: Connection, table: ComparedTable) -> TableContent:
    # "only": the children of a table in an inheritance tree are counted by themselves.
    only = sql.SQL("" if table.kind == "p" else "only ")
    query = sql.SQL("select count(*) from {}{}").format(only, sql.Identifier(table.schema, table.name))
    row = conn.execute(query).fetchone()
    assert row is not None
    return TableContent(table.path, row[0])


def _shares(tables: Sequence[ComparedTable], count: int) -> list[list[ComparedTable]]:
    """Divide the tables so that the shares are about equally large: each goes to who has least so far."""
    shares: list[list[ComparedTable]] = [[] for _ in range(count)]
    sizes = [0] * count
    for table in sorted(tables, key=lambda t: t.size, reverse=True):
        least = sizes.index(min(sizes))
        shares[least].append(table)
        sizes[least] += table.size
    return shares


def differences(expected: Contents, found: Contents) -> list[str]:
    """How what was restored differs from what was backed up, in words; empty if it does not."""
    words = []
    before = {table.path: table for table in expected.tables}
    after = {table.path: table for table in found.tables}
    words += [f"table {path} is missing" for path in before.keys() - after.keys()]
    words += [f"table {path} was not in the backup" for path in after.keys() - before.keys()]
    for path in before.keys() & after.keys():
        was, now = before[path], after[path]
        if was.rows != now.rows:
            words.append(f"table {path} has {now.rows:,} rows instead of {was.rows:,}")
        elif was.hash is not None and now.hash is not None and was.hash != now.hash:
            words.append(f"table {path} has as many rows, {now.rows:,}, but not the same ones")
    values = {sequence.path: sequence.last_value for sequence in found.sequences}
    for sequence in expected.sequences:
        if sequence.path not in values:
            words.append(f"sequence {sequence.path} is missing")
        elif _behind(sequence, values[sequence.path]):
            value = values[sequence.path]
            words.append(f"sequence {sequence.path} stands at {value}, before {sequence.last_value}")
    hashes = {expected.large_objects_hash, found.large_objects_hash} - {None}
    if len(hashes) > 1 and expected.large_objects == found.large_objects:
        words.append(f"as many large objects, {found.large_objects:,}, but not the same ones")
    if expected.large_objects is not None and expected.large_objects != found.large_objects:
        words.append(f"{found.large_objects:,} large objects instead of {expected.large_objects:,}")
    return sorted(words)


def _behind(sequence: SequenceValue, value: int | None) -> bool:
    """Whether a restored sequence would give out a value again."""
    if sequence.last_value is None or sequence.cycle:
        return False
    return value is None or (value - sequence.last_value) * (1 if sequence.increment > 0 else -1) < 0
