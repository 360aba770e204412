"""Whether a connection pooler stands between us and the server, and what does not work through one.

A pooler in transaction mode gives each transaction another server session: locks, SET, LISTEN, temporary tables and
prepared statements of a session end up with somebody else.
"""

from __future__ import annotations

from typing import Any

import psycopg

from pliers_db.errors import PoolerInTheWay


def behind_pooler(conn: psycopg.Connection[Any]) -> bool:
    """Whether another process answers than the one that took the connection.

    PgBouncer announces a number of its own as the backend's process id. It does so in session mode too, which cannot
    be told apart from here.
    """
    row = conn.execute("select pg_backend_pid()", prepare=False).fetchone()
    return row is None or row[0] != conn.info.backend_pid


def pooler_in_the_way(what: str) -> PoolerInTheWay:
    """The refusal of work that needs a session of its own. :param what: that work, such as ``an advisory lock``."""
    return PoolerInTheWay(
        f"A connection pooler stands before the server, and {what} needs a session of its own",
        why="Through PgBouncer in transaction mode it would land in a session that others use next.",
        fix="Set DIRECT_DATABASE_URL to the server itself (its own port, not the pooler's).",
    )
