"""Whether a server runs on a data folder: read from its postmaster.pid and asked at its socket.

Every command asks this first, so it starts no process and needs neither the driver nor PostgreSQL's programs.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

SUPERUSER = "postgres"
PID_FILE = "postmaster.pid"
READY = "00000"
STARTING = "57P03"
"""Cannot connect now: the server is starting, recovering or shutting down."""
NO_DATABASE = "3D000"


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What a server has written into its postmaster.pid. The last fields appear only while it starts."""

    pid: int
    data: Path
    folder: str = ""
    """The data folder as the server knows it; another one, if the file came along with a copy."""
    started: float | None = None
    """Seconds since 1970."""
    port: int = 0
    socket_dir: str = ""
    listen: str = ""
    """The first TCP address it listens on; empty: none."""
    status: str = ""
    """``starting``, ``ready``, ``standby`` or ``stopping``, in its own opinion."""

    @property
    def ready(self) -> bool:
        """Whether it considers itself ready; `probe` tells whether that is so."""
        return self.status in ("ready", "standby")

    def alive(self) -> bool:
        """Whether that process is there and is a server of this data folder.

        After a reboot, and in containers always, the number may belong to something else by now.
        """
        if not process_alive(self.pid) or not _is_postgres(self.pid):
            return False
        ours = os.path.realpath(self.data)
        return os.path.realpath(self.folder or self.data) == ours and _working_folder(self.pid) in (None, ours)

    def probe(self, dbname: str = "postgres", *, timeout: float = 5.0) -> str | None:
        """Ask it for a session in a database, see `probe`; not before it calls itself ready, for it logs a refusal."""
        if self.status in ("", "starting"):
            return STARTING
        return probe(self.socket_dir, self.port, dbname, timeout=timeout) if self.socket_dir else None


def read_postmaster(data: Path) -> Postmaster | None:
    """What stands in a data folder's postmaster.pid (of a server that lives or has died), or None.

    :raises PermissionError: the folder belongs to another account.
    """
    try:
        lines = (data / PID_FILE).read_text(encoding="utf-8", errors="replace").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    # pid, data folder, start time, port, first socket folder, first TCP address, shared memory, status: miscadmin.h
    lines += [""] * 8
    if not lines[0].strip().lstrip("-").isdigit():
        return None
    return Postmaster(
        pid=abs(int(lines[0])),
        data=data,
        folder=lines[1],
        started=float(lines[2]) if lines[2].strip().isdigit() else None,
        port=int(lines[3]) if lines[3].strip().isdigit() else 0,
        socket_dir=lines[4].strip(),
        listen=lines[5].strip(),
        status=lines[7].strip(),
    )


def live_postmaster(data: Path) -> Postmaster | None:
    """The server that runs on a data folder, in whatever state, or None."""
    found = read_postmaster(data)
    return found if found is not None and found.alive() else None


def probe(socket_dir: str, port: int, dbname: str, *, timeout: float = 5.0) -> str | None:
    """Ask a server at a socket for a session of its superuser, as any client does, and leave again.

    :returns: `READY`, else the SQLSTATE of its refusal (`STARTING`, `NO_DATABASE`, 53300 …); None: nobody is there.
    """
    # Protocol 3.0, https://www.postgresql.org/docs/current/protocol-message-formats.html
    words = ("user", SUPERUSER, "database", dbname, "application_name", "pliers-db/probe", "")
    body = struct.pack("!i", 196608) + b"".join(word.encode() + b"\0" for word in words)
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout)
        try:
            line.connect(f"{socket_dir}/.s.PGSQL.{port}")
            line.sendall(struct.pack("!i", len(body) + 4) + body)
            answer = _answer(line)
            if answer == READY:
                line.sendall(b"X\0\0\0\4")
        except (OSError, EOFError):
            return None
    return answer


def _answer(line: socket.socket) -> str:
    with line.makefile("rb") as stream:
        while True:
            head = stream.read(5)
            if len(head) < 5:
                raise EOFError
            kind, size = struct.unpack("!ci", head)
            body = stream.read(size - 4)
            if kind == b"Z" or (kind == b"R" and body[:4] != b"\0\0\0\0"):
                return READY  # ready for a query, or it wants a password: in any case it serves
            if kind == b"E":
                fields = {field[:1]: field[1:] for field in body.split(b"\0") if field}
                return fields.get(b"C", b"XX000").decode("ascii", "replace")


def process_exists(pid: int) -> bool:
    """Whether a number belongs to a process, be it a zombie that nobody has buried yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists, and belongs to somebody else
    return True


def process_alive(pid: int) -> bool:
    """Whether a process exists and has not ended (a zombie has)."""
    if not process_exists(pid):
        return False
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return not sys.platform.startswith("linux")
    except OSError:
        return True


def processes_of(data: Path, *, deleted: bool = False) -> list[int]:
    """The server processes whose working folder is a data folder: a server's, or what a killed one left behind.

    Linux only; elsewhere empty.

    :param deleted: those whose folder was deleted under them instead.
    """
    if not sys.platform.startswith("linux"):
        return []
    wanted = os.path.realpath(data) + (" (deleted)" if deleted else "")
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if _working_folder(pid) == wanted and _is_postgres(pid) and process_alive(pid)]


def _is_postgres(pid: int) -> bool:
    """Whether it is a process of PostgreSQL; True where that cannot be found out."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() in ("postgres", "postmaster")
    except OSError:
        return True


def _working_folder(pid: int) -> str | None:
    """None: not to be found out (no /proc, another account's process)."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return None
