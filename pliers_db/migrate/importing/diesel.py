"""diesel: a folder per migration with ``up.sql``, ``down.sql`` and perhaps ``metadata.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pliers_db.migrate.files import read_text
from pliers_db.migrate.importing.source import Findings, Foreign, Source, Text, Tool, id_of


def read(path: Path, names: list[str]) -> Source:
    """Read a folder of diesel's; it applies the folders in the order of their versions, as texts.

    :param names: of the subfolders.
    """
    findings, migrations = Findings(), []
    for name in sorted(names):
        folder = path / name
        if not (folder / "up.sql").is_file():
            if any(folder.iterdir()):
                findings.add(folder, 1, "there is no up.sql in it", "Add it, or move the folder away.")
            continue
        # The version is what stands before the first underscore, without its dashes.
        head, _, rest = name.partition("_")
        version = head.replace("-", "")
        if not version.isdigit():
            findings.add(folder, 1, f"its version {version!r} is no number", "Rename the folder.")
            continue
        down = folder / "down.sql"
        mode = _run_in_transaction(folder / "metadata.toml", findings)
        migrations.append(
            Foreign(
                version,
                id_of(version, rest),
                Text(folder / "up.sql", read_text(folder / "up.sql")),
                Text(down, read_text(down)) if down.is_file() else None,
                mode,
                mode,
            )
        )
    migrations.sort(key=lambda m: m.version)
    findings.twice(migrations)
    return Source(Tool.DIESEL, path, tuple(migrations), problems=tuple(findings.problems), notes=tuple(findings.notes))


def _run_in_transaction(path: Path, findings: Findings) -> bool:
    if not path.is_file():
        return True
    try:
        found = tomllib.loads(read_text(path)).get("run_in_transaction", True)
    except tomllib.TOMLDecodeError as error:
        findings.add(path, 1, f"it cannot be read: {error}", "Correct it.")
        return True
    if not isinstance(found, bool):
        findings.add(path, 1, f"run_in_transaction is {found!r}", "Write true or false.")
        return True
    return found
