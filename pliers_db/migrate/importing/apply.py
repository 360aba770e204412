"""Import: look, plan, take the lock, look and plan again; then the records, then the files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from psycopg import sql

from pliers_db.db import Connection, Database
from pliers_db.errors import ImportUnclear, ImportUnwritten
from pliers_db.migrate.engine import DEFAULTS, Options, open_backend, session
from pliers_db.migrate.files import MigrationFile, RollbackFile, read_text
from pliers_db.migrate.history import History, check_writable, read_history
from pliers_db.migrate.importing.convert import Converted, convert
from pliers_db.migrate.importing.detect import read_source
from pliers_db.migrate.importing.plan import Fate, ImportPlan, check_source, plan_import
from pliers_db.migrate.importing.source import Tool
from pliers_db.migrate.importing.theirs import QUERIES, read_theirs
from pliers_db.migrate.lock import migration_lock
from pliers_db.progress import SILENT, Reporter


def import_folder(
    database: Database,
    path: Path,
    target: Path,
    *,
    tool: Tool | None = None,
    table: str | None = None,
    forget_missing: bool = False,
    dry_run: bool = False,
    options: Options = DEFAULTS,
    reporter: Reporter = SILENT,
) -> ImportPlan:
    """Make another tool's migrations ours: the files, and what this database says of them.

    Their folder and their table stay as they are. All is understood before anything is written. The records are
    written in one transaction, before the files appear: a run that dies in between is finished by the next one. What
    our log knows already is left alone, so that a second run changes nothing, also after a ``down``.

    :param path: their folder.
    :param target: our migrations folder; made if it is missing.
    :param tool: whose folder it is; default: as its files show.
    :param table: where their history stands, if not where the tool puts it.
    :param forget_missing: pass over versions that are applied and have no file.
    :param dry_run: only plan.
    :returns: what was done, or would be.
    :raises ImportUnclear: whose folder it is cannot be told.
    :raises NotImportable: what cannot come along, with file and line.
    :raises ImportConflict: their history is not in a state to go on from, or does not fit the folder.
    """
    if path.resolve() == target.resolve():
        raise ImportUnclear(
            f"{path} is the folder that our migrations go to",
            why="Their files would stand among ours.",
            fix=f"mv {path} {path}.before; pliers-db migrate import {path}.before",
        )
    if target.exists() and not target.is_dir():
        raise ImportUnclear(f"{target} is not a folder", fix="Name another folder: --dir")
    source = read_source(path, tool)
    conversion = convert(source)
    check_source(source, conversion)  # before the database is asked

    def look(conn: Connection) -> tuple[History, ImportPlan]:
        history = read_history(conn)
        theirs = read_theirs(conn, source, table)
        plan = plan_import(
            source,
            conversion,
            theirs,
            target,
            _existing(target),
            _recorded(conn, history),
            forget_missing=forget_missing,
        )
        return history, plan

    with session(database, reporter) as conn:
        history, plan = look(conn)
        if dry_run or plan.empty:
            return plan
        if not plan.marks:
            _publish(_stage(plan.files, target), plan.files, target)
            return plan
        check_writable(conn, history)
        with migration_lock(conn, history.schema, wait=options.wait, reporter=reporter):
            history, plan = look(conn)
            staged = _stage(plan.files, target)
            _write_records(conn, history, plan, options)
            _publish(staged, plan.files, target)
    return plan


def _existing(target: Path) -> dict[str, str]:
    if not target.is_dir():
        return {}
    with os.scandir(target) as entries:
        names = [e.name for e in entries if e.name.endswith(".sql") and not e.name.startswith((".", "#"))]
    return {name: read_text(target / name) for name in names}


def _recorded(conn: Connection, history: History) -> set[str]:
    recorded = {a.hash for a in history.applied}
    if history.logged:  # what was rolled back here, too
        query = sql.SQL(QUERIES["ever_recorded"]).format(sql.Identifier(history.schema, "_yoyo_log"))
        recorded.update(row[0] for row in conn.execute(query))
    return recorded


# ── the database ────────────────────────────────────────────────────────────────────────────────────────────
def _write_records(conn: Connection, history: History, plan: ImportPlan, options: Options) -> None:
    from pliers_db.migrate.backend import MARK, SqlMigration

    if not plan.marks:
        return
    backend = open_backend(conn, history, options)
    with conn.transaction():
        for item in plan.marks:
            file, undo = _as_file(item.migration, plan.target)
            at = (item.at or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
            statements = backend.record(SqlMigration(file.id, file, undo), MARK, item.ms, at)
            if item.fate is Fate.UNVERIFIED:
                statements.pop()  # the text: it is not what was applied
            for statement in statements:
                conn.execute(statement.encode())


def _as_file(migration: Converted, target: Path) -> tuple[MigrationFile, RollbackFile | None]:
    path = target / f"{migration.id}.sql"
    back = path.with_name(f"{migration.id}.rollback.sql")
    undo = None
    if migration.rollback is not None:
        undo = RollbackFile(back, migration.rollback, migration.rollback_transactional)
    file = MigrationFile(migration.id, path, migration.text, migration.transactional, (), undo.path if undo else None)
    return file, undo


# ── the files ───────────────────────────────────────────────────────────────────────────────────────────────
def _stage(files: Mapping[str, str], target: Path) -> Path:
    """Write the files into a hidden folder beside the target, whole and on disk."""
    staged = target.with_name(f".{target.name}.import")
    if not files:  # all are there; the folder may be read-only, as in an image
        return staged
    shutil.rmtree(staged, ignore_errors=True)  # of a run that was killed
    try:
        staged.mkdir(parents=True)
        for name, text in files.items():
            with (staged / name).open("w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise ImportUnwritten(
            f"{error.filename or staged} cannot be written; nothing was changed",
            why=f"{error.strerror}.",
            fix="Make room, or correct the folder's permissions; then the same command again.",
        ) from error
    return staged


def _publish(staged: Path, files: Mapping[str, str], target: Path) -> None:
    """Let the staged files appear: in one step where there was no folder, else one by one in their order."""
    if not files:
        return
    if not target.exists() or not any(target.iterdir()):
        staged.replace(target)
        return
    for name in files:
        (staged / name).replace(target / name)
    staged.rmdir()
