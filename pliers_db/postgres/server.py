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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    SUPERUSER,
    Postmaster,
    live_postmaster,
    process_alive,
    process_exists,
    processes_of,
    read_postmaster,
)
from pliers_db.postgres.programs import PIPE, run_program

LOG = "server.log"
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# A server lives on when the shell that happened to start it is gone, and must not carry that shell's secrets.
_KEPT_VARIABLES = ("PATH", "TZ", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
# Started by a shell that ends at once: so the server belongs to init, not to us, and leaves us no zombie.
_DETACH = '"$@" </dev/null >&2 & echo $!'
_BY_DESCRIPTOR = 'exec "$@" -D "/proc/$$/fd/$0"'


# Attached servers are children of ours, to be buried when they end: by data folder, for a `Server` is only a name.
_children: dict[Path, subprocess.Popen[bytes]] = {}


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
        prefix, grace = f".{self.data.name}.init-", 0 if alone else 60
        with claimed_folder(self.data.parent, prefix, grace=grace, end=_end_processes) as partial:
            fresh = partial / "data"
            fresh.mkdir(mode=0o700)
            if account is not None:
                account.own(fresh)
            _initdb(binaries, fresh, account)
            if configuration:
                lines = "".join(f"{name} = {_quote(value)}\n" for name, value in configuration.items())
                with os.fdopen(open_own(fresh / "postgresql.conf", os.O_WRONLY | os.O_APPEND), "w") as file:
                    file.write(f"\n# Set by pliers-db when it made this cluster; change them as you like.\n{lines}")
            fresh.rename(self.data)

    def adopt(self) -> None:
        """As root: give a data folder that we have put there (a restored backup) to the account that will serve it."""
        if os.geteuid() != 0 or self.data.stat().st_uid != 0:
            return
        account = server_account(self.data / "new")
        assert account is not None
        for folder, _, files in os.walk(self.data):
            account.own(Path(folder))
            for file in files:
                account.own(Path(folder, file))

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
        if (running := self.live()) is not None and (self.wait(2.0) or self.live() is not None):  # else it is dying
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
        command = [str(binaries.program("postgres")), "-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with _passage(self.data, account) as (folder, fds):
            # It becomes the server's idea of its data folder: one that others can look up too.
            run = ["/bin/sh", "-c", _BY_DESCRIPTOR, str(fds[0]), *command] if fds else [*command, "-D", folder]
            pid = self._spawn(run, account, fds)
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
        child = _children.get(self.data)
        if found is not None:
            pid = found.pid
        elif child is not None and child.poll() is None:
            pid = child.pid  # it has just been started
        else:
            self._bury()
            return False
        try:
            os.kill(pid, _SIGNALS[mode])
        except ProcessLookupError:
            pass
        except PermissionError:
            raise wrong_owner(self.data, self.data.stat().st_uid) from None
        deadline = time.monotonic() + timeout
        while process_alive(pid) and (child is None or child.poll() is None):
            if time.monotonic() > deadline:
                raise ServerStopFailed(
                    f"The server (process {pid}) still runs after {timeout:g} s",
                    why="It waits for its sessions or for the disk.",
                    fix="pliers-db server logs",
                )
            time.sleep(0.01)
        self._bury()
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
        for pid in processes_of(self.data, deleted=True):
            # It would notice within a minute, end, and take our socket, which has the same name, with it.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
        # Sessions notice the end of their server within moments; one in the middle of a long statement later.
        while left := processes_of(self.data) + processes_of(self.data, deleted=True):
            if time.monotonic() > deadline:
                raise ServerStartFailed(
                    f"Processes of a killed server still use {self.data}",
                    why=f"Their numbers: {', '.join(map(str, left))}.",
                    fix=f"kill {' '.join(map(str, left))}",
                )
            time.sleep(0.05)
        stale = read_postmaster(self.data)
        for lock in self.socket_dir.glob(".s.PGSQL.*.lock"):
            # The same once more for its socket. Its folder is ours alone, yet two clusters could share it.
            holder = lock.read_text(encoding="utf-8", errors="replace").split("\n")
            if len(holder) > 1 and holder[0].isdigit() and not Postmaster(int(holder[0]), Path(holder[1])).alive():
                lock.unlink(missing_ok=True)
                lock.with_suffix("").unlink(missing_ok=True)
        if stale is not None and process_exists(stale.pid):
            # The number is that of another process now (in a container often of one of ours), or of a zombie that
            # nobody has buried: PostgreSQL would take it for a server and refuse to start. That it belongs to nobody
            # it sees by itself.
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        return {"PATH": os.defpath, **kept}

    def _spawn(self, command: list[str], account: Account | None, fds: tuple[int, ...]) -> int:
        """Start it, away from our terminal, our pipes and our locks. :returns: its process number."""
        common: dict[str, Any] = {
            "env": self._environment(),
            "stdin": subprocess.DEVNULL,
            "cwd": "/",
            "start_new_session": True,
            "pass_fds": fds,
            **(account.popen() if account is not None else {}),
        }
        log = open_own(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            if account is not None:
                account.own(self.log)  # a base backup reads it
            if not self.attached:
                done = subprocess.run(
                    ["/bin/sh", "-c", _DETACH, "sh", *command], stdout=PIPE, stderr=log, check=True, **common
                )
                return int(done.stdout)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # as in programs.py
                child = subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    preexec_fn=lifeline(signal.SIGQUIT),  # noqa: PLW1509 - see there
                    **common,
                )
        finally:
            os.close(log)
        self._bury()
        _children[self.data] = child
        return child.pid

    def _bury(self) -> None:
        child = _children.pop(self.data, None)
        if child is not None:
            child.wait()

    def _last_words(self, offset: int) -> tuple[str, str]:
        """Why it ended, and what to do, from what it has logged since it was started."""
        text = server_log.since(self.log, offset)
        if not text.strip():
            full = _room(self.data) < 65536  # then it cannot even say so
            text = "No space left on device" if full else "It said nothing: its log is empty."
        why, fix = server_log.explain(text)
        return redact(why), fix

    def _wait_until_ready(self, pid: int, timeout: float | None, offset: int) -> None:
        begun = time.monotonic()
        pause = 0.005
        while True:
            found = read_postmaster(self.data)
            if found is not None and found.pid == pid and found.probe() not in (None, STARTING):
                return
            child = _children.get(self.data)
            if not process_alive(pid) or (child is not None and child.poll() is not None):
                self._bury()
                why, fix = self._last_words(offset)
                raise ServerStartFailed("The server ended while it started", why=why, fix=fix)
            if timeout is not None and time.monotonic() - begun > timeout:
                why, _ = self._last_words(offset)
                raise ServerStartFailed(
                    f"The server takes no connections after {timeout:g} s",
                    why=f"It still runs (process {pid}), perhaps it recovers from a crash:\n{why}",
                    fix="Wait and look: pliers-db server status; pliers-db server logs",
                )
            time.sleep(pause)
            pause = min(pause * 1.2, 0.1)


def _room(folder: Path) -> int:
    """How many bytes the server could still write there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


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


def open_own(path: Path, flags: int) -> int:
    """Open a file in a data folder. As root not through a link: the folder is the server's account's, which could lay
    one to a file that only root may write.

    :returns: a descriptor.
    """
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


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


def _end_processes(partial: Path) -> None:
    """End what a killed initdb has left at work in its folder."""
    while left := processes_of(partial / "data"):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


@contextmanager
def _passage(data: Path, account: Account | None) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A name by which the account can enter a data folder of its own, and the descriptors that go with it.

    Below root's home it cannot go down the path. But a folder that root has opened stays open in a child, and Linux
    lets one in by that descriptor without asking about the folders above.
    """
    if account is None or account.reaches(data):
        yield str(data), ()
        return
    handle = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}", (handle,)
    finally:
        os.close(handle)


def _initdb(binaries: Binaries, data: Path, account: Account | None) -> None:
    arguments = ["-U", SUPERUSER, "--auth-local=trust", "--auth-host=scram-sha-256"]
    arguments += ["--encoding=UTF8", "--data-checksums", "--no-instructions", "--no-sync"]
    # The same order everywhere; a system without that locale (RHEL 7, a bare container) has C.
    with _passage(data, account) as (folder, fds):
        for locale in ("C.UTF-8", "C"):
            given = [*arguments, "-D", folder, f"--locale={locale}"]
            finished = run_program(binaries, "initdb", given, account=account, pass_fds=fds)
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
