"""golang-migrate: ``1_name.up.sql`` and ``1_name.down.sql``."""

from __future__ import annotations

import re
from pathlib import Path

from pliers_db.migrate.files import read_text
from pliers_db.migrate.importing.source import Findings, Foreign, Source, Text, Tool, id_of

_FILE = re.compile(r"(\d+)_(.*)\.(up|down)\.(.*)$")


def read(path: Path, names: list[str]) -> Source:
    """Read a folder of golang-migrate's; it applies the files in the order of their numbers."""
    findings = Findings()
    sides: dict[str, list[tuple[str, str, str]]] = {"up": [], "down": []}
    for name in sorted(names):
        found = _FILE.match(name)
        if found and found[4] == "sql":
            sides[found[3]].append((str(int(found[1])), id_of(found[1], found[2]), name))
        elif found:
            findings.add(path / name, 1, f"a migration in .{found[4]}", "Write it as .sql.")
        elif name.endswith(".sql"):
            findings.notes.append(f"{path / name} is no migration of golang-migrate and stays behind")
    downs = {version: path / name for version, _, name in sides["down"]}
    migrations = [
        Foreign(
            version,
            migration_id,
            Text(path / name, read_text(path / name)),
            Text(downs[version], read_text(downs[version])) if version in downs else None,
        )
        for version, migration_id, name in sorted(sides["up"], key=lambda each: int(each[0]))
    ]
    for lonely in sorted(set(downs) - {m.version for m in migrations}, key=int):
        findings.add(downs[lonely], 1, "there is no .up.sql beside it", "Add it, or remove this file.")
    findings.twice(migrations)
    return Source(
        Tool.GOLANG_MIGRATE, path, tuple(migrations), problems=tuple(findings.problems), notes=tuple(findings.notes)
    )
