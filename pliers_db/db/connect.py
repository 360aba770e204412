"""One connection, and why there is none."""

from __future__ import annotations

from shlex import quote
from typing import Any

import psycopg
from psycopg.abc import AdaptContext
from psycopg.pq import Ping

from pliers_db.config import PoolSettings, Target
from pliers_db.db.ping import ping
from pliers_db.errors import ConnectFailed
from pliers_db.log import redact

Connection = psycopg.Connection[Any]

# A peer that vanished without a word (a pulled cable, a firewall that forgot us) is noticed after about a minute;
# the kernel's own default is two hours. libpq's documentation, "keepalives".
_KEEPALIVE = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",  # milliseconds
}


def startup(
    target: Target,
    limits: PoolSettings | None = None,
    *,
    application_name: str,
    adapters: AdaptContext | None = None,
) -> dict[str, Any]:
    """The keyword arguments for ``psycopg.connect``.

    Timeouts go into ``options``: what stands there is what RESET ALL comes back to.
    """
    parameters = {**_KEEPALIVE, **target.parameters(), "application_name": application_name}
    if limits is not None and limits.statement_timeout:
        options = f"-c statement_timeout={round(limits.statement_timeout * 1000)}"
        parameters["options"] = f"{options} {parameters.get('options', '')}".strip()
    return {**parameters, "autocommit": True, "context": adapters}


def connect(target: Target, *, application_name: str = "pliers-db", autocommit: bool = True) -> Connection:
    """Open a connection outside the pool.

    :raises ConnectFailed: with the real cause.
    """
    try:
        return psycopg.connect(**{**startup(target, application_name=application_name), "autocommit": autocommit})
    except psycopg.Error as error:
        raise explain(error, target) from None


# What libpq's words mean, in the order they are looked for: (words, kind, fix). The server's own messages come in
# its lc_messages; what is not recognised is sorted by the ping.
_WORDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("password authentication failed", "no password supplied"),
        "password",
        "Check DB_USER and DB_PASSWORD (or the URL): pliers-db config show",
    ),
    (
        ("session is read-only", "server is in hot standby mode", "server is not in hot standby mode"),
        "standby",
        "No host takes writes now: wait for the failover, or look which is the primary.",
    ),
    (("no pg_hba.conf entry", "pg_hba.conf rejects"), "hba", "Allow this host, user and database in pg_hba.conf."),
    (
        ("could not translate host name", "name or service not known", "failed to resolve host"),
        "host",
        "Correct DB_HOST: this name is not known here.",
    ),
    (("ssl", "certificate", "tls"), "tls", "Check DB_SSLMODE and DB_SSLROOTCERT."),
    (
        ("too many", "remaining connection slots", "connection limit exceeded"),
        "slots",
        "Close idle connections or raise max_connections.",
    ),
)


def explain(error: psycopg.Error, target: Target) -> ConnectFailed:
    """Classify a failed connect. libpq gives no SQLSTATE for it, so a ping tells whether a server is there."""
    why = redact(" ".join(str(error).split()))
    kind, fix = _sort(error, why.lower(), target)
    if "certificate verify failed" in why:
        from pliers_db.db.tls import certificate_problem

        if reason := certificate_problem(target):
            why = f"{why}: {reason}"
    return ConnectFailed(f"Cannot connect to {target}", why=why, fix=fix, kind=kind)


def _sort(error: psycopg.Error, low: str, target: Target) -> tuple[str, str]:
    if isinstance(error, psycopg.ProgrammingError):
        return "settings", "Correct the setting that libpq names: pliers-db config show"
    if 'database "' in low and "does not exist" in low:
        return "database", f"Create it (createdb {quote(target.dbname)}) or correct DB_NAME."
    if 'role "' in low and "does not exist" in low:
        return "role", "Create the role or correct DB_USER."
    for words, kind, fix in _WORDS:
        if any(word in low for word in words):
            return kind, fix
    if isinstance(error, psycopg.errors.ConnectionTimeout):  # a ping would wait as long again
        return "timeout", "Check the firewall between here and the server."
    match ping(target):
        case Ping.REJECT:
            return "starting", "The server is starting or recovering; try again in a moment."
        case Ping.OK:
            return "refused", "The server is up but refuses this connection; its log says more."
        case _:
            return "unreachable", "Check host and port, and that the server is running."
