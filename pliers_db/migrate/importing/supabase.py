"""Supabase: ``20240101120000_name.sql``, forward only."""

from __future__ import annotations

import re
from pathlib import Path

from pliers_db.migrate.files import read_text
from pliers_db.migrate.importing.source import Findings, Foreign, Source, Text, Tool, id_of

FILE = re.compile(r"(\d+)_(.*)\.sql$")


def read(path: Path, names: list[str]) -> Source:
    """Read a folder of the Supabase CLI's; it applies the files in the order of their names."""
    findings, migrations = Findings(), []
    for name in sorted(names):
        if found := FILE.match(name):
            text = read_text(path / name)
            migrations.append(Foreign(found[1], id_of(found[1], found[2]), Text(path / name, text), checksum=text))
        elif name.endswith(".sql"):
            findings.notes.append(f"{path / name} is no migration of Supabase and stays behind")
    findings.twice(migrations)
    return Source(
        Tool.SUPABASE, path, tuple(migrations), problems=tuple(findings.problems), notes=tuple(findings.notes)
    )
