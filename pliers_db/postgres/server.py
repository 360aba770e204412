"""One PostgreSQL cluster in a folder: initdb, start, stop, status.

The embedded development server, scratch servers, recovery and the test suite all use this class.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pliers_db.config import Target
from pliers_db.errors import (
    ForeignDataFolder,
    OtherMajorVersion,
    PortTaken,
    ProgramFailed,
    ServerStartFailed,
    ServerStopFailed,
)
from pliers_db.log import redact
from pliers_db.postgres import server_log
from pliers_db.postgres._lifeline import lifeline
from pliers_db.postgres.account import Account, check_passwd_entry, server_account, wrong_owner
from pliers_db.postgres.binaries import Binaries
from pliers_db.postgres.places import claimed_folder, make_socket_folder
from pliers_db.postgres.postmaster import (
    STARTING,
    Postmaster,
    live_postmaster,
    process_alive,
    processes_of,
    read_postmaster,
)
from pliers_db.postgres.programs import run_program

SUPERUSER = "postgres"
LOG = "server.log"
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# A server lives on when the shell that happened to start it is gone, and must not carry that shell's secrets.
_KEPT_VARIABLES = ("PATH", "TZ", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
# Started by a shell that ends at once: so the server belongs to init, not to us, and leaves us no zombie.
_DETACH = 'umask 077; "$@" </dev/null >>"$0" 2>&1 & echo $!'


@dataclass(frozen=True, slots=True)
class Server:
    """A cluster in ``data``, served with ``binaries`` on a Unix socket in ``socket_dir``.

    ``settings`` are given to ``postgres -c`` and so override its configuration files. As root everything runs under
    another account (`server_account`).
    """

    data: Path
    binaries: Binaries
    socket_dir: Path
    port: int = 5432
    settings: Mapping[str, str] = field(default_factory=dict)
    attached: bool = False
    """Ends when we end, however we end (Linux); else it is left running."""
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def log(self) -> Path:
        """What the server writes about itself."""
        return self.data / LOG

    # ── making ──────────────────────────────────────────────────────────────────────────────────────────────
    def initdb(self, configuration: Mapping[str, str] | None = None, *, alone: bool = False) -> None:
        """Create the cluster. It appears under its name when it is whole, so an interrupted initdb leaves none.

        It is not forced to disk: a power cut in the first half minute may damage it, before there is any data in it.

        :param configuration: lines for its postgresql.conf, where its user may change them.
        :param alone: the caller holds a lock: nobody else makes this cluster now.
        :raises ForeignDataFolder: the folder holds something else.
        :raises ServerStartFailed: initdb failed; nothing is left of it.
        """
        self.check_folder()
        if (self.data / "PG_VERSION").exists():
            raise ForeignDataFolder(f"{self.data} already holds a cluster", fix="Start it.")
        account = server_account(self.data)
        check_passwd_entry(account)
        binaries = self._binaries(account)
        self.data.parent.mkdir(parents=True, exist_ok=True)
        with claimed_folder(self.data.parent, f".{self.data.name}.init-", grace=0 if alone else 60) as partial:
            fresh = partial / "data"
            fresh.mkdir(mode=0o700)
            if account is not None:
                partial.chmod(0o711)
                account.own(fresh)
                if not account.reaches(fresh.parent):
                    raise ServerStartFailed(
                        f"{account.name} cannot enter {self.data.parent}",
                        why="PostgreSQL refuses to run as root, and this folder is root's alone.",
                        fix=f"Let everybody enter it: chmod o+x '{self.data.parent}' and those above it.",
                    )
            _initdb(binaries, fresh, account)
            if configuration:
                lines = "".join(f"{name} = {_quote(value)}\n" for name, value in configuration.items())
                with (fresh / "postgresql.conf").open("a", encoding="utf-8") as file:
                    file.write(f"\n# Set by pliers-db when it made this cluster; change them as you like.\n{lines}")
            fresh.rename(self.data)

    def check_folder(self) -> None:
        """Whether ``data`` is a cluster that these binaries can serve, or a place to make one.

        :raises ForeignDataFolder: it is something else.
        :raises OtherMajorVersion: it needs other binaries.
        :raises WrongOwner: it belongs to another account.
        """
        account = server_account(self.data)
        major = cluster_major(self.data)
        if major is None and self.data.exists() and (not self.data.is_dir() or any(self.data.iterdir())):
            raise ForeignDataFolder(
                f"{self.data} is not a PostgreSQL data folder",
                why="There are files in it, but no PG_VERSION. Nothing was touched.",
                fix=f"Move it away: mv '{self.data}' '{self.data}.old'",
            )
        if major is not None and major != self.binaries.major:
            raise OtherMajorVersion(
                f"{self.data} was made by PostgreSQL {major}, the programs here are of {self.binaries.major}",
                why="A data folder is served by its own major version only. Nothing was touched.",
                fix=f"Set PGBIN to the programs of PostgreSQL {major}, or begin anew: "
                f"mv '{self.data}' '{self.data}-{major}'",
            )
        if major is not None and self.data.stat().st_mode & 0o077 and account is None:
            self.data.chmod(0o700)  # as PostgreSQL wants it; a copy may have lost that

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────────
    def start(self, timeout: float | None = 60.0) -> None:
        """Start the server and wait until it takes connections.

        :param timeout: seconds to wait; None: as long as it lives (a long recovery). When they are over it is left to
            go on, unless it is attached.
        :raises ServerStartFailed: it ended, or it does not answer yet; says why in its own words.
        :raises PortTaken: another program listens on the port.
        """
        self.check_folder()
        account = server_account(self.data)
        if (running := self.live()) is not None:
            raise ServerStartFailed(
                f"A server already runs on {self.data}", why=f"Process {running.pid}.", fix="pliers-db server status"
            )
        self._clear_remains()
        if self.settings.get("listen_addresses"):
            check_port_free(self.port)
        binaries = self._binaries(account)
        make_socket_folder(self.socket_dir, account)
        server_log.prepare(self.log)
        offset = server_log.size(self.log)
        settings = {"listen_addresses": "", "unix_socket_directories": f'"{self.socket_dir}"', **self.settings}
        command = [str(binaries.program("postgres")), "-D", str(self.data), "-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        pid = self._attach(command, account) if self.attached else self._detach(command, account)
        self._wait_until_ready(pid, timeout, offset)

    def wait(self, timeout: float) -> bool:
        """Wait until a server that runs takes connections.

        :param timeout: seconds.
        :returns: whether it does.
        """
        deadline = time.monotonic() + timeout
        while (found := self.live()) is not None and time.monotonic() < deadline:
            if found.probe() not in (None, STARTING):
                return True
            time.sleep(0.02)
        return False

    def stop(self, mode: str = "fast", timeout: float = 60.0) -> bool:
        """Stop it and wait for its end.

        :param mode: ``fast`` ends its sessions, ``smart`` waits for them, ``immediate`` is like a crash.
        :param timeout: seconds to wait.
        :returns: whether it ran.
        :raises ServerStopFailed: it still runs.
        """
        found = self.live()
        pids = [child.pid for child in self._children if child.poll() is None]
        pid = found.pid if found is not None else pids[-1] if pids else None
        if pid is None:
            self._children.clear()
            return False
        try:
            os.kill(pid, _SIGNALS[mode])
        except ProcessLookupError:
            pass
        except PermissionError:
            raise wrong_owner(self.data, self.data.stat().st_uid) from None
        deadline = time.monotonic() + timeout
        while process_alive(pid) and all(child.poll() is None for child in self._children):
            if time.monotonic() > deadline:
                raise ServerStopFailed(
                    f"The server (process {pid}) still runs after {timeout:g} s",
                    why="It waits for its sessions or for the disk.",
                    fix="pliers-db server logs",
                )
            time.sleep(0.01)
        for child in self._children:
            child.wait()
        self._children.clear()
        with suppress(OSError):  # somebody's files are in it, or it is gone
            self.socket_dir.rmdir()
        return True

    def running(self) -> bool:
        """Whether a server runs on this cluster and takes connections, or will in a moment."""
        found = self.live()
        return found is not None and found.probe() is not None

    def live(self) -> Postmaster | None:
        """The server that runs on this cluster, in whatever state.

        :raises WrongOwner: it belongs to another account.
        """
        try:
            return live_postmaster(self.data)
        except PermissionError:
            raise wrong_owner(self.data, self.data.stat().st_uid) from None

    def target(self, dbname: str = "postgres") -> Target:
        """How to connect to one of its databases."""
        return socket_target(self.live(), dbname) or Target(
            dbname=dbname, host=str(self.socket_dir), port=str(self.port), user=SUPERUSER
        )

    # ── insides ─────────────────────────────────────────────────────────────────────────────────────────────
    def _binaries(self, account: Account | None) -> Binaries:
        if account is None:
            return self.binaries
        from pliers_db.postgres.public_copy import runnable_by

        return runnable_by(account, self.binaries)

    def _clear_remains(self) -> None:
        """What a killed server or a reboot left behind."""
        deadline = time.monotonic() + 10.0
        # Sessions notice the end of their server within moments; one in the middle of a long statement later.
        while left := processes_of(self.data):
            if time.monotonic() > deadline:
                raise ServerStartFailed(
                    f"Processes of a killed server still use {self.data}",
                    why=f"Their numbers: {', '.join(map(str, left))}.",
                    fix=f"kill {' '.join(map(str, left))}",
                )
            time.sleep(0.05)
        stale = read_postmaster(self.data)
        if stale is not None and process_alive(stale.pid):
            # The number belongs to another process now, in a container often to one of ours; PostgreSQL would take
            # that for a server and refuse to start. (If it belongs to nobody, PostgreSQL sees that by itself.)
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        return {"PATH": os.defpath, **kept}

    def _attach(self, command: list[str], account: Account | None) -> int:
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if account is not None:
                account.own(self.log)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # as in programs.py
                child = subprocess.Popen(
                    command,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=handle,
                    stderr=handle,
                    cwd="/",
                    start_new_session=True,
                    preexec_fn=lifeline(signal.SIGQUIT),  # noqa: PLW1509 - see there
                    **(account.popen() if account is not None else {}),
                )
        finally:
            os.close(handle)
        self._children.append(child)
        return child.pid

    def _detach(self, command: list[str], account: Account | None) -> int:
        done = subprocess.run(
            ["/bin/sh", "-c", _DETACH, self.log, *command],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            start_new_session=True,
            check=False,
            **(account.popen() if account is not None else {}),
        )
        if not done.stdout.strip().isdigit():
            raise ServerStartFailed("The server could not be started", why=done.stderr.decode(errors="replace").strip())
        return int(done.stdout)

    def _wait_until_ready(self, pid: int, timeout: float | None, offset: int) -> None:
        begun = time.monotonic()
        pause = 0.005
        while True:
            found = read_postmaster(self.data)
            if found is not None and found.pid == pid and found.probe() not in (None, STARTING):
                return
            if not process_alive(pid) or any(child.poll() is not None for child in self._children):
                for child in self._children:
                    child.wait()
                self._children.clear()
                why, fix = server_log.explain(server_log.since(self.log, offset))
                raise ServerStartFailed("The server ended while it started", why=redact(why), fix=fix)
            if timeout is not None and time.monotonic() - begun > timeout:
                why, _ = server_log.explain(server_log.since(self.log, offset))
                raise ServerStartFailed(
                    f"The server takes no connections after {timeout:g} s",
                    why=f"It still runs (process {pid}), perhaps it recovers from a crash:\n{redact(why)}",
                    fix="Wait and look: pliers-db server status; pliers-db server logs",
                )
            time.sleep(pause)
            pause = min(pause * 1.2, 0.1)


def cluster_major(data: Path) -> int | None:
    """The major version that made a data folder; None: it is not one."""
    try:
        text = (data / "PG_VERSION").read_text(encoding="ascii", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return int(text) if text.isdigit() else None


def socket_target(postmaster: Postmaster | None, dbname: str) -> Target | None:
    """How to connect to a running server over its socket."""
    if postmaster is None or not postmaster.socket_dir:
        return None
    return Target(dbname=dbname, host=postmaster.socket_dir, port=str(postmaster.port), user=SUPERUSER)


def check_port_free(port: int) -> None:
    """:raises PortTaken: nobody can listen on this port of 127.0.0.1 now."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except PermissionError:
            raise PortTaken(
                f"Port {port} is not for us", why="Ports below 1024 are root's.", fix="Choose a higher one: --port 5433"
            ) from None
        except OSError as error:
            raise PortTaken(
                f"Port {port} on 127.0.0.1 is taken",
                why=f"{error.strerror}.",
                fix=f"Choose another: --port {port + 1}",
            ) from None


def _initdb(binaries: Binaries, data: Path, account: Account | None) -> None:
    arguments = ["-D", str(data), "-U", SUPERUSER, "--auth-local=trust", "--auth-host=scram-sha-256"]
    arguments += ["--encoding=UTF8", "--data-checksums", "--no-instructions", "--no-sync"]
    # The same order everywhere; a system without that locale (RHEL 7, a bare container) has C.
    for locale in ("C.UTF-8", "C"):
        finished = run_program(binaries, "initdb", [*arguments, f"--locale={locale}"], account=account)
        if "invalid locale name" not in finished.stderr:
            break
    try:
        finished.check()
    except ProgramFailed as error:
        why, fix = server_log.explain(finished.stderr)
        raise ServerStartFailed("The cluster could not be made", why=why, fix=error.fix or fix) from error


def _quote(value: str) -> str:
    escaped = re.sub(r"(['\\])", r"\1\1", value)
    return f"'{escaped}'"
