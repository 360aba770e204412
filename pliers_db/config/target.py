"""Which database on which server, as whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pliers_db.config.secret import Secret


@dataclass(frozen=True, slots=True)
class Target:
    """The parameters of one connection.

    ``host`` is a name, an address, a socket folder, or a comma list of them as libpq takes it.
    ``params`` holds further libpq parameters from the URL (``options``, ``target_session_attrs``…).
    """

    dbname: str
    host: str | None = None
    port: str | None = None
    user: str | None = None
    password: Secret | None = None
    sslmode: str | None = None
    sslrootcert: str | None = None
    connect_timeout: float | None = None
    params: Mapping[str, str] = field(default_factory=dict)

    def with_database(self, dbname: str) -> Target:
        """The same server and role, another database."""
        return replace(self, dbname=dbname)

    def parameters(self) -> dict[str, str]:
        """libpq keywords and values, the password in clear: for ``psycopg.connect(**…)`` only."""
        found: dict[str, str | None] = {
            **self.params,
            "host": self.host,
            "port": self.port,
            "dbname": self.dbname,
            "user": self.user,
            "password": self.password.reveal() if self.password else None,
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert,
            # libpq takes whole seconds and reads less than 2 as 2.
            "connect_timeout": None if self.connect_timeout is None else str(max(2, round(self.connect_timeout))),
        }
        return {key: value for key, value in found.items() if value is not None}

    def environment(self) -> dict[str, str]:
        """The same as PG* variables for a child process (pg_dump, psql); argv never carries them."""
        names = {"dbname": "PGDATABASE", "target_session_attrs": "PGTARGETSESSIONATTRS"}
        return {names.get(key, "PG" + key.replace("_", "").upper()): value for key, value in self.parameters().items()}

    def __str__(self) -> str:
        """``user@host:port/dbname``, as messages show it; never the password."""
        where = self.host or "local socket"
        if where.startswith("/"):
            where = "local socket"
        elif self.port:
            where = f"{where}:{self.port}"
        return f"{self.user}@{where}/{self.dbname}" if self.user else f"{where}/{self.dbname}"
