"""A run of yoyo over our connection: prepared, reported, and its errors put into context."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from pliers_db.db import Connection, Database
from pliers_db.db.retry import RetryPolicy
from pliers_db.errors import MigrationFailed, MigrationPartial, NoRollback, PliersError
from pliers_db.migrate.blockers import BlockerWatch
from pliers_db.migrate.files import Folder, MigrationFile, RollbackFile, read_rollback
from pliers_db.migrate.history import QUERIES, History, read_stored_rollback
from pliers_db.migrate.parser import check, is_empty
from pliers_db.migrate.plan import Entry, State
from pliers_db.progress import SILENT, Reporter
from pliers_db.units import format_count, format_duration

if TYPE_CHECKING:
    from pliers_db.migrate.backend import Done, PooledBackend


@dataclass(frozen=True, slots=True)
class Options:
    """How a run behaves; times in seconds."""

    wait: float = 60.0
    """How long to wait for another run."""
    lock_timeout: float = 2.0
    """How long a statement may wait for a lock on an object; 0 means for ever."""
    statement_timeout: float = 0.0
    """How long a statement may take; 0 means for ever."""
    retries: int = 10
    """How often a migration is tried again that got no lock, or lost a deadlock."""
    allow_out_of_order: bool = False
    """Apply what is older than an applied migration."""
    single_transaction: bool = False
    """Apply all of them in one transaction: all or none."""
    schema: str | None = None
    """Migrate this schema by itself: its files run with it first on the search path, and are recorded in it."""


DEFAULTS = Options()
# A migration that was checked, and what would undo it: that is stored when it is applied.
Prepared = tuple[MigrationFile, RollbackFile | None]


@contextmanager
def session(database: Database, reporter: Reporter) -> Iterator[Connection]:
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


def open_backend(
    conn: Connection,
    history: History,
    options: Options,
    on_done: Callable[[Done], None] = lambda done: None,
    watch: BlockerWatch | None = None,
    reporter: Reporter = SILENT,
) -> PooledBackend:
    """yoyo on this connection, its tables there and of this version. Needs the lock."""
    from pliers_db.migrate.backend import PooledBackend  # imports yoyo, which `status` does not need

    backend = PooledBackend(
        conn,
        history.schema,
        settings=session_settings(conn, options),
        # A lock that is not free now may be so in a minute: longer waits than for a lost race.
        together=options.single_transaction,
        policy=RetryPolicy(attempts=options.retries + 1, base=0.5, cap=10.0, deadline=math.inf, locks=True),
        watch=watch,
        progress={p.id: p for p in history.progress},
        on_done=on_done,
        tell=reporter.info,
    )
    conn.execute("set client_encoding to 'UTF8'")
    backend.ensure_internal_schema_updated()
    return backend


def mark_applied(conn: Connection, history: History, entries: Sequence[Entry], options: Options) -> None:
    """Record migrations as applied, all or none, without running them. Needs the lock."""
    from pliers_db.migrate.backend import MARK, SqlMigration

    backend = open_backend(conn, history, options)
    with conn.transaction():
        for entry in entries:
            assert entry.file is not None, "only a file can be recorded"
            for text in backend.record(SqlMigration(entry.id, entry.file, read_rollback(entry.file)), MARK):
                conn.execute(text.encode())


def session_settings(conn: Connection, options: Options) -> tuple[str, ...]:
    """What each migration's transaction begins with."""
    settings = [
        f"set local lock_timeout = '{options.lock_timeout * 1000:.0f}ms'",
        f"set local statement_timeout = '{options.statement_timeout * 1000:.0f}ms'",
    ]
    if options.schema is not None:
        home = sql.Identifier(options.schema).as_string(conn)
        settings.append(f"set local search_path to {home}, public")
    # A server whose client was killed goes on, holding the lock, until it next writes to the socket.
    check_interval = "set local client_connection_check_interval = '5s'"
    try:
        with conn.transaction():
            conn.execute(check_interval)
        settings.append(check_interval)
    except psycopg.errors.InvalidParameterValue:  # the server's platform cannot
        pass
    return tuple(settings)


def apply(
    database: Database,
    conn: Connection,
    history: History,
    planned: Collection[Prepared],
    folder: Folder,
    options: Options,
    reporter: Reporter,
) -> list[Done]:
    """Apply migrations in the order given, then the hooks."""
    from pliers_db.migrate.backend import SqlMigration, migration_list

    applied: list[Done] = []
    _tell_dumps(conn, reporter)
    with (
        reporter.task("Applying", total=len(planned), unit="migrations") as task,
        BlockerWatch(database, conn.info.backend_pid, reporter) as watch,
    ):

        def on_done(done: Done) -> None:
            applied.append(done)
            reporter.info(f"applied {done.id} ({format_duration(done.ms / 1000)})")
            task.advance()

        backend = open_backend(conn, history, options, on_done, watch, reporter)
        migrations = migration_list(
            [SqlMigration(m.id, m, undo) for m, undo in planned],
            [SqlMigration(m.id, m) for m in folder.hooks],
        )
        with _named(applied, len(planned), "applied"):
            backend.apply_migrations(migrations)
    return applied


def roll_back(
    database: Database,
    conn: Connection,
    history: History,
    pairs: Sequence[tuple[Entry, RollbackFile]],
    options: Options,
    reporter: Reporter,
) -> list[Done]:
    """Roll migrations back in the order given."""
    from pliers_db.migrate.backend import SqlMigration, migration_list

    rolled_back: list[Done] = []

    def on_done(done: Done) -> None:
        rolled_back.append(done)
        reporter.info(f"rolled back {done.id} ({format_duration(done.ms / 1000)})")

    _tell_dumps(conn, reporter)
    with (
        BlockerWatch(database, conn.info.backend_pid, reporter) as watch,
        _named(rolled_back, len(pairs), "rolled back"),
    ):
        backend = open_backend(conn, history, options, on_done, watch, reporter)
        backend.rollback_migrations(migration_list([SqlMigration(e.id, e.file, undo) for e, undo in pairs]))
    return rolled_back


def _tell_dumps(conn: Connection, reporter: Reporter) -> None:
    for pid, age in conn.execute(QUERIES["dumps"]).fetchall():
        reporter.warn(
            f"a dump is running (pid {pid}, for {format_duration(age)}): changes of its tables wait for it,"
            " and everybody else behind them"
        )


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


def prepare(
    migrations: Sequence[MigrationFile], known: Mapping[str, Prepared] = MappingProxyType({})
) -> dict[str, Prepared]:
    """Refuse what cannot work and read what would undo the rest, before anything is run.

    :param known: those that are prepared already, by id.
    """
    check_files([m for m in migrations if m.id not in known])
    return {m.id: known.get(m.id) or (m, read_rollback(m)) for m in migrations}


def check_files(migrations: Sequence[MigrationFile]) -> None:
    """Refuse what cannot work, before anything is run."""
    for migration in migrations:
        check(migration.path, migration.text, transactional=migration.transactional)


def find_rollbacks(
    conn: Connection, history: History, planned: Sequence[Entry], folder: Folder
) -> list[tuple[Entry, RollbackFile]]:
    """What undoes each migration of a plan, checked before anything is run.

    The file; but the text that was stored when it was applied if the file is gone, or if the migration was edited
    since, so that the file may undo something else.
    """
    pairs = []
    for entry in planned:
        undo = read_rollback(entry.file) if entry.file else None
        if undo is None or entry.state is State.EDITED:
            stored = read_stored_rollback(conn, history.schema, entry.hash)
            if stored is not None:
                undo = RollbackFile(folder.path / f"{entry.id}.rollback.sql (stored)", *stored)
        if undo is None or is_empty(undo.text):
            raise NoRollback(
                f"{entry.id} has no rollback: {folder.path / entry.id}.rollback.sql holds no SQL",
                why="Nothing was changed: it would be recorded as rolled back and still be there.",
                fix="Write what undoes it (`select 1;` if nothing is to be undone).",
            )
        check(undo.path, undo.text, transactional=undo.transactional)
        pairs.append((entry, undo))
    return pairs
