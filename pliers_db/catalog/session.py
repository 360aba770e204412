"""A stretch of a session in which the same data always reads the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import LiteralString, TypeVar

from psycopg import Error, errors
from psycopg.pq import TransactionStatus

from pliers_db.db import Connection
from pliers_db.errors import CatalogChanging

Result = TypeVar("Result")

# search_path: names come out qualified, as in pg_dump. row_security: an error instead of rows that are silently
# missing. jit: many small queries, not one long one. The rest decides how values are written (compare what pg_dump
# and postgres_fdw set for the same reason).
_PINNED: LiteralString = """
    set local search_path to '';
    set local datestyle to 'ISO, YMD';
    set local intervalstyle to 'postgres';
    set local timezone to 'UTC';
    set local extra_float_digits to 3;
    set local bytea_output to 'hex';
    set local lc_monetary to 'C';
    set local xmlbinary to 'base64';
    set local quote_all_identifiers to off;
    set local row_security to off;
    set local jit to off
"""

# What the functions that write definitions raise when an object has gone since the snapshot was taken: they look at
# the catalog of this moment. XX000 is "could not open relation with OID…", "cache lookup failed…".
_GONE = (
    errors.InternalError_,
    errors.UndefinedTable,
    errors.UndefinedObject,
    errors.UndefinedFunction,
    errors.UndefinedColumn,
    errors.InvalidSchemaName,
)
_ATTEMPTS = 6


@contextmanager
def pinned(conn: Connection) -> Iterator[None]:
    """Read in one snapshot, with every setting fixed that changes how values are written.

    In a transaction of the caller its snapshot counts (an exported one, say); otherwise a read-only one is opened.
    Either way the session is afterwards as it was before.
    """
    own = conn.info.transaction_status == TransactionStatus.IDLE
    # Our own ends with COMMIT, which undoes SET LOCAL too: at a ROLLBACK psycopg forgets what it has prepared, and to
    # plan these queries takes the server longer than to run them.
    with conn.transaction(force_rollback=not own):
        if own:
            conn.execute("set transaction isolation level repeatable read, read only")
        conn.execute(_PINNED)
        yield


@contextmanager
def pipelined(conn: Connection) -> Iterator[None]:
    """A pipeline that raises its first error, and does not log those that follow from it."""
    first: Error | None = None
    try:
        with conn.pipeline():
            try:
                yield
            except Error as error:
                first = error
    except errors.PipelineAborted:
        if first is None:
            raise
    if first is not None:
        raise first


def settled(conn: Connection, read: Callable[[], Result]) -> Result:
    """Read, and read again if objects went away meanwhile.

    Again only with a snapshot of our own: in a transaction of the caller the old one would stay.

    :raises CatalogChanging: it did not succeed.
    """
    own = conn.info.transaction_status == TransactionStatus.IDLE
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return read()
        except _GONE as error:
            if not own or attempt == _ATTEMPTS:
                raise CatalogChanging(
                    "The schema is being changed right now",
                    why=str(error.diag.message_primary or error),
                    fix="Try again when the migration, or whoever creates and drops tables, has finished.",
                ) from error
            time.sleep(0.02 * 2**attempt)
    raise AssertionError  # the loop returns or raises
