"""A stretch of a session in which the same data always reads the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

from psycopg.pq import TransactionStatus

from pliers_db.db import Connection

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


@contextmanager
def pinned(conn: Connection) -> Iterator[None]:
    """Read in one snapshot, with every setting fixed that changes how values are written.

    In a transaction of the caller its snapshot counts (an exported one, say); otherwise a read-only one is opened.
    Either way the session is afterwards as it was before.
    """
    own = conn.info.transaction_status == TransactionStatus.IDLE
    with conn.transaction(force_rollback=True):
        if own:
            conn.execute("set transaction isolation level repeatable read, read only")
        conn.execute(_PINNED)
        yield
