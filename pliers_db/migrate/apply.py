"""Apply and roll back: the lock, the plan made again under it, then yoyo over our connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from pliers_db.config import Environment, check_allowed
from pliers_db.db import Connection, Database, read_stamp, write_stamp
from pliers_db.errors import MigrationFailed, MigrationPartial, NoRollback, PliersError
from pliers_db.migrate.files import Folder, MigrationFile, RollbackFile, read_rollback
from pliers_db.migrate.history import QUERIES, History, check_writable, read_history
from pliers_db.migrate.lock import left_behind, migration_lock
from pliers_db.migrate.parser import check, is_empty
from pliers_db.migrate.plan import Status, compare, plan_down, plan_up
from pliers_db.progress import SILENT, Reporter
from pliers_db.units import format_count, format_duration

if TYPE_CHECKING:
    from pliers_db.migrate.backend import Done, PooledBackend


@dataclass(frozen=True, slots=True)
class Options:
    """How a run behaves; times in seconds."""

    wait: float = 60.0
    """How long to wait for another run."""
    lock_timeout: float = 5.0
    """How long a statement may wait for a lock on an object; 0 means for ever."""
    statement_timeout: float = 0.0
    """How long a statement may take; 0 means for ever."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has done, in the order in which it did it."""

    applied: tuple[Done, ...] = ()
    rolled_back: tuple[Done, ...] = ()
    status: Status = field(default_factory=lambda: Status(()))
    """How things stand afterwards."""


def read_status(database: Database, folder: Folder) -> Status:
    """How each migration stands. Reads only: no lock, no DDL."""
    with database.connection() as conn:
        return compare(folder, read_history(conn))


def up(
    database: Database,
    folder: Folder,
    *,
    environment: Environment,
    to: str | None = None,
    options: Options = Options(),
    reporter: Reporter = SILENT,
) -> Outcome:
    """Apply the pending migrations, each in one transaction with its record.

    An empty database that nobody has stamped is stamped with ``environment``.

    :param to: the last one to apply.
    :raises PliersError: InputError before anything is touched; MigrationFailed when one is refused by the server
        (those before it stay); MigrationLocked, ReadOnlyDatabase, MissingPrivilege.
    """
    for warning in folder.warnings:
        reporter.warn(warning)
    with _session(database, reporter) as conn:
        history = read_history(conn)
        status = compare(folder, history)
        planned = plan_up(status, to)
        if not planned and not (history.complete and left_behind(conn, history.schema)):
            return Outcome(status=status)  # no lock, no DDL: this is what most starts of a service find
        check_writable(conn, history)
        for migration in (*planned, *folder.hooks):
            check(migration.path, migration.text, transactional=migration.transactional)
        applied: list[Done] = []
        with migration_lock(conn, history.schema, wait=options.wait, reporter=reporter):
            status = compare(folder, read_history(conn))
            planned = plan_up(status, to)
            late = {m.id for m in status.out_of_order} & {m.id for m in planned}
            for migration_id in sorted(late):
                reporter.warn(f"{migration_id} is older than migrations that are already applied")
            if planned:
                _stamp_if_empty(conn, environment, reporter)
                applied = _apply(conn, history, planned, folder, options, reporter)
        return Outcome(applied=tuple(applied), status=compare(folder, read_history(conn)))


def down(
    database: Database,
    folder: Folder,
    *,
    environment: Environment,
    steps: int = 1,
    to: str | None = None,
    again: bool = False,
    confirm: str | None = None,
    options: Options = Options(),
    reporter: Reporter = SILENT,
) -> Outcome:
    """Roll the last migrations back, the newest first.

    :param steps: how many.
    :param to: instead: everything after this one.
    :param again: apply them once more afterwards (``redo``).
    :param confirm: the name of the database, typed by a person; needed for a protected one.
    :raises PliersError: NoRollback before anything is touched; ProtectedDatabase; MigrationFailed as in `up`.
    """
    for warning in folder.warnings:
        reporter.warn(warning)
    with _session(database, reporter) as conn:
        history = read_history(conn)
        status = compare(folder, history)
        planned = plan_down(status, steps=steps, to=to)
        if not planned:
            return Outcome(status=status)
        check_writable(conn, history)
        _guard(conn, environment, confirm, planned)
        _read_rollbacks(planned)
        if again:
            for migration in planned:
                check(migration.path, migration.text, transactional=migration.transactional)
        with migration_lock(conn, history.schema, wait=options.wait, reporter=reporter):
            planned = plan_down(compare(folder, read_history(conn)), steps=steps, to=to)
            pairs = _read_rollbacks(planned)
            rolled_back = _roll_back(conn, history, pairs, options, reporter)
            applied = _apply(conn, history, planned[::-1], folder, options, reporter) if again else []
        after = compare(folder, read_history(conn))
        return Outcome(applied=tuple(applied), rolled_back=tuple(rolled_back), status=after)


@contextmanager
def _session(database: Database, reporter: Reporter) -> Iterator[Connection]:
    """A borrowed connection in autocommit mode, whose notices go to the reporter."""

    def tell(diag: psycopg.errors.Diagnostic) -> None:
        text = f"{diag.severity}: {diag.message_primary}"
        (reporter.warn if diag.severity_nonlocalized == "WARNING" else reporter.info)(text)

    with database.connection(autocommit=True) as conn:
        conn.add_notice_handler(tell)
        try:
            yield conn
        finally:
            conn.remove_notice_handler(tell)


def _settings(conn: Connection, options: Options) -> tuple[str, ...]:
    """What each migration's transaction begins with."""
    settings = [
        f"set local lock_timeout = '{options.lock_timeout * 1000:.0f}ms'",
        f"set local statement_timeout = '{options.statement_timeout * 1000:.0f}ms'",
    ]
    # A server whose client was killed goes on, holding the lock, until it next writes to the socket.
    check_interval = "set local client_connection_check_interval = '5s'"
    try:
        with conn.transaction():
            conn.execute(check_interval)
        settings.append(check_interval)
    except psycopg.errors.InvalidParameterValue:  # the server's platform cannot
        pass
    return tuple(settings)


def _backend(conn: Connection, history: History, options: Options, on_done: Callable[[Done], None]) -> PooledBackend:
    from pliers_db.migrate.backend import PooledBackend  # imports yoyo, which `status` does not need

    backend = PooledBackend(conn, history.schema, settings=_settings(conn, options), on_done=on_done)
    conn.execute("set client_encoding to 'UTF8'")
    backend.ensure_internal_schema_updated()
    return backend


def _apply(
    conn: Connection,
    history: History,
    planned: Sequence[MigrationFile],
    folder: Folder,
    options: Options,
    reporter: Reporter,
) -> list[Done]:
    from pliers_db.migrate.backend import SqlMigration, migration_list

    applied: list[Done] = []
    with reporter.task("Applying", total=len(planned), unit="migrations") as task:

        def on_done(done: Done) -> None:
            applied.append(done)
            reporter.info(f"applied {done.id} ({format_duration(done.ms / 1000)})")
            task.advance()

        backend = _backend(conn, history, options, on_done)
        migrations = migration_list([SqlMigration(m) for m in planned], [SqlMigration(m) for m in folder.hooks])
        with _named(applied, len(planned), "applied"):
            backend.apply_migrations(migrations)
    return applied


def _roll_back(
    conn: Connection,
    history: History,
    pairs: Sequence[tuple[MigrationFile, RollbackFile]],
    options: Options,
    reporter: Reporter,
) -> list[Done]:
    from pliers_db.migrate.backend import SqlMigration, migration_list

    rolled_back: list[Done] = []

    def on_done(done: Done) -> None:
        rolled_back.append(done)
        reporter.info(f"rolled back {done.id} ({format_duration(done.ms / 1000)})")

    backend = _backend(conn, history, options, on_done)
    with _named(rolled_back, len(pairs), "rolled back"):
        backend.rollback_migrations(migration_list([SqlMigration(m, undo) for m, undo in pairs]))
    return rolled_back


@contextmanager
def _named(done: list[Done], total: int, word: str) -> Iterator[None]:
    """Say in an error what had been done before it, and what a failed hook means."""
    try:
        yield
    except PliersError as error:
        error.details[word.replace(" ", "_")] = [d.id for d in done]
        if done and isinstance(error, MigrationFailed) and len(done) == total:
            raise MigrationPartial(
                error.message,
                why=f"{error.why}\nAll {format_count(total, 'migration')} are {word}; only this hook failed.",
                fix="Correct the hook; it runs again after the next migration, or now: psql -f FILE",
                **error.details,
            ) from error
        if done:
            last = done[-1].id
            error.why += f"\n{format_count(len(done), 'migration')} before it {word} (last {last})."
        raise


def _read_rollbacks(planned: Sequence[MigrationFile]) -> list[tuple[MigrationFile, RollbackFile]]:
    """The rollback files of a plan, checked before anything is run."""
    pairs = []
    for migration in planned:
        undo = read_rollback(migration)
        if undo is None or is_empty(undo.text):
            raise NoRollback(
                f"{migration.id} has no rollback: {migration.path.with_suffix('')}.rollback.sql holds no SQL",
                why="Nothing was changed: it would be recorded as rolled back and still be there.",
                fix="Write what undoes it (`select 1;` if nothing is to be undone).",
            )
        check(undo.path, undo.text, transactional=undo.transactional)
        pairs.append((migration, undo))
    return pairs


def _guard(conn: Connection, environment: Environment, confirm: str | None, planned: Sequence[MigrationFile]) -> None:
    check_allowed(
        read_stamp(conn),
        has_tables=True,
        action=f"roll back {format_count(len(planned), 'migration')}",
        dbname=conn.info.dbname,
        environment=environment,
        confirm=confirm,
    )


def _stamp_if_empty(conn: Connection, environment: Environment, reporter: Reporter) -> None:
    """Write into an empty database what it is, before its first table, so that a crash cannot come between."""
    row = conn.execute(QUERIES["user_tables"]).fetchone()
    if (row and row[0]) or read_stamp(conn) is not None:
        return
    try:
        write_stamp(conn, environment)
    except psycopg.errors.InsufficientPrivilege as error:
        reporter.warn(f"not stamped as {environment}: {error.diag.message_primary}")
