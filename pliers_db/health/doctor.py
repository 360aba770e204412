"""From the ground up to the database: the first broken rung is what keeps everything above from working.

Nothing is started and nothing written. Unlike the report it trusts nothing, not even that the settings can be read.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from pliers_db import __version__
from pliers_db.config import Settings, Target, load_settings
from pliers_db.db import Connection, connect
from pliers_db.db.tls import certificate_problem
from pliers_db.errors import BinariesMissing, PliersError, ServerError
from pliers_db.health.check import Check
from pliers_db.health.outcome import Outcome
from pliers_db.health.rules import read_rules
from pliers_db.health.situation import environment_and_source
from pliers_db.log import redact
from pliers_db.postgres import embedded_status, find_binaries
from pliers_db.units import format_duration, format_size

SCHEMA = "pliers.doctor/1"
_PYTHON = (3, 11)
_LITTLE_DISK = 1024.0**3
_PATIENCE = 3.0  # seconds for a name, and for a port
_SKEW = 5.0  # seconds between two clocks that are worth a word
# PostgreSQL's protocol, SSLRequest: length 8, code 80877103; the server answers S or N.
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_PACKAGES = ("psycopg", "psycopg_pool", "yoyo", "typer", "dotenv")


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder."""

    name: str
    outcome: Outcome
    message: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """The rung in ``--json``."""
        return {"name": self.name, "outcome": self.outcome.value, "message": self.message, "fix": self.fix}


class Broken(Exception):
    """A rung does not hold."""

    def __init__(self, message: str, fix: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message, self.fix, self.exit_code = message, fix, exit_code


class _Weak(Exception):
    """A rung holds, with a word of warning."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message, self.fix = message, fix


class _End(Exception):
    """There is nothing further up; the text says why that is well."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The ladder as far as it holds."""

    rungs: tuple[Rung, ...]
    exit_code: int
    """0, or what any other command would end with."""

    @property
    def broken(self) -> Rung | None:
        """The rung that does not hold."""
        return next((r for r in self.rungs if r.outcome is Outcome.FAIL), None)

    def as_dict(self) -> dict[str, Any]:
        """The diagnosis in ``--json``."""
        return {
            "schema": SCHEMA,
            "broken": self.broken and self.broken.name,
            "rungs": [r.as_dict() for r in self.rungs],
        }


@dataclass
class _Climb:
    """What has been found on the way up."""

    env: str | None
    database_url: str | None
    checks: tuple[Check, ...]
    settings: Settings | None = None
    target: Target | None = None
    conn: Connection | None = None
    client: int | None = None
    """The major version of pg_dump."""
    reached: tuple[str, int] | None = None
    """Host and port of the first server that took a connection."""
    done: list[Rung] = field(default_factory=list)


def diagnose(env: str | None = None, database_url: str | None = None, *, checks: tuple[Check, ...] = ()) -> Diagnosis:
    """Climb until a rung breaks.

    :param checks: those whose settings are to be read too.
    """
    climb = _Climb(env, database_url, checks)
    code = 0
    try:
        for name, step in _LADDER:
            rung, code = _try(name, step, climb)
            climb.done.append(rung)
            if rung.outcome is Outcome.FAIL or rung.outcome is Outcome.SKIPPED:
                break
    finally:
        if climb.conn is not None:
            climb.conn.close()
    return Diagnosis(tuple(climb.done), code)


def _try(name: str, step: Callable[[_Climb], str], climb: _Climb) -> tuple[Rung, int]:
    try:
        return Rung(name, Outcome.OK, redact(step(climb))), 0
    except _Weak as weak:
        return Rung(name, Outcome.WARN, redact(weak.message), weak.fix), 0
    except _End as end:
        return Rung(name, Outcome.SKIPPED, redact(str(end))), 0
    except Broken as broken:
        return Rung(name, Outcome.FAIL, redact(broken.message), broken.fix), broken.exit_code
    except PliersError as error:
        why = " ".join(error.why.split())
        return Rung(name, Outcome.FAIL, redact(f"{error.message}: {why}"), error.fix), error.exit_code
    except Exception as error:  # noqa: BLE001 - whatever breaks here is what the person wants to know
        return Rung(name, Outcome.FAIL, redact(f"{type(error).__name__}: {' '.join(str(error).split())}")), 1


# ── the rungs, from the ground up ───────────────────────────────────────────────────────────────────────────
def _python(climb: _Climb) -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _PYTHON:
        raise Broken(f"Python {version}; {'.'.join(map(str, _PYTHON))} is needed", "Make the virtual environment anew.")
    return f"{version}, {sys.executable}"


def _packages(climb: _Climb) -> str:
    for name in _PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            raise Broken(f"{name} cannot be imported: {error}", "pip install --force-reinstall pliers-db") from error
    from psycopg import pq

    driver = f"psycopg {metadata.version('psycopg')} ({pq.__impl__}, libpq {pq.version() // 10000})"
    return f"pliers-db {__version__}, {driver}, yoyo {metadata.version('yoyo-migrations')}"


def _project(climb: _Climb) -> str:
    settings = climb.settings = load_settings(env=climb.env, database_url=climb.database_url)
    read_rules(settings, climb.checks)
    project = settings.project
    files = [f.name for f in sorted(project.root.glob(".env*")) if f.is_file() and not f.name.endswith(".example")]
    told = f"{environment_and_source(settings)}; {project.root}"
    return told + (f", reading {', '.join(files)}" if files else "")


def _programs(climb: _Climb) -> str:
    try:
        found = find_binaries()
    except BinariesMissing as error:
        raise _Weak(f"{error.message}: no backup can be made. {error.why}", error.fix) from error
    climb.client = found.major
    return f"pg_dump and pg_restore {found.major}, {found.bin}"


def _disk(climb: _Climb) -> str:
    assert climb.settings is not None
    told = []
    for folder in (climb.settings.project.backups, climb.settings.project.data):
        place = next(p for p in (folder, *folder.parents) if p.exists())
        free = float(shutil.disk_usage(place).free)
        if free < _LITTLE_DISK:
            raise _Weak(f"{format_size(free)} are free for {folder}", "Make room, or choose another folder.")
        if not os.access(place, os.W_OK):
            raise _Weak(f"{folder} cannot be written to", "Correct its owner or mode.")
        told.append(f"{format_size(free)} free for {folder.name}")
    return ", ".join(told)


def _address(climb: _Climb) -> str:
    settings = climb.settings
    assert settings is not None
    if settings.target is None:
        status = embedded_status(settings)
        if not status.running:
            raise _End(f"the embedded server is {status.state}; any command starts it: pliers-db server start")
        climb.target = _embedded_target(settings, str(status.socket_dir), str(status.port))
        return f"the embedded server, process {status.pid}"
    climb.target = settings.target
    return str(settings.target)


def _embedded_target(settings: Settings, socket_dir: str, port: str) -> Target:
    return Target(dbname=settings.embedded_database, host=socket_dir, port=port, user="postgres", connect_timeout=5.0)


def _places(target: Target) -> Iterator[tuple[str, int]]:
    """Host and port of each server that the target names."""
    hosts = (target.host or "localhost").split(",")
    ports = (target.port or "5432").split(",")
    for number, host in enumerate(hosts):
        yield host, int(ports[number if len(ports) > 1 else 0] or 5432)


def _name(climb: _Climb) -> str:
    assert climb.target is not None
    told: list[str] = []
    problems: list[str] = []
    for host, port in _places(climb.target):
        if host.startswith("/"):
            there = Path(host).is_dir()
            (told if there else problems).append("a local socket" if there else f"{host} does not exist")
            continue
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            told.append(f"{host} is {', '.join(dict.fromkeys(str(f[4][0]) for f in found))}")
        except OSError as error:
            problems.append(f"{host} is not known here: {error.strerror or error}")
    return _some(told, problems, "Correct DB_HOST, or the machine's DNS; a socket's folder comes with its server.")


def _some(told: list[str], problems: list[str], fix: str) -> str:
    """Of several servers one is enough."""
    if not told:
        raise Broken("; ".join(problems), fix, ServerError.exit_code)
    if problems:
        raise _Weak("; ".join([*told, *problems]), fix)
    return "; ".join(told)


def _port(climb: _Climb) -> str:
    assert climb.target is not None
    told: list[str] = []
    problems: list[str] = []
    for host, port in _places(climb.target):
        began = time.monotonic()
        try:
            if host.startswith("/"):
                with socket.socket(socket.AF_UNIX) as one:
                    one.settimeout(_PATIENCE)
                    one.connect(f"{host}/.s.PGSQL.{port}")
            else:
                socket.create_connection((host, port), timeout=_PATIENCE).close()
            climb.reached = climb.reached or (host, port)
            told.append(f"port {port} answers in {format_duration(time.monotonic() - began)}")
        except OSError as error:
            problems.append(f"nothing answers at {host}:{port}: {error.strerror or error}")
    return _some(told, problems, "Start the server; look at listen_addresses, the port, and the firewall between.")


def _tls(climb: _Climb) -> str:
    target, place = climb.target, climb.reached
    assert target is not None
    assert place is not None
    mode = target.sslmode or "prefer"
    if place[0].startswith("/"):
        return "not needed on a local socket"
    if mode == "disable":
        return "switched off by sslmode=disable"
    try:
        with socket.create_connection(place, timeout=_PATIENCE) as one:
            one.sendall(_SSL_REQUEST)
            offered = one.recv(1) == b"S"
    except OSError as error:
        message = f"{place[0]}:{place[1]} takes connections and does not speak PostgreSQL's protocol: {error}"
        raise Broken(message, "Look at what listens there.", ServerError.exit_code) from error
    if not offered and mode not in ("allow", "prefer"):
        message = f"the server has no TLS, and sslmode is {mode}"
        raise Broken(
            message, "Switch ssl on there, or set DB_SSLMODE=prefer if the way is safe.", ServerError.exit_code
        )
    if offered and mode.startswith("verify") and (problem := _problem(target, place)):
        message = f"the server's certificate is not accepted: {problem}"
        raise Broken(
            message, "Check DB_SSLROOTCERT, and that DB_HOST is the certificate's name.", ServerError.exit_code
        )
    return f"{'offered' if offered else 'not offered'}, sslmode is {mode}"


def _problem(target: Target, place: tuple[str, int]) -> str:
    return certificate_problem(replace(target, host=place[0], port=str(place[1])))


def _login(climb: _Climb) -> str:
    assert climb.target is not None
    conn = climb.conn = connect(climb.target, application_name="pliers-db/doctor")
    conn.execute("set statement_timeout = '5s'")
    info = conn.info
    tls = "TLS" if conn.pgconn.ssl_in_use else "in clear"
    return (
        f"as {info.user} to {info.dbname}, {tls if info.host and not info.host.startswith('/') else 'a local socket'}"
    )


def _server(climb: _Climb) -> str:
    assert climb.conn is not None
    major = climb.conn.info.server_version // 10000
    version = climb.conn.info.parameter_status("server_version") or str(major)
    if climb.client is not None and climb.client < major:
        raise _Weak(
            f"PostgreSQL {version}, but pg_dump is {climb.client}: an older one refuses a newer server",
            f"Install the client programs of PostgreSQL {major}, or set PGBIN.",
        )
    return f"PostgreSQL {version.split()[0]}"


def _role(climb: _Climb) -> str:
    assert climb.conn is not None
    row = climb.conn.execute(
        "select current_user::text, has_database_privilege(current_database(), 'create'),"
        " has_schema_privilege(coalesce(current_schema(), 'public'), 'create'), pg_is_in_recovery()"
    ).fetchone()
    assert row is not None
    role, may_create, may_create_tables, standby = row
    if standby:
        raise _Weak("this server is a standby: nothing can be written", "Point DATABASE_URL at the primary.")
    if not may_create_tables:
        raise _Weak(f"{role} may not create tables: migrations will fail", f"grant create on schema public to {role};")
    return f"{role} may create tables" + (" and schemas" if may_create else "")


def _extensions(climb: _Climb) -> str:
    assert climb.conn is not None
    assert climb.settings is not None
    needed = read_rules(climb.settings, climb.checks).extensions
    rows = climb.conn.execute("select name from pg_available_extensions").fetchall()
    available = {row[0] for row in rows}
    missing = [name for name in needed if name not in available]
    if missing:
        raise Broken(f"the server does not have: {', '.join(missing)}", "Install their packages on the server.", 1)
    return f"{len(available)} can be created" + (f", among them {', '.join(needed)}" if needed else "")


def _clock(climb: _Climb) -> str:
    assert climb.conn is not None
    row = climb.conn.execute("select clock_timestamp()").fetchone()
    assert row is not None
    skew = abs((datetime.now(UTC) - row[0]).total_seconds())
    if skew > _SKEW:
        raise _Weak(f"the clocks here and there differ by {format_duration(skew)}", "Set up NTP: timedatectl")
    return f"{format_duration(skew)} between here and the server"


_LADDER: tuple[tuple[str, Callable[[_Climb], str]], ...] = (
    ("python", _python),
    ("packages", _packages),
    ("settings", _project),
    ("programs", _programs),
    ("disk", _disk),
    ("database", _address),
    ("name", _name),
    ("port", _port),
    ("tls", _tls),
    ("login", _login),
    ("server", _server),
    ("role", _role),
    ("extensions", _extensions),
    ("clock", _clock),
)
RUNGS = tuple(name for name, _ in _LADDER)
