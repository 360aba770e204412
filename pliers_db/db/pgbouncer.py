"""Whether a connection pooler stands between us and the server, and what does not work through one.

A pooler in transaction mode gives each transaction another server session: locks, SET, LISTEN, temporary tables and
prepared statements of a session end up with somebody else.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import generators
from psycopg.abc import AdaptContext, PQGen

from pliers_db.config import PoolSettings, Target
from pliers_db.db.connect import startup
from pliers_db.errors import PoolerInTheWay

_GREATEST_PID = 4_194_304  # Linux, 64 bits: PID_MAX_LIMIT; PgBouncer makes up any number of 32 bits


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


class Passage:
    """What stands between a pool and its server; found out with the pool's first connection.

    Through a pooler, no statement is prepared (its name would be another session's tomorrow), no session is wiped (it
    would be somebody else's), and the statement timeout is set with each transaction: PgBouncer refuses ``options``.
    """

    def __init__(
        self,
        target: Target,
        limits: PoolSettings,
        application_name: str,
        adapters: AdaptContext | None = None,
    ) -> None:
        """:param adapters: of every connection."""
        self._limits = limits
        self._bare = startup(target, application_name=application_name, adapters=adapters)
        self.parameters = startup(target, limits, application_name=application_name, adapters=adapters)
        """The keyword arguments for ``connect``."""
        self.pooled: bool | None = None
        """None: not known yet."""

    def refuses(self, error: psycopg.Error) -> bool:
        """Whether a connect failed because a pooler does not take our ``options``. The next one goes without."""
        if "unsupported startup parameter" not in str(error):
            return False
        self.pooled = True
        self.parameters = self._bare
        return True

    def adapt(self, conn: Any) -> None:
        """Make a new connection of the pool fit for the pooler. To be called before its first use."""
        conn.prepare_threshold = None
        conn.pooled = True
        if self._limits.statement_timeout:
            milliseconds = round(self._limits.statement_timeout * 1000)
            conn.preamble = f"; set local statement_timeout = {milliseconds}".encode()


def noticed(conn: Any) -> PQGen[bool]:
    """`behind_pooler`, for sync and async connections alike: ``conn.wait(noticed(conn))``."""
    pid = conn.pgconn.backend_pid
    if not 0 < pid <= _GREATEST_PID:
        return True
    conn.pgconn.send_query(b"select pg_backend_pid()")
    (result,) = yield from generators.execute(conn.pgconn)
    value = result.get_value(0, 0) if result.ntuples else None
    return value is None or int(value) != pid
