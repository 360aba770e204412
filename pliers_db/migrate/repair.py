"""The log, and correcting the record: what counts as applied, and which text of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from psycopg import sql

from pliers_db.config import Environment
from pliers_db.db import Connection, Database
from pliers_db.errors import HistoryConflict, UnknownStatement
from pliers_db.migrate.apply import guard, look
from pliers_db.migrate.engine import DEFAULTS, Options, open_backend, session
from pliers_db.migrate.files import Folder, read_rollback
from pliers_db.migrate.history import (
    LOG_TABLE,
    OWN_TABLE,
    PROGRESS_TABLE,
    QUERIES,
    History,
    check_writable,
    read_history,
)
from pliers_db.migrate.lock import migration_lock
from pliers_db.migrate.plan import Entry, State, Status, find_id
from pliers_db.progress import SILENT, Reporter


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of ``_yoyo_log``."""

    id: str
    operation: str
    """apply, rollback, mark or unmark."""
    username: str | None
    hostname: str | None
    at: datetime | None
    ms: float | None
    """How long it took, for what is applied now."""


def read_log(database: Database, limit: int = 100) -> tuple[LogLine, ...]:
    """What was done to this database, the latest first. Reads only.

    :param limit: how many lines at most.
    """
    with database.connection() as conn:
        history = read_history(conn)
        if not history.logged:
            return ()
        query = sql.SQL(QUERIES["log" if history.own_readable else "plain_log"]).format(
            log=sql.Identifier(history.schema, LOG_TABLE), own=sql.Identifier(history.schema, OWN_TABLE)
        )
        return tuple(
            LogLine(i, operation, user, host, at and at.replace(tzinfo=UTC), ms)
            for i, operation, user, host, at, ms in conn.execute(query, [limit])
        )


class Repair(StrEnum):
    """What `repair` can do to one migration's record. None of them runs SQL of the migration."""

    MARK_APPLIED = "mark-applied"
    MARK_PENDING = "mark-pending"
    ACCEPT_EDIT = "accept-edit"
    """The file's present text counts as what was applied."""
    FORGET = "forget"
    """Drop the record of a migration whose file is gone."""
    RESUME = "resume"
    """Say at which statement one without a transaction goes on."""


_FITS = {
    Repair.MARK_APPLIED: (State.PENDING, State.OUT_OF_ORDER, State.PARTIAL),
    Repair.MARK_PENDING: (State.APPLIED, State.UNVERIFIED, State.EDITED, State.PARTIAL),
    Repair.ACCEPT_EDIT: (State.APPLIED, State.UNVERIFIED, State.EDITED),
    Repair.FORGET: (State.MISSING,),
    Repair.RESUME: (State.PARTIAL,),
}


def repair(
    database: Database,
    folder: Folder,
    action: Repair,
    migration_id: str,
    *,
    environment: Environment,
    statement: int | None = None,
    confirm: str | None = None,
    options: Options = DEFAULTS,
    reporter: Reporter = SILENT,
) -> Entry:
    """Correct the record of one migration; the change itself goes into yoyo's log.

    :param statement: for RESUME: the number of the statement to go on at, from 1.
    :param confirm: the name of the database, typed by a person; needed for a protected one.
    :returns: how the migration stands afterwards (as pending if it is forgotten).
    :raises UnknownMigration: no such migration.
    :raises HistoryConflict: the migration does not stand as this repair expects.
    """
    with session(database, reporter) as conn:
        history = read_history(conn, folder)
        entry = _entry(look(conn, folder), action, migration_id)
        check_writable(conn, history)
        guard(conn, environment, confirm, f"{action} {entry.id}")
        with migration_lock(conn, history.schema, wait=options.wait, reporter=reporter):
            entry = _entry(look(conn, folder), action, entry.id)
            _write(conn, history, entry, action, options, statement)
        after = look(conn, folder)
    return next((e for e in after.entries if e.id == entry.id), Entry(entry.id, State.PENDING))


def _entry(status: Status, action: Repair, migration_id: str) -> Entry:
    ids = [e.id for e in status.entries]
    wanted = find_id(migration_id, ids)
    entry = status.entries[ids.index(wanted)]
    if entry.state not in _FITS[action]:
        raise HistoryConflict(
            f"{wanted} is {entry.state}; nothing was changed",
            why=f"{action} is for a migration that is {' or '.join(_FITS[action])}.",
            fix="pliers-db migrate status",
        )
    return entry


def _write(
    conn: Connection, history: History, entry: Entry, action: Repair, options: Options, statement: int | None
) -> None:
    from pliers_db.migrate.backend import MARK, UNMARK, SqlMigration

    backend = open_backend(conn, history, options)
    if action is Repair.RESUME:
        assert entry.progress is not None
        if statement is None or not 1 <= statement <= entry.progress.statements + 1:
            raise UnknownStatement(
                f"{entry.id} has the statements 1 to {entry.progress.statements}",
                why=f"{entry.progress.finished} of them are on record as done.",
                fix=f"pliers-db migrate repair --resume {entry.id} --statement {entry.progress.finished + 1}",
            )
        table = sql.Identifier(history.schema, PROGRESS_TABLE)
        query = sql.SQL("update {} set finished = %s, running = false where migration_hash = %s").format(table)
        conn.execute(query, [statement - 1, entry.hash])
        return
    migration = SqlMigration(entry.id, entry.file, read_rollback(entry.file) if entry.file else None)
    if action is Repair.ACCEPT_EDIT:
        assert entry.applied_at is not None
        statements = [backend.own_record(migration, entry.applied_at.replace(tzinfo=None), "0")]
    else:
        statements = backend.record(migration, MARK if action is Repair.MARK_APPLIED else UNMARK)
        statements.append(backend.forget_progress(migration))
    with conn.transaction():
        for text in statements:
            conn.execute(text.encode())
