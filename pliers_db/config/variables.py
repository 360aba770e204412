"""Every environment variable that pliers-db reads. `.env.example` documents the same ones; a test compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable."""

    name: str
    about: str
    secret: bool = False
    """``NAME_FILE`` gives it too: the path of a file that holds the value."""
    process_only: bool = False
    """Read from the process environment alone, not from ``.env`` files."""


_ALL = (
    Variable("PLIERS_ENV", "Which environment this is: development, test, staging, production."),
    Variable("ENV", "The same, for whom PLIERS_ENV is not set."),
    Variable("DATABASE_URL", "The database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE.", secret=True),
    Variable("DIRECT_DATABASE_URL", "The way around a connection pooler, for work that needs a session.", secret=True),
    Variable("DB_HOST", "Server name, address or socket folder."),
    Variable("DB_PORT", "Server port."),
    Variable("DB_NAME", "Database name."),
    Variable("DB_USER", "Role."),
    Variable("DB_PASSWORD", "Password of the role.", secret=True),
    Variable("DB_SSLMODE", "disable, allow, prefer, require, verify-ca or verify-full."),
    Variable("DB_SSLROOTCERT", "File of the certificates to trust, or system."),
    Variable("DB_POOL_MIN", "Connections that the pool keeps open."),
    Variable("DB_POOL_MAX", "Connections that the pool may open."),
    Variable("DB_POOL_TIMEOUT", "How long to wait for a free connection."),
    Variable("DB_POOL_MAX_WAITING", "How many may wait for one before the next is refused at once; 0: any number."),
    Variable("DB_CONNECT_TIMEOUT", "How long to wait for the server to let us in."),
    Variable("DB_IDLE_TIMEOUT", "After how long an unused connection is closed."),
    Variable("DB_MAX_LIFETIME", "After how long a connection is replaced by a new one."),
    Variable("DB_STATEMENT_TIMEOUT", "The longest a statement may run; 0: no limit."),
    Variable("DB_HELD_WARNING", "After how long a connection that is still out is reported; 0: never."),
    Variable("DB_SLOW_QUERY", "From how long on a statement is logged as slow; 0: never."),
    Variable("PLIERS_HEARTBEAT", "URL that is told when a nightly backup begins, and how it ends."),
    Variable("PLIERS_IDENTITY", "File with the secret key of encrypted backups, for restore.", process_only=True),
    Variable("PLIERS_LOG", "Format of the log on stderr: text or json.", process_only=True),
    Variable("PLIERS_LOG_LEVEL", "debug, info, warning or error.", process_only=True),
    Variable("PLIERS_DEBUG", "Anything: show tracebacks.", process_only=True),
    Variable("PGBIN", "Folder with PostgreSQL's own programs.", process_only=True),
)
VARIABLES: Mapping[str, Variable] = {variable.name: variable for variable in _ALL}

KNOWN = frozenset(VARIABLES) | {f"{variable.name}_FILE" for variable in _ALL if variable.secret}
"""Every name that is read."""

SYNONYMS: Mapping[str, str] = {
    "DB_USERNAME": "DB_USER",
    "DB_DATABASE": "DB_NAME",
    "DB_DBNAME": "DB_NAME",
    "DB_PASS": "DB_PASSWORD",
    "DB_PASSWD": "DB_PASSWORD",
    "DB_PWD": "DB_PASSWORD",
    "DB_HOSTNAME": "DB_HOST",
    "DB_URL": "DATABASE_URL",
    "DB_SSL": "DB_SSLMODE",
    "DB_TIMEOUT": "DB_CONNECT_TIMEOUT",
    "DB_POOL_SIZE": "DB_POOL_MAX",
    "PLIERS_ENVIRONMENT": "PLIERS_ENV",
    "DIRECT_URL": "DIRECT_DATABASE_URL",
}
"""What other programs call the same thing."""
