"""Where the project lies and what it has decided for everybody."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pliers_db.errors import BadSetting

FILE = "pliers-db.toml"


@dataclass(frozen=True, slots=True)
class Project:
    """The root folder and the versioned choices (``pliers-db.toml`` or ``[tool.pliers-db]``)."""

    root: Path
    name: str
    migrations: Path
    seeds: Path
    backups: Path
    data: Path
    config_file: Path | None = None
    table: Mapping[str, Any] = field(default_factory=dict)

    def section(self, name: str) -> Mapping[str, Any]:
        """A sub-table such as ``[tool.pliers-db.backup]``; empty if absent."""
        found = self.table.get(name, {})
        if not isinstance(found, Mapping):
            raise BadSetting(f"{name} in {self.config_file} is not a table", fix=f"Write [tool.pliers-db.{name}].")
        return found


def find_project(start: Path) -> Project:
    """Find the project that ``start`` belongs to: the nearest folder at or above it that has our settings,
    else the nearest with a ``migrations`` folder, a pyproject.toml or a .git, else ``start`` itself.

    :raises BadSetting: the settings file cannot be read.
    """
    start = start.resolve()
    folders = [start, *start.parents]
    for folder in folders:
        for name in (FILE, "pyproject.toml"):
            file = folder / name
            if file.is_file() and (table := _read(file)) is not None:
                return _project(folder, file, table)
    for folder in folders:
        if any((folder / mark).exists() for mark in ("migrations", "pyproject.toml", ".git")):
            return _project(folder, None, {})
    return _project(start, None, {})


def _read(file: Path) -> Mapping[str, Any] | None:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file} cannot be read", why=str(error), fix="Correct that line.") from error
    if file.name == FILE:
        return document
    found = document.get("tool", {}).get("pliers-db")
    return found if isinstance(found, Mapping) else None


def _project(root: Path, file: Path | None, table: Mapping[str, Any]) -> Project:
    def folder(key: str, default: str) -> Path:
        value = table.get(key, default)
        if not isinstance(value, str):
            raise BadSetting(f"{key} in {file} is not a text", fix=f'Write {key} = "{default}".')
        return (root / value).resolve()

    name = table.get("name", root.name)
    return Project(
        root=root,
        name=str(name),
        migrations=folder("migrations", "migrations"),
        seeds=folder("seeds", "seeds"),
        backups=folder("backups", "backups"),
        data=folder("data", "data"),
        config_file=file,
        table=table,
    )
