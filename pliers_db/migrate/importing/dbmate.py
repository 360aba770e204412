"""dbmate: ``20240101120000_name.sql`` with ``-- migrate:up`` and ``-- migrate:down`` in one file."""

from __future__ import annotations

import re
from pathlib import Path

from pliers_db.migrate.files import read_text
from pliers_db.migrate.importing.source import Findings, Foreign, Source, Tool, id_of, part

_FILE = re.compile(r"(\d+)(.*)\.sql$")
_MARK = re.compile(r"--\s*migrate:(up|down)(?:\s+(.*))?$")
MARK = re.compile(r"^--\s*migrate:up\b", re.MULTILINE)


def read(path: Path, names: list[str]) -> Source:
    """Read a folder of dbmate's; it applies the files in the order of their names."""
    findings, migrations = Findings(), []
    for name in sorted(names):
        found = _FILE.match(name)
        if not found:
            if name.endswith(".sql"):
                findings.notes.append(f"{path / name} is no migration of dbmate and stays behind")
            continue
        migrations.append(_migration(path / name, found[1], id_of(found[1], found[2].removeprefix("_")), findings))
    findings.twice(migrations)
    return Source(Tool.DBMATE, path, tuple(migrations), problems=tuple(findings.problems), notes=tuple(findings.notes))


def _migration(path: Path, version: str, migration_id: str, findings: Findings) -> Foreign:
    text = read_text(path)
    lines: dict[str, list[int]] = {"up": [], "down": []}
    transactional: dict[str, bool] = {}
    side = ""
    for number, line in enumerate(text.split("\n"), 1):
        if mark := _MARK.match(line.rstrip()):
            side = mark[1]
            if side in transactional:
                findings.add(path, number, f"a second -- migrate:{side}", "Put it into a migration of its own.")
            if side == "down" and "up" not in transactional:
                findings.add(path, number, "-- migrate:down stands before -- migrate:up", "Change their order.")
            transactional[side] = "transaction:false" not in (mark[2] or "").split()
        elif side:
            lines[side].append(number)
        elif line.strip() and not line.lstrip().startswith("--"):
            findings.add(path, number, "SQL before -- migrate:up", "Move it below that line.")
        else:
            lines["up"].append(number)
    if "up" not in transactional:
        findings.add(path, 1, "there is no -- migrate:up", "Add it, or move the file out of the folder.")
    return Foreign(
        version,
        migration_id,
        part(path, text, lines["up"]),
        part(path, text, lines["down"]),
        transactional.get("up", True),
        transactional.get("down", True),
    )
