"""One PostgreSQL cluster in a folder: initdb, start, stop, status.

The embedded development server, scratch servers, recovery and the test suite all use this class.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pliers_db.config import Target
from pliers_db.errors import ServerStartFailed
from pliers_db.postgres.binaries import Binaries, find_binaries

SUPERUSER = "postgres"
# Safe for a server whose data nobody needs after a crash.
SCRATCH_SETTINGS: Mapping[str, str] = MappingProxyType(
    {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}
)


@dataclass(frozen=True, slots=True)
class Server:
    """A cluster in ``data``, served with ``binaries`` on a Unix socket in ``socket_dir``.

    ``settings`` are given to ``postgres -c``. As root everything runs under another account.
    """

    data: Path
    binaries: Binaries
    socket_dir: Path
    port: int = 5432
    settings: Mapping[str, str] = field(default_factory=dict)

    def initdb(self) -> None:
        """Create the cluster."""
        self.data.mkdir(parents=True, exist_ok=True)
        _give(self.data)
        self._run(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        self.socket_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _give(self.socket_dir)
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.socket_dir), **self.settings}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        log = self.data / "server.log"
        self._run("pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(log), "-o", f"-p {self.port} {options}")

    def stop(self, mode: str = "fast") -> None:
        """Stop it. :param mode: ``smart``, ``fast`` or ``immediate``."""
        self._run("pg_ctl", "stop", "-w", "-D", str(self.data), "-m", mode)

    def running(self) -> bool:
        """Whether a server runs on this cluster."""
        done = subprocess.run(
            [self.binaries.program("pg_ctl"), "status", "-D", self.data], capture_output=True, check=False, **_account()
        )
        return done.returncode == 0

    def target(self, dbname: str = "postgres") -> Target:
        """How to connect to one of its databases."""
        return Target(dbname=dbname, host=str(self.socket_dir), port=str(self.port), user=SUPERUSER)

    def _run(self, name: str, *arguments: str) -> None:
        # Not through pipes: the server would inherit them and keep us waiting.
        with tempfile.TemporaryFile() as talk:
            done = subprocess.run(
                [self.binaries.program(name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=talk,
                stderr=talk,
                cwd="/",
                check=False,
                **_account(),
            )
            if done.returncode:
                talk.seek(0)
                raise ServerStartFailed(
                    f"{name} failed (exit {done.returncode})", why=talk.read().decode(errors="replace").strip()
                )


def _account() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": _other_account().pw_uid, "group": _other_account().pw_gid, "extra_groups": []}


def _other_account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerStartFailed("PostgreSQL refuses to run as root, and there is no other account", fix="Run as a user.")


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        account = _other_account()
        os.chown(path, account.pw_uid, account.pw_gid)


@contextmanager
def scratch_server(binaries: Binaries | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A throw-away server, gone with its data at the end of the block.

    :param binaries: default: the newest that can run a server.
    """
    folder = Path(tempfile.mkdtemp(prefix="pliers-", dir="/tmp"))  # short: a socket's path has 107 bytes
    os.chmod(folder, 0o711)
    server = Server(
        folder / "data",
        binaries or find_binaries(server=True),
        folder / "s",
        settings={**SCRATCH_SETTINGS, **(settings or {})},
    )
    try:
        server.initdb()
        server.start()
        yield server
    finally:
        if server.running():
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
