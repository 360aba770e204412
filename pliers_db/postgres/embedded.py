"""The server that comes with the package: started on demand for development and test, left running.

The everyday path, a server that runs and a database that is there, reads one small file and asks one question at a
socket. Whatever must be made is made under a lock, so that it is made once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pliers_db.config import Secret, Settings, Target
from pliers_db.errors import LockedError, NoDatabase, NoProject, ServerNotRunning, ServerStartFailed
from pliers_db.postgres.postmaster import NO_DATABASE, STARTING, SUPERUSER, Postmaster, live_postmaster
from pliers_db.progress import SILENT, Reporter

if TYPE_CHECKING:
    # What starts servers is imported where one is started: the everyday path has no need of it.
    from pliers_db.postgres.server import Server

PASSWORD_FILE = "pliers_password"
LOCALHOST = "127.0.0.1"
_PATIENCE = 120.0  # seconds to wait for another process that is making or starting the server

# Written into the postgresql.conf of a new cluster, where the user may change them.
CONFIGURATION = MappingProxyType(
    {
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d %a ",
        "log_checkpoints": "off",
        "log_lock_waits": "on",
        "track_io_timing": "on",
        # Compiling a query costs more than running it on a developer's amount of data.
        "jit": "off",
        # A partitioned table takes a lock per partition and index, and a dump takes them all at once.
        "max_locks_per_transaction": "256",
    }
)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is known about the embedded server."""

    state: str
    """``running``, ``starting`` or ``stopped``."""
    data: Path
    major: int | None
    """PostgreSQL's major version; None: there is no cluster yet."""
    pid: int | None = None
    started: float | None = None
    """Seconds since 1970."""
    socket_dir: str | None = None
    port: int | None = None
    tcp: bool = False
    """Whether it listens on 127.0.0.1 too."""

    @property
    def running(self) -> bool:
        """Whether it takes connections."""
        return self.state == "running"


def embedded_server(settings: Settings) -> Server:
    """The embedded server of a project (it may not run yet).

    :raises BinariesMissing: no programs of the cluster's version, or none at all.
    """
    from pliers_db.postgres.account import server_account
    from pliers_db.postgres.binaries import find_binaries
    from pliers_db.postgres.places import socket_folder
    from pliers_db.postgres.server import Server, cluster_major

    data = _folder(settings)
    binaries = find_binaries(cluster_major(data), server=True)
    return Server(data, binaries, socket_folder(data, server_account(data)))


def ensure_embedded(settings: Settings, reporter: Reporter = SILENT) -> Target:
    """Start the embedded server if it does not run, create this environment's database if it is missing.

    A new database is stamped with the environment before it gets its name.

    :returns: how to connect to that database.
    :raises NoDatabase: the environment is a protected one.
    :raises ServerError: it cannot be started; says why and what to do.
    """
    _check_environment(settings)
    name = settings.embedded_database
    found = _live(settings)
    answer = found.probe(name) if found is not None else None
    if found is None or answer in (None, STARTING, NO_DATABASE):
        with _lock(settings, reporter):
            found = _running(settings, None, reporter)
            if found.probe(name) == NO_DATABASE:
                _create_database(settings, found)
    return _target(found, name)


def start_embedded(settings: Settings, port: int | None = None, reporter: Reporter = SILENT) -> ServerStatus:
    """Start the server, with this environment's database.

    :param port: listen on 127.0.0.1 as well, with a password; a server that runs without is restarted.
    """
    _check_environment(settings)
    with _lock(settings, reporter):
        found = _running(settings, port, reporter)
        if found.probe(settings.embedded_database) == NO_DATABASE:
            _create_database(settings, found)
    return embedded_status(settings)


def stop_embedded(settings: Settings, reporter: Reporter = SILENT) -> bool:
    """Stop it: sessions are ended, what was not committed is rolled back.

    :returns: whether it ran.
    """
    from pliers_db.postgres.binaries import Binaries
    from pliers_db.postgres.server import Server

    with _lock(settings, reporter):
        found = _live(settings)
        if found is None:
            return False
        # Stopping needs no programs: they may be gone.
        server = Server(found.data, Binaries(Path(), 0), Path(found.socket_dir or os.devnull))
        return server.stop("fast")


def embedded_status(settings: Settings) -> ServerStatus:
    """Whether it runs, and where."""
    from pliers_db.postgres.server import cluster_major

    data = _folder(settings)
    found = _live(settings)
    major = cluster_major(data)
    if found is None:
        return ServerStatus("stopped", data, major)
    return ServerStatus(
        "starting" if found.probe() in (None, STARTING) else "running",
        data,
        major,
        pid=found.pid,
        started=found.started,
        socket_dir=found.socket_dir,
        port=found.port,
        tcp=bool(found.listen),
    )


def embedded_url(settings: Settings, reporter: Reporter = SILENT) -> str:
    """A URL for this environment's database that any client can use: over TCP with the password if the server
    listens there, else over the socket. Starts the server if it does not run.
    """
    from urllib.parse import quote

    target = ensure_embedded(settings, reporter)
    found = _live(settings)
    name = quote(target.dbname, safe="")
    if found is None or not found.listen:
        return f"postgresql://{target.user}@/{name}?host={quote(target.host or '', safe='')}&port={target.port}"
    password = quote(_password(found.data), safe="")
    return f"postgresql://{target.user}:{password}@{LOCALHOST}:{found.port}/{name}"


def embedded_log(settings: Settings) -> Path:
    """The file that the server logs to.

    :raises ServerNotRunning: it has never run.
    """
    from pliers_db.postgres.server import LOG

    path = _folder(settings) / LOG
    if not path.exists():
        raise ServerNotRunning("There is no log: the embedded server has never run here", fix="pliers-db server start")
    return path


# ── insides ─────────────────────────────────────────────────────────────────────────────────────────────────
def _check_environment(settings: Settings) -> None:
    if settings.environment.protected:
        raise NoDatabase(
            f"The embedded server has no database for {settings.environment}",
            why="It is for development and test.",
            fix="Set DATABASE_URL.",
        )


def _folder(settings: Settings) -> Path:
    """The cluster's folder; ``data/embedded`` may be a link to a larger disk."""
    link = settings.project.data / "embedded"
    return Path(os.path.realpath(link)) if link.is_symlink() else link


def _make_data_folder(data: Path) -> None:
    """``data/``, with the owner of what it lies in."""
    if data.is_dir():
        return
    data.mkdir(parents=True)
    if os.geteuid() == 0:
        owner = data.parent.stat()
        os.chown(data, owner.st_uid, owner.st_gid)


def _live(settings: Settings) -> Postmaster | None:
    data = _folder(settings)
    try:
        return live_postmaster(data)
    except PermissionError:
        from pliers_db.postgres.account import wrong_owner

        raise wrong_owner(data, data.stat().st_uid) from None


def _target(found: Postmaster, dbname: str) -> Target:
    return Target(dbname=dbname, host=found.socket_dir, port=str(found.port), user=SUPERUSER)


def _running(settings: Settings, port: int | None, reporter: Reporter) -> Postmaster:
    """The running server; made, started or restarted as needed. Call it with the lock held."""
    from pliers_db.postgres.server import check_port_free

    found = _live(settings)
    if found is None:
        return _start(settings, port, reporter)
    if found.probe() in (None, STARTING):
        server = embedded_server(settings)
        if not server.wait(1.0 if found.ready else 60.0):
            if server.live() is not None:
                # Something that tidies up /tmp has taken its socket, or it hangs: nobody can reach it any more.
                reporter.warn("The server runs, but cannot be reached at its socket; starting it anew")
                server.stop()
            return _start(settings, port, reporter)
        found = server.live() or found
    if port is None or (found.listen and found.port == port):
        return found
    check_port_free(port)
    reporter.info(f"Starting the server anew to listen on {LOCALHOST}:{port}; its sessions are ended")
    embedded_server(settings).stop()
    return _start(settings, port, reporter)


def _start(settings: Settings, port: int | None, reporter: Reporter) -> Postmaster:
    server = embedded_server(settings)
    server.check_folder()
    if not (server.data / "PG_VERSION").exists():
        reporter.info(f"Making a PostgreSQL {server.binaries.major} server in {server.data}")
        server.initdb(CONFIGURATION, alone=True)
    if port is not None:
        server = replace(server, port=port, settings={"listen_addresses": LOCALHOST})
    server.start()
    found = server.live()
    if found is None:
        raise ServerStartFailed("The server has ended right after its start", fix="pliers-db server logs")
    if port is not None:
        _set_password(found)
    return found


def _set_password(found: Postmaster) -> None:
    """Give the superuser the password of the file; the server has no password until then, and lets nobody in by TCP."""
    import secrets

    from psycopg import sql

    from pliers_db.db import connect
    from pliers_db.postgres.server import open_own

    file = found.data / PASSWORD_FILE
    if not file.exists():
        owner = found.data.stat()
        partial = file.with_name(f".{PASSWORD_FILE}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        with os.fdopen(open_own(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as stream:
            stream.write(secrets.token_urlsafe(24))
            os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
        partial.rename(file)
    with connect(_target(found, "postgres")) as conn:
        # Hashed here: the server's log may show the statement.
        hashed = conn.pgconn.encrypt_password(_password(found.data).encode(), SUPERUSER.encode(), b"scram-sha-256")
        conn.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(SUPERUSER), sql.Literal(hashed.decode()))
        )


def _password(data: Path) -> str:
    from pliers_db.postgres.server import open_own

    with os.fdopen(open_own(data / PASSWORD_FILE, os.O_RDONLY), encoding="ascii") as stream:
        password = stream.read().strip()
    Secret(password)  # from now on it is kept out of every message
    return password


def _create_database(settings: Settings, found: Postmaster) -> None:
    """Make this environment's database and stamp it; it gets its name last, so nobody meets one without a stamp."""
    from psycopg import errors, sql

    from pliers_db.db import connect, write_stamp

    name = settings.embedded_database
    partial = sql.Identifier(f"{name[:50]} (new)")
    with connect(_target(found, "postgres")) as admin:
        admin.execute(sql.SQL("drop database if exists {} with (force)").format(partial))
        admin.execute(sql.SQL("create database {}").format(partial))
        with connect(_target(found, f"{name[:50]} (new)")) as conn:
            write_stamp(conn, settings.environment)
        try:
            admin.execute(sql.SQL("alter database {} rename to {}").format(partial, sql.Identifier(name)))
        except errors.DuplicateDatabase:  # somebody made it by hand in this moment
            admin.execute(sql.SQL("drop database {} with (force)").format(partial))


@contextmanager
def _lock(settings: Settings, reporter: Reporter) -> Iterator[None]:
    """Hold the right to make, start and stop this project's server."""
    if not settings.project.marked and not (settings.project.data / "embedded").exists():
        raise NoProject(
            f"{settings.project.root} does not belong to a project",
            why="It has no migrations, pyproject.toml, pliers-db.toml or .git, and no folder above it has.",
            fix="cd to your project, begin one here (pliers-db migrate new NAME), or set DATABASE_URL.",
        )
    import fcntl
    import time

    _make_data_folder(settings.project.data)
    path = settings.project.data / "embedded.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)  # close-on-exec: the server must not keep it
    except PermissionError:
        handle = os.open(path, os.O_RDONLY)  # made by another account, locked all the same
    try:
        deadline = time.monotonic() + _PATIENCE
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            if time.monotonic() > deadline:
                raise LockedError(
                    "Another process is starting or stopping the embedded server",
                    why=f"It has held {path} for {_PATIENCE:g} s.",
                    fix=f"Look who it is: fuser '{path}'",
                )
            if not told and time.monotonic() > deadline - _PATIENCE + 1:
                reporter.info("Waiting for another process that starts or stops the embedded server")
                told = True
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)
