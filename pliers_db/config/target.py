"""Which database on which server, as whom."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pliers_db.config.ambient import without_ambient
from pliers_db.config.secret import Secret
from pliers_db.errors import InputError

CHOICES: Mapping[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "load_balance_hosts": ("disable", "random"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
}
"""Parameters of libpq that take one of a few values."""

# Where systems keep the certificates they trust. psycopg's binary wheel brings an OpenSSL that looks into
# /usr/lib/psycopg-openssl, which no system has, so its libpq finds nothing under sslrootcert=system.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)

# What a connection says explicitly, so that no PG* variable of the shell can say it instead. An empty text is
# "given" to libpq, and means its built-in default.
_EXPLICIT: Mapping[str, str] = {
    "host": "",
    "hostaddr": "",
    "port": "5432",
    "options": "",
    "sslmode": "prefer",
    "target_session_attrs": "any",
    "client_encoding": "UTF8",
}

_VARIABLES: Mapping[str, str] = {
    "dbname": "PGDATABASE",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "application_name": "PGAPPNAME",
    "min_protocol_version": "PGMINPROTOCOLVERSION",
    "max_protocol_version": "PGMAXPROTOCOLVERSION",
}
# libpq has no variable for these; a child process goes without.
_NO_VARIABLE = re.compile(r"keepalives.*|tcp_user_timeout|fallback_application_name|replication")


@dataclass(frozen=True, slots=True)
class Target:
    """The parameters of one connection.

    ``host`` is a name, an address, a socket folder, or a comma list of them as libpq takes it; None is libpq's
    default socket folder. ``params`` holds further libpq parameters from the URL (``options``…), no secrets.
    """

    dbname: str
    host: str | None = None
    port: str | None = None
    user: str | None = None
    password: Secret | None = None
    sslmode: str | None = None
    sslrootcert: str | None = None
    connect_timeout: float | None = None
    """Seconds."""
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether every host is a Unix socket: no network, no TLS."""
        if self.params.get("hostaddr"):
            return False
        return all(not host or host.startswith("/") for host in (self.host or "").split(","))

    @property
    def needs_tls(self) -> bool:
        """Whether a connection without TLS is refused by our own side; libpq's default, prefer, takes either."""
        return self.sslmode in ("require", "verify-ca", "verify-full") or self.sslrootcert == "system"

    def with_database(self, dbname: str) -> Target:
        """The same server and role, another database."""
        return replace(self, dbname=dbname)

    def parameters(self) -> dict[str, str]:
        """libpq keywords and values, the password in clear: for ``psycopg.connect(**…)`` only.

        Whatever decides which database is reached, and how a session there behaves, is given explicitly, so that
        ``PGHOST``, ``PGOPTIONS`` and the like in the shell change nothing (docs/configuration.md).
        """
        explicit = dict(_EXPLICIT)
        if self.sslrootcert == "system":
            explicit["sslmode"] = "verify-full"  # libpq's own default then
        return {**explicit, **self._given()}

    def environment(self) -> dict[str, str]:
        """The same as PG* variables, the password in clear; argv never carries them. See `child_environment`."""
        names = {key: _VARIABLES.get(key, "PG" + key.replace("_", "").upper()) for key in self._given()}
        given = {names[key]: value for key, value in self._given().items() if _NO_VARIABLE.fullmatch(key) is None}
        return {"PGPORT": "5432", **given}

    def child_environment(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment for pg_dump, psql and the like: the process's, with our PG* variables in place of its own.

        :param environ: default: ``os.environ``.
        """
        return {**without_ambient(os.environ if environ is None else environ), **self.environment()}

    def _given(self) -> dict[str, str]:
        found: dict[str, str | None] = {
            **self.params,
            "host": self.host,
            "port": self.port,
            "dbname": self.dbname,
            "user": self.user,
            "password": self.password.reveal() if self.password else None,
            "sslmode": self.sslmode,
            "sslrootcert": _system_bundle() if self.sslrootcert == "system" else self.sslrootcert,
            # libpq takes whole seconds and reads less than 2 as 2.
            "connect_timeout": None if self.connect_timeout is None else str(max(2, round(self.connect_timeout))),
        }
        if self.sslrootcert == "system" and self.sslmode is None:
            found["sslmode"] = "verify-full"
        return {key: value for key, value in found.items() if value is not None}

    def __str__(self) -> str:
        """``user@host:port/dbname``, as messages show it; never the password."""
        hosts, ports = (self.host or self.params.get("hostaddr") or "").split(","), (self.port or "").split(",")
        ports += ports[:1] * (len(hosts) - len(ports))
        places = [
            "local socket" if not host or host.startswith("/") else f"{host}:{port}" if port else host
            for host, port in zip(hosts, ports, strict=False)
        ]
        where = ",".join(places)
        return f"{self.user}@{where}/{self.dbname}" if self.user else f"{where}/{self.dbname}"


def check_hosts(hosts: str | None, bad: Callable[[str, str, str], InputError]) -> None:
    """Refuse a host that is a part of something else: a password's rest, a host with its port, a URL.

    :param bad: makes the error from what, why and fix.
    """
    for host in hosts.split(",") if hosts else []:
        if host.startswith("/"):
            continue  # a socket folder may be called anything
        if not host:
            raise bad("a host of the list is empty", "Two commas stand together, or one at an end.", "Name each host.")
        if "@" in host:
            raise bad("there is an '@' in the host", "It looks like a part of a password.", "Write @ as %40.")
        if "://" in host:
            raise bad("the host is a URL", "Only the server's name or address belongs there.", "Use DATABASE_URL.")
        if any(c.isspace() or not c.isprintable() for c in host):
            raise bad("there is a blank in the host", "No name or address holds one.", "Write the host without it.")
        if "/" in host:
            raise bad(
                "there is a '/' in the host", "Only a socket folder holds one, and begins with it.", "Correct it."
            )
        if re.fullmatch(r"[^:]+:[0-9]*|\[.*", host):
            raise bad(
                "the host is written with its port or brackets",
                "The port is a setting of its own.",
                "Write DB_HOST=localhost and DB_PORT=5432; an IPv6 address without brackets.",
            )


def check_ports(
    ports: str | None, hosts: str | None, addresses: str | None, bad: Callable[[str, str, str], InputError]
) -> None:
    """Refuse what is no port, or a list of ports that does not fit the list of hosts."""
    if not ports:
        return
    given = ports.split(",")
    for port in given:
        if port and (re.fullmatch(r"[0-9]{1,5}", port) is None or not 0 < int(port) < 65536):
            raise bad("the port cannot be used", "A whole number from 1 to 65535 is expected.", "For example 5432.")
    count = max(len((hosts or "").split(",")), len((addresses or "").split(",")))
    if len(given) not in (1, count):
        raise bad(
            f"there are {len(given)} ports for {count} hosts",
            "libpq wants one port for all hosts, or one for each.",
            "Write as many ports as hosts, joined by commas.",
        )


def _system_bundle() -> str:
    """The file of certificates that the system trusts; ``system`` if there is none at the usual places."""
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return "system"  # OpenSSL looks there by itself
    return next((bundle for bundle in _BUNDLES if Path(bundle).is_file()), "system")
