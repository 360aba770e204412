"""Where the project lies and what it has decided for everybody."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pliers_db.errors import BadSetting, NoProject

FILE = "pliers-db.toml"
FOLDERS = ("migrations", "seeds", "backups", "data")
SECTIONS = ("migrate", "drift", "lint", "seed", "backup", "restore", "health", "server", "catalog", "types")
"""The tables that capabilities read with `Project.section`."""

# What belongs into the environment, because the project's file is committed.
_PRIVATE = ("url", "database_url", "database-url", "password", "host", "port", "user", "dbname", "env", "environment")


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
    marked: bool = True
    """Whether anything in the folder says that it is a project's root."""
    table: Mapping[str, Any] = field(default_factory=dict)

    def section(self, name: str, known: Iterable[str] | None = None) -> Mapping[str, Any]:
        """A sub-table such as ``[tool.pliers-db.backup]``; empty if absent.

        :param known: the keys that may stand in it; default: not checked here.
        :raises BadSetting: it is not a table, or holds an unknown key.
        """
        found = self.table.get(name, {})
        if not isinstance(found, Mapping):
            raise BadSetting(f"{name} in {self.config_file} is not a table", fix=f"Write {self._heading(name)}.")
        if known is not None:
            _check_keys(found, known, f"{self._heading(name)} of {self.config_file}")
        return found

    def _heading(self, name: str) -> str:
        own = self.config_file is not None and self.config_file.name == FILE
        return f"[{name}]" if own else f"[tool.pliers-db.{name}]"


def find_project(start: Path | None = None) -> Project:
    """Find the project that ``start`` belongs to: the nearest folder at or above it that has our settings,
    else the nearest with a ``migrations`` folder, a pyproject.toml or a .git, else ``start`` itself.
    The search ends at the first folder with a .git: what lies above is another project.

    :param start: default: the current folder.
    :raises BadSetting: the settings file cannot be read or used.
    :raises NoProject: the current folder is gone.
    """
    start = (start or current_folder()).resolve()
    folders = _up_to_repository(start)
    for folder in folders:
        for name in (FILE, "pyproject.toml"):
            file = folder / name
            if file.is_file() and (table := _read(file)) is not None:
                return _project(folder, file, table)
    for folder in folders:
        if any((folder / mark).exists() for mark in ("migrations", "pyproject.toml", ".git")):
            return _project(folder, None, {})
    return replace(_project(start, None, {}), marked=False)


def current_folder() -> Path:
    """The folder of this process.

    :raises NoProject: it has been removed.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise NoProject(
            "The current folder is gone", why="It was removed or moved.", fix="cd to the project."
        ) from None


def _up_to_repository(start: Path) -> list[Path]:
    folders = [start, *start.parents]
    for number, folder in enumerate(folders, 1):
        if (folder / ".git").exists():
            return folders[:number]
    return folders


def _read(file: Path) -> Mapping[str, Any] | None:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file} cannot be read", why=str(error), fix="Correct that line.", source=str(file)) from None
    except OSError as error:
        raise BadSetting(f"{file} cannot be read", why=f"{error.strerror}.", fix=f"chmod u+r {file}") from None
    if file.name == FILE:
        return document
    tool = document.get("tool")
    found = tool.get("pliers-db") if isinstance(tool, Mapping) else None
    if found is not None and not isinstance(found, Mapping):
        raise BadSetting(f"pliers-db in {file} is not a table", fix="Write [tool.pliers-db].", source=str(file))
    return found


def _project(root: Path, file: Path | None, table: Mapping[str, Any]) -> Project:
    _check_keys(table, ("name", *FOLDERS, *SECTIONS), str(file))

    def text(key: str, default: str) -> str:
        value = table.get(key, default)
        if not isinstance(value, str) or not value.strip():
            raise BadSetting(
                f"{key} in {file} is {value!r}, not a text", fix=f'Write {key} = "{default}".', setting=key
            )
        return value

    def folder(key: str) -> Path:
        return (root / Path(text(key, key)).expanduser()).resolve()

    return Project(
        root=root,
        name=text("name", root.name or "app"),
        migrations=folder("migrations"),
        seeds=folder("seeds"),
        backups=folder("backups"),
        data=folder("data"),
        config_file=file,
        table=table,
    )


def _check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in table:
        if key in known:
            continue
        near = get_close_matches(key.lower().replace("-", "_"), known, n=1)
        if key.lower() in _PRIVATE:
            why, fix = "This file is committed: hosts, names and secrets stand in the environment.", "Use .env."
        else:
            why = f"Known are {', '.join(known)}."
            fix = f"Did you mean {near[0]}?" if near else f"Remove {key}."
        raise BadSetting(f"Unknown key {key!r} in {where}", why=why, fix=fix, setting=key, source=where)
