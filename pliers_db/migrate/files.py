"""The migrations folder: which files there are, what stands in them, in which order they run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from hashlib import sha256
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path

from pliers_db.errors import (
    BadDependency,
    BadDirective,
    BadMigrationName,
    DuplicateMigration,
    NoMigrations,
    UnreadableMigration,
)

# yoyo keeps the id in a varchar(255); the file system allows 255 bytes for id + ".rollback.sql".
MAX_ID = 240
_ROLLBACK = ".rollback.sql"
_HOOK = "post-apply"
_DIRECTIVES = ("transactional", "depends")
_COMMENT_LINE = re.compile(r"\s*(--.*)?$")
_DIRECTIVE = re.compile(r"\s*--\s*(transactional|depends)\s*:\s*(.*?)\s*$")
_SQUASH_OF = re.compile(r"-- squash-of: (\S+)\s*$")
_NEARLY = re.compile(r"\s*(?:--|/\*+)\s*([A-Za-z_-]+)\s*[:=]")
_ANYWHERE = re.compile(r"^[ \t]*--\s*(?:transactional|depends)\s*:", re.IGNORECASE | re.MULTILINE)
# What `yoyo new` calls its files: two of one day and number differ by their random part.
_YOYO_NAME = re.compile(r"(\d{8})_(\d+)_[A-Za-z0-9]{5}(?![A-Za-z0-9])")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One migration: a file of SQL and, beside it, the file that undoes it."""

    id: str
    """The file's name without ``.sql``: what yoyo records."""
    path: Path
    text: str
    """The SQL, without a byte order mark."""
    transactional: bool
    depends: tuple[str, ...]
    rollback_path: Path | None
    replaces: tuple[str, ...] = ()
    """Of a squash: the migrations of which it was made."""

    @property
    def hash(self) -> str:
        """yoyo's key of a migration: the SHA-256 of its id (not of its content)."""
        return migration_hash(self.id)

    @property
    def sha256(self) -> str:
        """The hash of the content, to see whether it was edited after it was applied."""
        return sha256(self.text.encode()).hexdigest()

    @property
    def key(self) -> tuple[tuple[int, ...], str]:
        """Where it stands in the order: by number, then by name."""
        return sort_key(self.id)


@dataclass(frozen=True, slots=True)
class RollbackFile:
    """What undoes a migration."""

    path: Path
    text: str
    transactional: bool


@dataclass(frozen=True, slots=True)
class Folder:
    """The migrations of a project, in the order in which they run."""

    path: Path
    migrations: tuple[MigrationFile, ...]
    hooks: tuple[MigrationFile, ...] = ()
    """``post-apply*.sql``: run after every ``up`` that applied something, recorded nowhere."""
    warnings: tuple[str, ...] = ()

    def __contains__(self, migration_id: object) -> bool:
        return any(m.id == migration_id for m in self.migrations)

    def by_id(self) -> dict[str, MigrationFile]:
        """The migrations by their ids."""
        return {m.id: m for m in self.migrations}


def migration_hash(migration_id: str) -> str:
    """yoyo's primary key of a migration."""
    return sha256(migration_id.encode()).hexdigest()


def sort_key(migration_id: str) -> tuple[tuple[int, ...], str]:
    """The order of ids: ``9_x`` stands before ``10_x``, ``1.9_x`` before ``1.10_x``, ``20260102_02_…`` after
    ``20260102_01_…``.
    """
    if found := _YOYO_NAME.match(migration_id):
        return (int(found[1]), int(found[2])), migration_id
    number = _NUMBER.match(migration_id)
    return tuple(map(int, number[0].split("."))) if number else (-1,), migration_id


def number_of(migration_id: str) -> str:
    """The part of an id that gives it its place: ``0007`` of ``0007_users``, ``20260102_02_aB3dE`` of yoyo's names."""
    found = _YOYO_NAME.match(migration_id) or _NUMBER.match(migration_id)
    return found[0] if found else ""


def read_folder(path: Path) -> Folder:
    """Read the migrations of a folder.

    Hidden files and subfolders are passed over. The content is judged only as far as order and mode need it.

    :raises InputError: no such folder, no migration in it, a bad name, directive, dependency or encoding.
    """
    names = _list(path)
    return _folder(path, names, lambda name: read_text(f"{path}/{name}"))


def folder_of_texts(path: Path, texts: Mapping[str, str]) -> Folder:
    """What `read_folder` would find if a folder held these files. Reads nothing.

    :param texts: by file name.
    :raises InputError: as `read_folder` does.
    """
    _check_names(path, texts)
    return _folder(path, texts, texts.__getitem__)


def _folder(path: Path, names: Iterable[str], read: Callable[[str], str]) -> Folder:
    forward = [n for n in names if not n.endswith(_ROLLBACK)]
    rollbacks = {n.removesuffix(_ROLLBACK) for n in names if n.endswith(_ROLLBACK)}
    files = [parse_migration(path, name, read(name), rollbacks) for name in forward]
    migrations, superseded, unpointed = _without_replaced([f for f in files if not f.id.startswith(_HOOK)])
    if not migrations:
        raise NoMigrations(
            f"No migrations in {path}", why="The folder holds no NUMBER_name.sql.", fix="pliers-db migrate new NAME"
        )
    check_numbers(migrations)
    ids = {f.id for f in files}
    warnings = [f"{path / (i + _ROLLBACK)} belongs to no migration" for i in sorted(rollbacks - ids)]
    warnings += [f"{path / i}.sql counts no more, {by} replaces it: remove it" for i, by in superseded.items()]
    warnings += [
        f"{path / i}.sql depends on what {by} replaces: write {by} there (stock yoyo looks for the old file)"
        for i, by in unpointed.items()
    ]
    by_name = sorted(migrations, key=lambda m: m.id)
    migrations.sort(key=lambda m: m.key)
    chained = all(one.id in other.depends for one, other in pairwise(migrations))
    if by_name != migrations and not chained:
        first = next(a for a, b in zip(by_name, migrations, strict=True) if a is not b)
        warnings.append(
            f"the numbers of the migrations differ in width: stock yoyo would put {first.id} elsewhere (by name)"
        )
    hooks = tuple(sorted((f for f in files if f.id.startswith(_HOOK)), key=lambda f: f.id))
    return Folder(path, order(migrations), hooks, tuple(warnings))


def _without_replaced(
    migrations: list[MigrationFile],
) -> tuple[list[MigrationFile], dict[str, str], dict[str, str]]:
    """Leave out what a squash in the folder replaces; what depends on it depends on the squash.

    :returns: and the ids that were left out, and those whose files name what was, each with the id of the squash.
    """
    replaced = {i: m.id for m in migrations for i in m.replaces}
    if not replaced:
        return migrations, {}, {}

    def pointed(migration: MigrationFile) -> MigrationFile:
        return replace(migration, depends=tuple(dict.fromkeys(replaced.get(d, d) for d in migration.depends)))

    superseded = {m.id: replaced[m.id] for m in migrations if m.id in replaced}
    kept = [m for m in migrations if m.id not in superseded]
    unpointed = {m.id: replaced[d] for m in kept for d in m.depends if d in replaced}
    return [pointed(m) for m in kept], superseded, unpointed


def read_rollback(migration: MigrationFile) -> RollbackFile | None:
    """Read the file that undoes a migration; None if there is none.

    Without a ``-- transactional:`` of its own it runs as its migration does.
    """
    if migration.rollback_path is None:
        return None
    text = read_text(migration.rollback_path)
    directives = parse_directives(text, migration.rollback_path)
    return RollbackFile(
        migration.rollback_path, text, _transactional(directives, migration.rollback_path, migration.transactional)
    )


def _list(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in entries if not e.name.startswith((".", "#")) and e.is_file()]
    except FileNotFoundError:
        raise NoMigrations(
            f"There is no migrations folder {path}",
            why="Nothing is there.",
            fix="pliers-db migrate new NAME, or set migrations in pliers-db.toml.",
        ) from None
    except NotADirectoryError:
        raise NoMigrations(f"{path} is not a folder", fix="Set migrations in pliers-db.toml.") from None
    except PermissionError as error:
        raise NoMigrations(f"{path} cannot be read", why=str(error), fix="Correct its permissions.") from error
    python = [n for n in names if n.endswith(".py") and n[:1].isdigit()]
    if python:
        raise BadMigrationName(
            f"{path / min(python)} is a Python migration",
            why="pliers-db runs migrations written in SQL.",
            fix="Write it as .sql, or apply it with yoyo and move it out of the folder.",
        )
    found = [n for n in names if n.endswith(".sql")]
    _check_names(path, found)
    return found


def _check_names(path: Path, names: Iterable[str]) -> None:
    for name in sorted(names):
        if not name[:1].isdigit() and not name.startswith(_HOOK):
            raise BadMigrationName(
                f"{path / name} is not a migration",
                why="The name of a migration begins with its number, as in 0001_users.sql.",
                fix="Rename it, or move it out of the migrations folder.",
            )
        if len(name) > MAX_ID:
            raise BadMigrationName(
                f"{path / name} has a name of {len(name)} characters",
                why=f"yoyo's tables and the file system leave room for {MAX_ID}.",
                fix="Shorten it.",
            )


def parse_migration(folder: Path, name: str, text: str, rollbacks: set[str]) -> MigrationFile:
    """One file of a folder as a migration.

    :param rollbacks: the ids that have a rollback file.
    :raises BadDirective: with the line.
    """
    migration_id = name.removesuffix(".sql")
    path = folder / name
    directives = parse_directives(text, path)
    return MigrationFile(
        id=migration_id,
        path=path,
        text=text,
        transactional=_transactional(directives, path, default=True),
        depends=_depends(directives, path),
        rollback_path=folder / (migration_id + _ROLLBACK) if migration_id in rollbacks else None,
        replaces=_replaces(text),
    )


def read_text(path: Path | str) -> str:
    """Read a file of SQL: UTF-8, with or without a byte order mark.

    :raises UnreadableMigration: with the byte at which it is something else.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            content = file.read()
    except OSError as error:
        raise UnreadableMigration(f"{path} cannot be read", why=str(error), fix="Correct its permissions.") from error
    if b"\0" in content:
        at = content.index(b"\0")
        raise UnreadableMigration(
            f"{path}:{_line(content, at)}: a NUL byte at offset {at}",
            why="PostgreSQL's SQL cannot hold one; the file may be UTF-16 or not a text.",
            fix="Save the file as UTF-8.",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableMigration(
            f"{path}:{_line(content, error.start)}: not UTF-8 at byte offset {error.start}",
            why=f"Byte 0x{content[error.start]:02x} is no UTF-8; the file may be Latin-1.",
            fix=f"iconv -f latin1 -t utf-8 {Path(path).name} > new.sql && mv new.sql {Path(path).name}",
        ) from None


def _line(content: bytes, offset: int) -> int:
    return content.count(b"\n", 0, offset) + 1


def parse_directives(text: str, path: Path) -> Mapping[str, tuple[str, int]]:
    """Read ``-- transactional:`` and ``-- depends:`` from the comment lines above the first statement, as yoyo does.

    What yoyo would silently pass over (another case, a typing error, a directive further down) is refused.

    :returns: each directive's value and line.
    :raises BadDirective: with the line.
    """
    if "--" not in text and "/*" not in text:
        return {}
    found: dict[str, tuple[str, int]] = {}
    top = 0
    for number, line in enumerate(text.splitlines(), 1):
        if match := _DIRECTIVE.match(line):
            name, value = match.groups()
            if name in found and name == "transactional":
                raise BadDirective(f"{path}:{number}: a second -- {name}:", fix="Keep one.")
            found[name] = (f"{found[name][0]} {value}" if name in found else value, number)
        elif match := _NEARLY.match(line):
            near = get_close_matches(match[1].lower(), _DIRECTIVES, n=1, cutoff=0.8)
            if near:
                raise BadDirective(
                    f"{path}:{number}: {line.strip()!r} is not a directive",
                    why="yoyo would pass over it in silence.",
                    fix=f"Write it as: -- {near[0]}: …",
                )
        if not _COMMENT_LINE.match(line):
            break
        top = number
    for match in _ANYWHERE.finditer(text):
        number = text.count("\n", 0, match.start()) + 1
        if number > top:
            raise BadDirective(
                f"{path}:{number}: {match[0].strip()!r} stands below the first statement",
                why="Directives count only in the comment lines at the top of the file.",
                fix="Move that line to the top.",
            )
    return found


def _replaces(text: str) -> tuple[str, ...]:
    """What the ``-- squash-of:`` lines at the very top of a file name, one id each."""
    found = []
    for line in text.splitlines() if text.startswith("-- squash-of:") else ():
        match = _SQUASH_OF.match(line)
        if match is None:
            break
        found.append(match[1])
    return tuple(found)


def _transactional(directives: Mapping[str, tuple[str, int]], path: Path, default: bool) -> bool:
    if "transactional" not in directives:
        return default
    value, line = directives["transactional"]
    if value.lower() not in ("true", "false"):
        raise BadDirective(
            f"{path}:{line}: -- transactional: {value}",
            why="The value is true or false.",
            fix="Write: -- transactional: false",
        )
    return value.lower() == "true"


def _depends(directives: Mapping[str, tuple[str, int]], path: Path) -> tuple[str, ...]:
    if "depends" not in directives:
        return ()
    value, line = directives["depends"]
    if "," in value:
        raise BadDirective(
            f"{path}:{line}: -- depends: {value}",
            why="Ids are separated by blanks.",
            fix=f"Write: -- depends: {' '.join(value.replace(',', ' ').split())}",
        )
    return tuple(dict.fromkeys(value.split()))


def check_numbers(migrations: Iterable[MigrationFile]) -> None:
    """Make sure that each migration's number is its own.

    :raises DuplicateMigration: two have the same.
    """
    seen: dict[tuple[int, ...], MigrationFile] = {}
    for migration in sorted(migrations, key=lambda m: m.id):
        other = seen.setdefault(migration.key[0], migration)
        if other is not migration and not (_YOYO_NAME.match(migration.id) and _YOYO_NAME.match(other.id)):
            raise DuplicateMigration(
                f"{other.path} and {migration.path} have the same number",
                why="Nobody could tell which of the two comes first.",
                fix="Give the newer one the next number, before it is applied anywhere.",
            )


def order(migrations: Iterable[MigrationFile]) -> tuple[MigrationFile, ...]:
    """Put migrations into the order in which they run: by number, but none before what it depends on.

    :raises BadDependency: an unknown id, or a cycle.
    """
    items = sorted(migrations, key=lambda m: m.key)
    places = {m.id: place for place, m in enumerate(items)}
    waits: dict[int, int] = {}
    blocks: dict[int, list[int]] = {}
    for place, migration in enumerate(items):
        for needed in migration.depends:
            if needed not in places:
                near = get_close_matches(needed.removesuffix(".sql"), places, n=1)
                raise BadDependency(
                    f"{migration.path} depends on {needed}, which does not exist",
                    why="A dependency is the name of a migration's file without .sql.",
                    fix=f"Did you mean {near[0]}?" if near else "Correct or remove the -- depends: line.",
                )
            waits[place] = waits.get(place, 0) + 1
            blocks.setdefault(places[needed], []).append(place)
    ready = [place for place in range(len(items)) if place not in waits]
    heapify(ready)
    ordered: list[MigrationFile] = []
    while ready:
        place = heappop(ready)
        ordered.append(items[place])
        for blocked in blocks.get(place, ()):
            waits[blocked] -= 1
            if not waits[blocked]:
                heappush(ready, blocked)
    if len(ordered) < len(items):
        raise BadDependency(
            f"Migrations depend on each other in a circle: {' -> '.join(_cycle(items, ordered))}",
            why="None of them could be the first.",
            fix="Remove one of their -- depends: lines.",
        )
    return tuple(ordered)


def _cycle(items: list[MigrationFile], ordered: list[MigrationFile]) -> list[str]:
    done = {m.id for m in ordered}
    left = {m.id: [d for d in m.depends if d not in done] for m in items if m.id not in done}
    walk = [next(iter(left))]
    while walk[-1] not in walk[:-1]:
        walk.append(left[walk[-1]][0])
    return walk[walk.index(walk[-1]) :]
