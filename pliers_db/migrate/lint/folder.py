"""The migrations folder as lint sees it: what `read_folder` would refuse is a finding, and the rest is examined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pliers_db.errors import (
    BadDependency,
    BadDirective,
    BadMigrationName,
    DuplicateMigration,
    InputError,
    NoMigrations,
    UnreadableMigration,
)
from pliers_db.migrate import files
from pliers_db.migrate.files import Folder, MigrationFile
from pliers_db.migrate.lint.view import Hit

ROLLBACK = ".rollback.sql"
_RULES: tuple[tuple[type[InputError], str], ...] = (
    (BadDirective, "PL001"),
    (BadMigrationName, "PL004"),
    (DuplicateMigration, "PL005"),
    (UnreadableMigration, "PL006"),
    (BadDependency, "PL007"),
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A file that cannot be a migration as it is."""

    path: Path
    hit: Hit
    line: int
    migration: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Loose:
    """A folder read without refusing anything."""

    path: Path
    migrations: tuple[MigrationFile, ...]
    """In the order of their numbers, or of their dependencies where those can be met."""
    trouble: tuple[Trouble, ...]


def read_loosely(path: Path) -> Loose:
    """Read every migration that can be read.

    :raises InputError: no such folder, nothing in it, or a name that cannot be one.
    """
    try:
        return Loose(path, *_orderly(files.read_folder(path)))
    except NoMigrations:
        raise
    except InputError:
        loose = _piece_by_piece(path)
        if any(t.hit.rule != "PL024" for t in loose.trouble):
            return loose
        raise  # a mistake that no rule is about must not be passed over


def _orderly(folder: Folder) -> tuple[tuple[MigrationFile, ...], tuple[Trouble, ...]]:
    return (*folder.migrations, *folder.hooks), tuple(_warnings(folder))


def _warnings(folder: Folder) -> list[Trouble]:
    found = []
    for warning in folder.warnings:
        if "belongs to no migration" in warning:
            orphan = Path(warning.removesuffix(" belongs to no migration"))
            fix = f"git rm {orphan.name} -- or bring {orphan.name.removesuffix(ROLLBACK)}.sql back"
            found.append(Trouble(orphan, Hit("PL024", None, "its migration does not exist", fix), 1))
        else:
            found.append(Trouble(folder.path, Hit("PL008", None, warning), 1))
    return found


def _piece_by_piece(path: Path) -> Loose:
    names = sorted(n.name for n in path.iterdir() if n.is_file() and not n.name.startswith((".", "#")))
    rollbacks = {n.removesuffix(ROLLBACK) for n in names if n.endswith(ROLLBACK)}
    migrations: list[MigrationFile] = []
    trouble: list[Trouble] = []
    for name in names:
        file = path / name
        if name.endswith(ROLLBACK) or not name.endswith((".sql", ".py")):
            continue
        if name.endswith(".py"):
            if name[:1].isdigit():
                hit = Hit("PL004", None, f"{name} is written in Python; pliers-db runs SQL")
                trouble.append(Trouble(file, hit, 1))
            continue
        if not name[:1].isdigit() and not name.startswith("post-apply"):
            hit = Hit("PL004", None, f"{name} does not begin with a number", f"git mv {name} 0001_{name}")
            trouble.append(Trouble(file, hit, 1))
            continue
        try:
            migrations.append(files.parse_migration(path, name, files.read_text(file), rollbacks))
        except InputError as error:
            trouble.append(trouble_of(error, file))
    for orphan in sorted(rollbacks - {n.removesuffix(".sql") for n in names if not n.endswith(ROLLBACK)}):
        trouble.append(Trouble(path / (orphan + ROLLBACK), Hit("PL024", None, "its migration does not exist"), 1))
    ordered, more = _ordered(migrations)
    return Loose(path, ordered, (*trouble, *more))


def _ordered(migrations: Sequence[MigrationFile]) -> tuple[tuple[MigrationFile, ...], list[Trouble]]:
    trouble = []
    plain = tuple(sorted(migrations, key=lambda m: m.key))
    for check in (files.check_numbers, files.order):
        try:
            result = check(plain)
            plain = result or plain
        except (DuplicateMigration, BadDependency) as error:
            blamed = next((m for m in reversed(plain) if str(m.path) in error.message), plain[0])
            trouble.append(trouble_of(error, blamed.path))
    return plain, trouble


def trouble_of(error: InputError, path: Path) -> Trouble:
    """The finding that an error of reading a file is."""
    rule = next(rule for kind, rule in _RULES if isinstance(error, kind))
    place, line = error.message, 1
    if place.startswith(f"{path}:"):  # path:line: what
        number, _, place = place.removeprefix(f"{path}:").partition(": ")
        line = int(number)
    return Trouble(path, Hit(rule, None, place, error.fix), line, path.name.removesuffix(".sql"), error.why)
