"""``structure.sql``: the schema as one file that a person reads, and that says the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from pliers_db.backup import write_atomic
from pliers_db.db import Database
from pliers_db.migrate.dump import clean, dump, dump_program, join
from pliers_db.migrate.files import sort_key
from pliers_db.migrate.history import read_history

FILE = "structure.sql"


@dataclass(frozen=True, slots=True)
class Structure:
    """The schema of a database as text, and what the file says."""

    path: Path
    text: str
    old: str | None
    """What the file holds; None: it is not there."""
    migrations: int

    @property
    def stale(self) -> bool:
        """Whether the file says something else."""
        return self.text != self.old

    def diff(self) -> list[str]:
        """What is different, as ``diff -u`` shows it."""
        lines = (self.old or "").splitlines(), self.text.splitlines()
        return list(unified_diff(*lines, self.path.name, "database", n=2, lineterm=""))


def read_structure(database: Database, path: Path) -> Structure:
    """Write down the schema of a database, without owners, privileges and rows. Reads only.

    :param path: of the file to compare with.
    :raises ProgramFailed: pg_dump could not read it.
    """
    with database.connection() as conn:
        history = read_history(conn)
        binaries = dump_program(conn.info.server_version // 10000)
    statements = clean(
        dump(binaries, database.target, ["--schema-only", "--no-owner", "--no-privileges", "--no-tablespaces"])
    )
    ids = sorted((a.id for a in history.applied), key=sort_key)
    text = (
        "-- The schema, as the applied migrations have made it. Written by: pliers-db migrate dump-schema\n\n"
        f"{join(statements)}-- Applied migrations:\n" + "".join(f"-- {i}\n" for i in ids)
    )
    old = path.read_text(encoding="utf-8") if path.is_file() else None
    return Structure(path, text, old, len(ids))


def write_structure(structure: Structure) -> None:
    """Write the file: whole, or as it was."""
    structure.path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(structure.path, structure.text, 0o644)
