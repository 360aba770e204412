"""Many migrations as one: proved to build the same schema, roles and rows before the old files go.

The new file is what PostgreSQL dumps of a database that the old ones have built. It says which it replaces
(``-- squash-of:``), so that a database which has them all needs only a record, and one which has some is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliers_db.backup import write_atomic
from pliers_db.catalog import TableDigest, diff, digests
from pliers_db.catalog.model import quoted
from pliers_db.config import Target
from pliers_db.errors import BadSquash, CannotCompare, SchemaDiffers
from pliers_db.migrate.bench import Bench, DoesNotRun, open_bench
from pliers_db.migrate.dump import clean, dump, dump_program, join
from pliers_db.migrate.engine import check_files
from pliers_db.migrate.files import Folder, MigrationFile, number_of
from pliers_db.migrate.plan import find_id
from pliers_db.migrate.rebuild import sequence_values
from pliers_db.migrate.roundtrip import Roles, State, diff_roles
from pliers_db.progress import SILENT, Reporter
from pliers_db.units import format_size

ARCHIVE = "squashed"
"""The subfolder of the migrations into which the old files go; neither yoyo nor we read it."""
MAX_BYTES = 5_000_000
"""A migration is read at every start and stored in every database: rows in quantity belong into seeds."""
_ROWS_A_STATEMENT = 100


@dataclass(frozen=True, slots=True)
class Contents:
    """All that migrations leave behind."""

    state: State
    rows: Mapping[str, TableDigest]
    sequences: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Squash:
    """A file that is proved, and not yet written."""

    file: MigrationFile
    members: tuple[MigrationFile, ...]
    rows: int
    """How many rows it brings."""
    server: str


def make_squash(folder: Folder, to: str, *, scratch: Target | None = None, reporter: Reporter = SILENT) -> Squash:
    """Make one migration of the first ones, and prove on a scratch server that it leaves the same. Writes nothing.

    :param to: the last one.
    :param scratch: a server to use instead of one of our own.
    :raises BadSquash: there is nothing to squash, or it would be too large.
    :raises CannotCompare: the migrations, or the one, do not run on the scratch server.
    :raises SchemaDiffers: it leaves something else.
    """
    members = _members(folder, to)
    check_files(members)
    with open_bench("squash", scratch, reporter) as bench:
        no_roles = bench.state().roles
        with reporter.task("Building", total=len(members) + 1, unit="migrations") as task:
            for member in members:
                _run(bench, member)
                task.advance()
            wanted = _contents(bench)
            file = _file(folder, members, _body(bench, no_roles, wanted))
            check_files([file])
            bench.renew()
            _run(bench, file)
            task.advance()
        _prove(wanted, _contents(bench), file.id)
        return Squash(file, members, sum(d.rows for d in wanted.rows.values()), bench.version)


def _members(folder: Folder, to: str) -> tuple[MigrationFile, ...]:
    ids = [m.id for m in folder.migrations]
    members = folder.migrations[: ids.index(find_id(to, ids)) + 1]
    if len(members) < 2:
        raise BadSquash(
            f"{members[0].id} is the first migration: there is nothing to squash",
            why="A squash makes one file of at least two.",
            fix="pliers-db migrate squash --to ID, with a later one",
        )
    return members


def _run(bench: Bench, file: MigrationFile) -> None:
    try:
        bench.run(file)
    except DoesNotRun as error:
        raise CannotCompare(
            f"{file.id} does not run on the scratch server; nothing was written",
            why=f"{error} (PostgreSQL {bench.version})",
            fix="Give --scratch a server that has what it needs, with a superuser who may create databases.",
        ) from error


def _contents(bench: Bench) -> Contents:
    return Contents(bench.state(), digests(bench.conn), sequence_values(bench.conn))


# ── the file ────────────────────────────────────────────────────────────────────────────────────────────────
def _body(bench: Bench, no_roles: Roles, wanted: Contents) -> str:
    text = dump(
        dump_program(bench.conn.info.server_version // 10000),
        bench.target,
        ["--column-inserts", f"--rows-per-insert={_ROWS_A_STATEMENT}"],
    )
    if len(text) > MAX_BYTES:
        raise BadSquash(
            f"The one file would have {format_size(len(text))}; nothing was written",
            why=f"The migrations write {sum(d.rows for d in wanted.rows.values()):,} rows; a migration is read at each "
            f"start and kept in every database. The limit is {format_size(MAX_BYTES)}.",
            fix="Squash up to the migration before those rows, or move them into a seed.",
        )
    roles = [*_role_statements(no_roles, wanted.state.roles)]
    return join([*roles, *clean(text, bench.conn.info.user)])


def _role_statements(before: Roles, after: Roles) -> Sequence[str]:
    """What makes the roles that the migrations make, where they are missing: roles belong to the whole server."""
    new = [name for name in sorted(after) if name not in before]
    return [
        *(_create_role(name, after[name]) for name in new),
        *(f"GRANT {role} TO {quoted(name)}" for name in new for role in after[name]["member of"]),
    ]


def _create_role(name: str, attributes: Mapping[str, Any]) -> str:
    words = [
        word if attributes[key] else f"NO{word}"
        for key, word in (
            ("super", "SUPERUSER"),
            ("inherit", "INHERIT"),
            ("createrole", "CREATEROLE"),
            ("createdb", "CREATEDB"),
            ("canlogin", "LOGIN"),
            ("replication", "REPLICATION"),
            ("bypassrls", "BYPASSRLS"),
        )
    ]
    if attributes["connlimit"] != -1:
        words.append(f"CONNECTION LIMIT {attributes['connlimit']}")
    literal = "'" + name.replace("'", "''") + "'"
    return (
        f"DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal}) THEN\n"
        f"    CREATE ROLE {quoted(name)} {' '.join(words)};\nEND IF; END $do$"
    )


def _file(folder: Folder, members: Sequence[MigrationFile], body: str) -> MigrationFile:
    ids = [m.id for m in members]
    migration_id = f"{number_of(ids[-1])}_squash"
    while migration_id in folder:
        migration_id += "ed"
    head = "".join(f"-- squash-of: {i}\n" for i in ids)
    text = (
        f"{head}-- Made by pliers-db migrate squash, and proved to leave the same schema, roles and rows.\n\n"
        f"-- Functions may name what stands further down.\nset local check_function_bodies = off;\n\n{body}"
    )
    return MigrationFile(migration_id, folder.path / f"{migration_id}.sql", text, True, (), None, tuple(ids))


# ── the proof ───────────────────────────────────────────────────────────────────────────────────────────────
def _prove(wanted: Contents, found: Contents, migration_id: str) -> None:
    lines = [
        *map(str, diff(wanted.state.catalog, found.state.catalog)),
        *map(str, diff_roles(wanted.state.roles, found.state.roles)),
        *(
            f"rows of {table}: {_told(wanted.rows.get(table))}, and {_told(found.rows.get(table))} by the one file"
            for table in sorted(wanted.rows.keys() | found.rows.keys())
            if wanted.rows.get(table) != found.rows.get(table)
        ),
        *(
            f"sequence {name} stands at {wanted.sequences.get(name)} and {found.sequences.get(name)}"
            for name in sorted(wanted.sequences.keys() | found.sequences.keys())
            if wanted.sequences.get(name) != found.sequences.get(name)
        ),
    ]
    if lines:
        raise SchemaDiffers(
            f"{migration_id} would not leave what the migrations leave; nothing was written",
            why="\n".join(line.partition("\n")[0] for line in lines[:20]),
            fix="Squash up to the migration before the one that makes this.",
        )


def _told(digest: TableDigest | None) -> str:
    return "none" if digest is None else f"{digest.rows} (hash {digest.hash})"


# ── onto the disk ───────────────────────────────────────────────────────────────────────────────────────────
_DEPENDS = re.compile(r"^(\s*--\s*depends\s*:)(.*)$", re.MULTILINE)


def write_squash(folder: Folder, squash: Squash) -> Path:
    """Put the one file in the place of the many, which go into a subfolder.

    The folder is whole at every moment: as soon as the one file has its name, those that it replaces count no more.
    What a kill has left undone, `tidy` does.

    :returns: the subfolder.
    """
    write_atomic(squash.file.path, squash.file.text, 0o644)
    return tidy(folder.path, squash.file, folder.migrations)


def tidy(path: Path, file: MigrationFile, migrations: Sequence[MigrationFile]) -> Path:
    """Point the others to the one file, and move those away that it replaces."""
    replaced = set(file.replaces)
    for other in migrations:
        text = _DEPENDS.sub(lambda line: _pointed(line, replaced, file.id), other.text)
        if other.id not in replaced and text != other.text:
            write_atomic(other.path, text, 0o644)
    archive = path / ARCHIVE / file.id
    for member in file.replaces:
        for name in (f"{member}.rollback.sql", f"{member}.sql"):
            if (path / name).is_file():
                archive.mkdir(parents=True, exist_ok=True)
                os.replace(path / name, archive / name)
    return archive


def _pointed(line: re.Match[str], replaced: set[str], migration_id: str) -> str:
    if not replaced & set(line[2].split()):
        return line[0]
    ids = [migration_id if i in replaced else i for i in line[2].split()]
    return f"{line[1]} {' '.join(dict.fromkeys(ids))}"
