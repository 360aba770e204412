"""Taking over a database that is there already: proved equal to what the migrations build, then recorded.

`adopt` records migrations as applied without running them. `write_first` makes the first migration out of a database.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pliers_db.catalog import Change
from pliers_db.config import Environment, Target
from pliers_db.db import Connection, Database
from pliers_db.errors import HistoryConflict, NoMigrations, SchemaDiffers
from pliers_db.migrate.apply import guard, look
from pliers_db.migrate.bench import DoesNotRun
from pliers_db.migrate.dump import clean, dump, dump_program, join, refreshes
from pliers_db.migrate.engine import DEFAULTS, Options, check_files, mark_applied, session
from pliers_db.migrate.files import Folder, MigrationFile, read_folder
from pliers_db.migrate.history import check_writable, read_history
from pliers_db.migrate.judgement import Ignore, Judgement, judge, sentence
from pliers_db.migrate.lock import migration_lock
from pliers_db.migrate.plan import Entry, State, find_id
from pliers_db.migrate.rebuild import Built, build, look_at, open_workshop, read_live
from pliers_db.progress import SILENT, Reporter
from pliers_db.units import format_count

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Adopted:
    """What is on record now, and how the proof went."""

    marked: tuple[str, ...]
    judgement: Judgement
    server: str
    """The version of the scratch server; empty if there was nothing to do."""


def adopt(
    database: Database,
    folder: Folder,
    *,
    environment: Environment,
    at: str | None = None,
    ignores: tuple[Ignore, ...] = (),
    scratch: Target | None = None,
    confirm: str | None = None,
    options: Options = DEFAULTS,
    reporter: Reporter = SILENT,
) -> Adopted:
    """Record migrations as applied, if the database is what they build.

    :param at: the last one; default: the last of the folder.
    :param ignores: differences that the project accepts.
    :param confirm: the name of the database, typed by a person; needed for a protected one.
    :raises SchemaDiffers: the database is something else; lists how. Nothing was recorded.
    :raises HistoryConflict: what is on record already does not fit the folder.
    """
    wanted = _up_to(folder, at)
    with session(database, reporter) as conn:
        history = read_history(conn, folder)
        if not _to_mark(conn, folder, wanted):
            return Adopted((), Judgement(()), "")
        check_writable(conn, history)
        guard(conn, environment, confirm, f"record {format_count(len(wanted), 'migration')} as applied")
        check_files(wanted)
        live = read_live(conn, history.schema)
        with open_workshop(live.major, scratch, reporter) as workshop:
            _, built = build(workshop, live, wanted, (), reporter)
        _must_equal(judge(live, built, ignores), wanted[-1].id)  # before the first of our tables is made
        with migration_lock(conn, history.schema, wait=options.wait, reporter=reporter):
            # As it stands now that nobody else can migrate it.
            judged = judge(read_live(conn, history.schema), built, ignores)
            _must_equal(judged, wanted[-1].id)
            marked = _to_mark(conn, folder, wanted)
            mark_applied(conn, history, marked, options)
    return Adopted(tuple(e.id for e in marked), judged, built.version)


def _up_to(folder: Folder, at: str | None) -> tuple[MigrationFile, ...]:
    ids = [m.id for m in folder.migrations]
    last = find_id(at, ids) if at is not None else ids[-1]
    return folder.migrations[: ids.index(last) + 1]


def _to_mark(conn: Connection, folder: Folder, wanted: tuple[MigrationFile, ...]) -> list[Entry]:
    status, ids = look(conn, folder), {m.id for m in wanted}
    for entry in status.entries:
        if entry.state in (State.EDITED, State.MISSING, State.PARTIAL) or (entry.record and entry.id not in ids):
            raise HistoryConflict(
                f"{entry.id} is {entry.state}; nothing was recorded",
                why="A baseline is for a database whose record holds nothing else than the first migrations.",
                fix="pliers-db migrate status",
                id=entry.id,
            )
    return [e for e in status.entries if e.id in ids and e.record is None]


def _must_equal(judged: Judgement, last: str) -> None:
    if not judged.differences:
        return
    lines = [sentence(d).partition("\n")[0] for d in judged.differences]
    more = [f"… {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    raise SchemaDiffers(
        f"The database is not what the migrations up to {last} build; nothing was recorded",
        why="\n".join(lines[:_SHOWN] + more),
        fix="Name with --at the migration at which it stands, correct the database or the files, or accept a "
        "difference with its reason in drift.ignore.",
        differences=[d.as_dict() for d in judged.differences],
    )


# ── the first migration ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class First:
    """The migration that was made of a database."""

    id: str
    path: Path
    statements: int
    judgement: Judgement
    server: str


def write_first(
    database: Database,
    folder: Path,
    *,
    ignores: tuple[Ignore, ...] = (),
    scratch: Target | None = None,
    now: datetime | None = None,
    reporter: Reporter = SILENT,
) -> First:
    """Write a database's schema as the first migration of an empty folder, proved to build the same.

    Only reads the database. The file gets its name when it has been run on a scratch server and what it built was
    compared; nothing is left behind otherwise.

    :param folder: where to; made if it is missing.
    :raises HistoryConflict: the folder has migrations already.
    :raises SchemaDiffers: what the file builds is not what the database is.
    """
    _must_be_empty(folder)
    with database.connection() as conn:
        live = read_live(conn, read_history(conn).schema)
        binaries = dump_program(live.major)
    text = dump(binaries, database.target, ["--schema-only"])
    statements = clean(text, live.owner)
    statements = (*statements, *refreshes(live.catalog, statements))
    migration_id = f"{(now or datetime.now(UTC)):%Y%m%d%H%M%S}_baseline"
    path = folder / f"{migration_id}.sql"
    body = _HEAD + join(statements)
    file = MigrationFile(migration_id, path, body, True, (), None)
    check_files([file])
    with open_workshop(live.major, scratch, reporter) as workshop:
        bench = workshop.bench(live, [body])
        try:
            bench.run(file)
        except DoesNotRun as error:
            raise SchemaDiffers(
                "The schema of this database cannot be built anew; no file was written",
                why=f"{error} (PostgreSQL {bench.version})",
                fix="Give --scratch a server that has what it needs (extensions, settings), with a superuser.",
            ) from error
        built = look_at(workshop, bench, live)
    judged = judge(live, built, ignores)
    _must_build_the_same(judged, built)
    folder.mkdir(parents=True, exist_ok=True)
    _publish(path, body)
    return First(migration_id, path, len(statements), judged, built.version)


_HEAD = """\
-- The schema as it was when this database came under migrations. No rows, no roles; it has no rollback.

-- Functions may name what stands further down.
set local check_function_bodies = off;

"""


def _must_be_empty(folder: Path) -> None:
    try:
        first = read_folder(folder).migrations[0].id
    except NoMigrations:
        return
    raise HistoryConflict(
        f"{folder} has migrations already; nothing was written",
        why=f"{first} would have to come after the file that makes the whole schema.",
        fix="If they describe this database: pliers-db migrate baseline (or --at ID)",
    )


def _must_build_the_same(judged: Judgement, built: Built) -> None:
    if not judged.differences:
        return
    lines = []
    for each in judged.differences[:_SHOWN]:
        word = {Change.ADDED: "not built: ", Change.REMOVED: "built, and not in the database: "}.get(each.change)
        lines.append(f"{word}{each.kind} {each.path}" if word else str(each).partition("\n")[0])
    raise SchemaDiffers(
        "The file would not build what the database is; no file was written",
        why="\n".join(lines) + f"\n(PostgreSQL {built.version})",
        fix="Accept it with its reason in drift.ignore, or change the database.",
        differences=[d.as_dict() for d in judged.differences],
    )


def _publish(path: Path, body: str) -> None:
    """Give the whole text its name; a file that came meanwhile stays."""
    from pliers_db.backup import write_atomic

    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        write_atomic(draft, body, 0o644)
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
