"""One connection, and why there is none."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import PGconn, Ping

from pliers_db.config import Target
from pliers_db.errors import ConnectFailed

Connection = psycopg.Connection[Any]


def connect(target: Target, *, application_name: str = "pliers-db", autocommit: bool = True) -> Connection:
    """Open a connection outside the pool.

    :raises ConnectFailed: with the real cause.
    """
    try:
        return psycopg.connect(
            **target.parameters(),  # type: ignore[arg-type]
            application_name=application_name,
            autocommit=autocommit,
        )
    except psycopg.Error as error:
        raise explain(error, target) from None


def explain(error: psycopg.Error, target: Target) -> ConnectFailed:
    """Classify a failed connect. libpq gives no SQLSTATE for it, so a ping tells whether a server is there."""
    why = " ".join(str(error).split())
    if target.password:
        why = why.replace(target.password.reveal(), "********")
    low = why.lower()
    answer = PGconn.ping(psycopg.conninfo.make_conninfo("", **target.parameters()).encode())
    kind, fix = "unreachable", "Check host and port, and that the server is running."
    if "password authentication failed" in low or "no password supplied" in low:
        kind, fix = "password", "Check DB_USER and DB_PASSWORD (or the URL): pliers-db config show"
    elif 'database "' in low and "does not exist" in low:
        kind, fix = "database", f"Create it (createdb {target.dbname}) or correct DB_NAME."
    elif 'role "' in low and "does not exist" in low:
        kind, fix = "role", "Create the role or correct DB_USER."
    elif "could not translate host name" in low or "name or service not known" in low:
        kind, fix = "host", "Correct DB_HOST: this name is not known here."
    elif "ssl" in low or "certificate" in low:
        kind, fix = "tls", "Check DB_SSLMODE and DB_SSLROOTCERT."
    elif "too many" in low or "remaining connection slots" in low:
        kind, fix = "slots", "Close idle connections or raise max_connections."
    elif answer == Ping.REJECT:
        kind, fix = "starting", "The server is starting or recovering; try again in a moment."
    elif isinstance(error, psycopg.errors.ConnectionTimeout) or "timeout" in low:
        kind, fix = "timeout", "Check the firewall between here and the server."
    return ConnectFailed(f"Cannot connect to {target}", why=why, fix=fix, kind=kind)
