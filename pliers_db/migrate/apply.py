"""`up`, `down` and `redo`: look, plan, take the lock, look and plan again, do it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import psycopg

from pliers_db.config import Environment, check_allowed
from pliers_db.db import Connection, Database, read_stamp, write_stamp
from pliers_db.errors import BadMigration, MigrationPartial, NoRollback, PliersError
from pliers_db.migrate import engine
from pliers_db.migrate.dropped import check_losses, find_dropped, measure
from pliers_db.migrate.engine import DEFAULTS, Options, check_files, find_rollbacks, prepare, session
from pliers_db.migrate.files import Folder, MigrationFile
from pliers_db.migrate.history import QUERIES, check_writable, read_history, read_who
from pliers_db.migrate.lock import left_behind, migration_lock
from pliers_db.migrate.plan import Entry, State, Status, check_history, compare, plan_down, plan_up
from pliers_db.progress import SILENT, Reporter
from pliers_db.units import format_count

if TYPE_CHECKING:
    from pliers_db.migrate.backend import Done


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has done, in the order in which it did it."""

    applied: tuple[Done, ...] = ()
    rolled_back: tuple[Done, ...] = ()
    recorded: tuple[str, ...] = ()
    """Squashes that were only recorded, for all that they replace was applied."""
    status: Status = field(default_factory=lambda: Status(()))
    """How things stand afterwards."""


def look(conn: Connection, folder: Folder, schema: str | None = None) -> Status:
    """How each migration stands. Reads only: no lock, no DDL.

    :param schema: of a schema that is migrated by itself.
    """
    return compare(folder, read_history(conn, folder, schema))


def read_status(database: Database, folder: Folder) -> Status:
    """How each migration stands and who applied it, over the pool. Reads only: no lock, no DDL."""
    with database.connection() as conn:
        history = read_history(conn, folder)
        who = read_who(conn, history)
    return Status(tuple(replace(e, by=who.get(e.hash)) if e.record else e for e in compare(folder, history).entries))


def up(
    database: Database,
    folder: Folder,
    *,
    environment: Environment,
    to: str | None = None,
    steps: int | None = None,
    options: Options = DEFAULTS,
    reporter: Reporter = SILENT,
) -> Outcome:
    """Apply the pending migrations, each in one transaction with its record.

    An empty database that nobody has stamped is stamped with ``environment``.

    :param to: the last one to apply.
    :param steps: how many to apply at most.
    :raises PliersError: InputError before anything is touched; HistoryConflict; MigrationFailed when one is refused
        by the server (those before it stay); MigrationLocked, ReadOnlyDatabase, MissingPrivilege.
    """
    _warn(folder, reporter)
    with session(database, reporter) as conn:
        history = read_history(conn, folder, options.schema)
        status = compare(folder, history)
        planned = plan_up(status, to, steps)
        for entry in status.ahead:
            reporter.warn(f"{entry.id} is applied and newer than this folder")
        half = any(entry.record for entry in status.of(State.PARTIAL))  # rolled back in part
        if not (planned or half or status.of(State.SQUASHED) or status.of(State.SPLIT)):
            for entry in status.of(State.EDITED):
                reporter.warn(f"{entry.id} was edited after it was applied")
            if not (history.complete and left_behind(conn, history.schema)):
                return Outcome(status=status)  # no lock, no DDL: this is what most starts of a service find
        check_writable(conn, history)
        check_history(status, planned, allow_out_of_order=options.allow_out_of_order)
        check_files(folder.hooks)
        prepared = prepare(planned)
        if options.single_transaction:
            _check_together(planned)
        applied: list[Done] = []
        with _lock(conn, history.schema, options, reporter):
            history = read_history(conn, folder, options.schema)
            status = compare(folder, history)
            planned = plan_up(status, to, steps)
            check_history(status, planned, allow_out_of_order=options.allow_out_of_order)
            prepared = prepare(planned, prepared)  # another run may have taken some away, and --steps reach further
            squashed = status.of(State.SQUASHED)
            if squashed:
                engine.mark_applied(conn, history, squashed, options)
                reporter.info(f"recorded {', '.join(e.id for e in squashed)}: all of what was squashed is applied")
            if planned:
                stamp_if_empty(conn, environment, reporter)
                applied = engine.apply(database, conn, history, prepared.values(), folder, options, reporter)
        return Outcome(
            applied=tuple(applied), recorded=tuple(e.id for e in squashed), status=look(conn, folder, options.schema)
        )


def down(
    database: Database,
    folder: Folder,
    *,
    environment: Environment,
    steps: int = 1,
    to: str | None = None,
    again: bool = False,
    allow_data_loss: bool = False,
    confirm: str | None = None,
    options: Options = DEFAULTS,
    reporter: Reporter = SILENT,
) -> Outcome:
    """Roll the last migrations back, the newest first.

    :param steps: how many.
    :param to: instead: everything after this one.
    :param again: apply them once more afterwards (``redo``).
    :param allow_data_loss: roll back what drops tables or columns that hold rows, too.
    :param confirm: the name of the database, typed by a person; needed for a protected one.
    :raises PliersError: NoRollback, DataLoss, ProtectedDatabase before anything is touched; MigrationFailed as in `up`;
        MigrationPartial if ``again`` stopped after something was rolled back.
    """
    _warn(folder, reporter)
    with session(database, reporter) as conn:
        history = read_history(conn, folder, options.schema)
        status = compare(folder, history)
        planned = plan_down(status, steps=steps, to=to)
        if not planned:
            return Outcome(status=status)
        check_writable(conn, history)
        guard(conn, environment, confirm, f"roll back {format_count(len(planned), 'migration')}")
        pairs = find_rollbacks(conn, history, planned, folder)
        losses = {entry.id: measure(conn, find_dropped(undo.text), options.schema) for entry, undo in pairs}
        check_losses(losses, allowed=allow_data_loss, reporter=reporter)
        if again:
            prepare(_files(planned))
        with _lock(conn, history.schema, options, reporter):
            history = read_history(conn, folder, options.schema)
            planned = plan_down(compare(folder, history), steps=steps, to=to)
            pairs = find_rollbacks(conn, history, planned, folder)
            forward = prepare(_files(planned)[::-1]).values() if again else ()
            rolled_back: list[Done] = []
            try:
                rolled_back = engine.roll_back(database, conn, history, pairs, options, reporter)
                applied = engine.apply(database, conn, history, forward, folder, options, reporter) if again else []
            except PliersError as error:
                undone = [d.id for d in rolled_back] or error.details.get("rolled_back")
                if again and undone:
                    raise _stopped_between(error, undone) from error
                raise
            except KeyboardInterrupt:
                if rolled_back:
                    reporter.warn(f"{format_count(len(rolled_back), 'migration')} rolled back, not applied again")
                raise
        return Outcome(
            applied=tuple(applied), rolled_back=tuple(rolled_back), status=look(conn, folder, options.schema)
        )


def _lock(conn: Connection, schema: str, options: Options, reporter: Reporter) -> AbstractContextManager[None]:
    return migration_lock(conn, schema, wait=options.wait, reporter=reporter, alone=options.schema is not None)


def _stopped_between(error: PliersError, undone: Sequence[str]) -> MigrationPartial:
    """Say of a ``redo`` that stops that what it has rolled back stays so: whatever stopped it, nothing is as before."""
    error.details["rolled_back"] = list(undone)
    return MigrationPartial(
        f"Rolled back {format_count(len(undone), 'migration')}, not applied again: {error.message}",
        why=error.why,
        fix="Correct it, then: pliers-db migrate up",
        **error.details,
    )


def _warn(folder: Folder, reporter: Reporter) -> None:
    for warning in folder.warnings:
        reporter.warn(warning)


def _check_together(planned: Sequence[MigrationFile]) -> None:
    for migration in planned:
        if not migration.transactional:
            raise BadMigration(
                f"{migration.path} runs without a transaction, so it cannot be part of a single one",
                why="Nothing was changed. Its first lines say: -- transactional: false.",
                fix="Apply it by itself (migrate up --to, --steps 1), or leave --single-transaction out.",
            )


def _files(planned: Sequence[Entry]) -> list[MigrationFile]:
    for entry in planned:
        if entry.file is None:
            raise NoRollback(
                f"{entry.id} cannot be applied again: its file is missing; nothing was changed",
                why="What undoes it was stored, so that down can roll it back.",
                fix="pliers-db migrate down",
            )
    return [e.file for e in planned if e.file]


def guard(conn: Connection, environment: Environment, confirm: str | None, action: str) -> None:
    """Ask the database whether it lets this happen.

    :raises ProtectedDatabase: it does not.
    """
    check_allowed(
        read_stamp(conn),
        has_tables=_has_tables(conn),
        action=action,
        dbname=conn.info.dbname,
        environment=environment,
        confirm=confirm,
    )


def _has_tables(conn: Connection) -> bool:
    """Whether there is anything besides the tables of migrating itself."""
    row = conn.execute(QUERIES["user_tables"]).fetchone()
    return bool(row and row[0])


def stamp_if_empty(conn: Connection, environment: Environment, reporter: Reporter) -> None:
    """Write into an empty database what it is, before its first table, so that a crash cannot come between."""
    if _has_tables(conn) or read_stamp(conn) is not None:
        return
    try:
        write_stamp(conn, environment)
    except psycopg.errors.InsufficientPrivilege as error:
        reporter.warn(f"not stamped as {environment}: {error.diag.message_primary}")
