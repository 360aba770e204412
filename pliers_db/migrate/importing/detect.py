"""Which tool a folder belongs to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pliers_db.errors import ImportUnclear
from pliers_db.migrate.importing import dbmate, diesel, flyway, golang, goose, sqitch, supabase
from pliers_db.migrate.importing.source import Source, Tool

_READERS: dict[Tool, Callable[[Path, list[str]], Source]] = {
    Tool.DBMATE: dbmate.read,
    Tool.GOLANG_MIGRATE: golang.read,
    Tool.FLYWAY: flyway.read,
    Tool.DIESEL: diesel.read,
    Tool.GOOSE: goose.read,
    Tool.SQITCH: sqitch.read,
    Tool.SUPABASE: supabase.read,
}


def read_source(path: Path, tool: Tool | None = None) -> Source:
    """Read another tool's folder.

    :param tool: whose; default: as its files show.
    :raises ImportUnclear: there is no such folder, it holds no migrations, or its files do not show whose it is.
    :raises UnreadableMigration: a file is not UTF-8.
    """
    if not path.is_dir():
        raise ImportUnclear(f"There is no folder {path}", fix="Name the folder with the other tool's migrations.")
    try:
        return _read(path, tool or detect(path))
    except OSError as error:
        raise ImportUnclear(
            f"{error.filename} cannot be read", why=f"{error.strerror}.", fix="Correct its permissions."
        ) from error


def _read(path: Path, tool: Tool) -> Source:
    names = _folders(path) if tool is Tool.DIESEL else _deep(path) if tool is Tool.FLYWAY else _files(path)
    if tool is Tool.SQITCH and not _plan(path):
        raise ImportUnclear(f"There is no {sqitch.PLAN} in {path}", fix="Name the folder of the sqitch project.")
    source = _READERS[tool](path, names)
    if not source.migrations and not source.problems:
        raise ImportUnclear(f"No migrations of {tool} in {path}", fix="Name another folder, or another --from.")
    return source


def detect(path: Path) -> Tool:
    """Whose folder it is, by its files.

    :raises ImportUnclear: none fits, or several.
    """
    files = _files(path)
    sql = [name for name in files if name.endswith(".sql")]
    heads = [(path / name).read_bytes().decode(errors="replace") for name in sql]
    found = {
        Tool.SQITCH: _plan(path),
        Tool.DIESEL: any((path / name / "up.sql").is_file() for name in _folders(path)),
        Tool.GOLANG_MIGRATE: any(name.endswith(".up.sql") for name in sql),
        Tool.FLYWAY: any(flyway.FILE.match(name.rpartition("/")[2]) for name in _deep(path)),
        Tool.DBMATE: any(dbmate.MARK.search(text) for text in heads),
        Tool.GOOSE: any(goose.MARK.search(text) for text in heads),
    }
    clear = [tool for tool, fits in found.items() if fits]
    if not clear and path.resolve().parent.name == "supabase" and any(supabase.FILE.match(name) for name in sql):
        return Tool.SUPABASE
    if len(clear) == 1:
        return clear[0]
    names = ", ".join(clear)
    raise ImportUnclear(
        f"{path} does not show which tool it belongs to",
        why=f"It looks like {names}." if clear else f"It holds {len(sql)} .sql files, none with a mark of a tool.",
        fix=f"pliers-db migrate import {path} --from {clear[0] if clear else 'supabase'}",
    )


def _plan(path: Path) -> bool:
    return (path / sqitch.PLAN).is_file() or (path / "sqitch.conf").is_file()


def _files(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(e.name for e in entries if e.is_file() and not e.name.startswith("."))


def _folders(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _deep(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
