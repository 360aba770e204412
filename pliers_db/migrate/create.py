"""New migration files."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pliers_db.errors import BadMigrationName, NoMigrations
from pliers_db.migrate.files import MAX_ID, Folder, read_folder

_WIDEST_SERIAL = 7  # digits; a longer number is a date


@dataclass(frozen=True, slots=True)
class NewMigration:
    """The files that `create` has written."""

    id: str
    path: Path
    rollback_path: Path | None


def create(
    path: Path,
    name: str,
    *,
    transactional: bool = True,
    with_rollback: bool = True,
    now: datetime | None = None,
    sql: str = "",
    rollback_sql: str = "",
) -> NewMigration:
    """Write a migration that depends on the last one, and its rollback file; both are empty unless SQL is given.

    The number goes on as the folder counts: ``0007``, or the UTC time ``20260131094500``.

    :param path: the migrations folder; made if it is missing.
    :param name: what the migration does, in a few words.
    :raises InputError: the name has no letter or digit, or the folder is in disorder.
    """
    slug = _slug(name)
    folder = _existing(path)
    migration_id = f"{_number(folder, now or datetime.now(UTC))}_{slug}"
    if len(migration_id) > MAX_ID - len(".rollback.sql"):
        raise BadMigrationName(f"The name is too long ({len(name)} characters)", fix="Use a few words.")
    head = [] if transactional else ["-- transactional: false"]
    if folder is not None:
        head.append(f"-- depends: {folder.migrations[-1].id}")
    path.mkdir(parents=True, exist_ok=True)
    forward = path / f"{migration_id}.sql"
    _write(forward, "\n".join([*head, f"-- {name.strip()}", "", sql]))
    back = path / f"{migration_id}.rollback.sql" if with_rollback else None
    if back:
        _write(back, f"-- Undoes {migration_id}.\n\n{rollback_sql}")
    return NewMigration(migration_id, forward, back)


def _existing(path: Path) -> Folder | None:
    try:
        return read_folder(path)
    except NoMigrations:
        if path.exists() and not path.is_dir():
            raise
        return None


def _number(folder: Folder | None, now: datetime) -> str:
    if folder is not None:
        last = re.match(r"\d+", max(folder.migrations, key=lambda m: m.key).id)
        if last and len(last[0]) <= _WIDEST_SERIAL:
            return str(int(last[0]) + 1).zfill(len(last[0]))
        stamp = now.strftime("%Y%m%d%H%M%S")
        if last and len(last[0]) == len(stamp) and last[0] >= stamp:  # two in one second
            return str(int(last[0]) + 1)
    return now.strftime("%Y%m%d%H%M%S")


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not slug:
        raise BadMigrationName(
            f"{name!r} holds no letter or digit", fix="Say what it does: pliers-db migrate new add_users"
        )
    return slug


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadMigrationName(f"{path} exists already", fix="Choose another name.") from None
