"""goose: ``00001_name.sql`` with ``-- +goose Up`` and ``-- +goose Down`` in one file."""

from __future__ import annotations

import re
from pathlib import Path

from pliers_db.migrate.files import read_text
from pliers_db.migrate.importing.source import GONE, Findings, Foreign, Source, Text, Tool, id_of

_FILE = re.compile(r"(\d+)_(.*)\.(sql|go)$")
_MARK = re.compile(r"--\s*\+goose\s+(.*?)\s*$")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]")
MARK = re.compile(r"^--\s*\+goose\s+up\b", re.MULTILINE | re.IGNORECASE)


def read(path: Path, names: list[str]) -> Source:
    """Read a folder of goose's; it applies the files in the order of their numbers."""
    findings, migrations = Findings(), []
    for name in sorted(names):
        found = _FILE.match(name)
        if found and found[3] == "sql":
            migrations.append(_migration(path / name, str(int(found[1])), id_of(found[1], found[2]), findings))
        elif found and not name.endswith("_test.go"):
            findings.add(path / name, 1, "a migration in Go", f"Write what it does as {name.removesuffix('.go')}.sql.")
        elif name.endswith(".sql"):
            findings.add(path / name, 1, "its name has no NUMBER_ at its beginning", "Rename it, or move it away.")
    migrations.sort(key=lambda m: int(m.version))
    findings.twice(migrations)
    return Source(Tool.GOOSE, path, tuple(migrations), problems=tuple(findings.problems), notes=tuple(findings.notes))


def _migration(path: Path, version: str, migration_id: str, findings: Findings) -> Foreign:
    text = read_text(path)
    sides: dict[str, list[str]] = {"up": [], "down": []}
    side, transactional, substituting, block = "up", True, False, 0
    begun = False

    def put(line: str) -> None:
        for name, lines in sides.items():
            lines.append(line if name == side else GONE)

    for number, line in enumerate(text.split("\n"), 1):
        mark = _MARK.match(line.strip())
        if mark is None:
            if not begun and line.strip() and not line.lstrip().startswith("--"):
                findings.add(path, number, "SQL before -- +goose Up", "Move it below that line.")
            if substituting and _VARIABLE.search(line):
                findings.add(
                    path,
                    number,
                    "a variable of the environment (ENVSUB)",
                    "Write its value, and remove -- +goose ENVSUB ON.",
                )
            put(line)
            continue
        keep = GONE
        match mark[1].upper():
            case "UP":
                begun = True
            case "DOWN":
                side = "down"
            case "NO TRANSACTION":
                transactional = False
            case "STATEMENTBEGIN":
                block = number
            case "STATEMENTEND":
                # goose sends the block as one statement, whether or not it ends with a semicolon.
                keep, block = (";" if not _ends(sides[side]) else GONE), 0
            case "ENVSUB ON":
                substituting = True
            case "ENVSUB OFF":
                substituting = False
            case other:
                findings.add(path, number, f"goose has no annotation {other!r}", "Correct that line.")
        put(keep)
    if not begun:
        findings.add(path, 1, "there is no -- +goose Up", "Add it, or move the file out of the folder.")
    if block:
        findings.add(path, block, "there is no -- +goose StatementEnd to this line", "Add it.")
    return Foreign(
        version,
        migration_id,
        Text(path, "\n".join(sides["up"])),
        Text(path, "\n".join(sides["down"])),
        transactional,
        transactional,
    )


def _ends(lines: list[str]) -> bool:
    """Whether the last line with something on it ends with a semicolon."""
    last = next((line for line in reversed(lines) if line != GONE and line.strip()), ";")
    return last.rstrip().endswith(";")
