"""Many schemas of one database, each with its own tables and its own record, migrated side by side over the pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from urllib.parse import quote

import psycopg
from psycopg import sql

from pliers_db.config import Environment
from pliers_db.db import Connection, Database
from pliers_db.errors import LockedError, NoSchemas, PartialError, PliersError, PoolExhausted
from pliers_db.migrate.apply import Outcome, look, stamp_if_empty, up
from pliers_db.migrate.engine import DEFAULTS, Options, check_files, session
from pliers_db.migrate.files import Folder
from pliers_db.migrate.history import QUERIES, read_history
from pliers_db.migrate.lock import database_lock, left_behind
from pliers_db.migrate.plan import Status
from pliers_db.migrate.shared import check_own_schema
from pliers_db.progress import SILENT, Reporter, Task
from pliers_db.units import format_count, format_duration

_PAUSE, _GRACE = 0.2, 2.0  # seconds
_SPARE = 2  # connections besides the workers': for the lock of all, and for looking who blocks


@dataclass(frozen=True, slots=True)
class Tenant:
    """How one schema stands."""

    schema: str
    status: Status | None
    error: PliersError | None = None
    """Why it could not be read, or migrated."""
    applied: tuple[str, ...] = ()
    """The ids that this run has applied."""
    seconds: float = 0.0


def exit_code(tenants: Sequence[Tenant]) -> int:
    """What a run over many ends with: 7 if one stands part-way, 6 if one failed, 5 if one was locked, else 0."""
    errors = [t.error for t in tenants if t.error is not None]
    if any(isinstance(e, PartialError) for e in errors):
        return PartialError.exit_code
    if any(not isinstance(e, LockedError) for e in errors):
        return 6
    return LockedError.exit_code if errors else 0


def find_schemas(conn: Connection, patterns: Sequence[str]) -> tuple[str, ...]:
    """The schemas whose names match: ``*`` is anything, ``?`` one character. ``public`` only where it is named.

    :raises NoSchemas: none does.
    """
    names = [row[0] for row in conn.execute(QUERIES["schemas"])]
    found = tuple(
        name
        for name in names
        if name in patterns or (name != "public" and any(fnmatchcase(name, pattern) for pattern in patterns))
    )
    if not found:
        raise NoSchemas(
            f"No schema is called {' or '.join(patterns)}",
            why=f"There are {', '.join(names[:10])}{', …' if len(names) > 10 else ''}.",
            fix="Quote the pattern, so that the shell leaves it alone: --schemas 'tenant_*'",
        )
    return found


def read_tenants(database: Database, folder: Folder, patterns: Sequence[str]) -> tuple[Tenant, ...]:
    """How each schema stands. Reads only: no lock, no DDL."""
    with database.connection(autocommit=True) as conn:
        return tuple(_look(conn, folder, schema) for schema in find_schemas(conn, patterns))


def _look(conn: Connection, folder: Folder, schema: str) -> Tenant:
    try:
        return Tenant(schema, look(conn, folder, schema))
    except PliersError as error:  # of one schema: the others are looked at all the same
        return Tenant(schema, None, error)


def up_tenants(
    database: Database,
    folder: Folder,
    patterns: Sequence[str],
    *,
    environment: Environment,
    jobs: int = 4,
    options: Options = DEFAULTS,
    reporter: Reporter = SILENT,
) -> tuple[Tenant, ...]:
    """Apply the pending migrations in each schema, several at once. One that fails does not stop the others.

    Each file runs with its schema first on the search path and ``public`` behind it, and is recorded in yoyo's tables
    of that schema. Other runs wait: the database is locked as by ``up``, and each schema by itself.

    :param patterns: which schemas, see `find_schemas`.
    :param jobs: how many at once; two connections of the pool are kept free.
    :returns: how each schema stands, by name.
    :raises NoSchemas: none matches.
    :raises SharedObject: a file to apply reaches out of its schema.
    :raises MigrationLocked: another run is migrating this database.
    """
    workers = _workers(database, jobs, reporter)
    with session(database, reporter) as conn, database_lock(conn, wait=options.wait, reporter=reporter):
        tenants = {s: _look(conn, folder, s) for s in find_schemas(conn, patterns)}
        due = [t.schema for t in tenants.values() if _is_due(conn, t)]
        pending = {m.id for t in tenants.values() if t.status for m in t.status.pending}
        files = [m for m in folder.migrations if m.id in pending]
        check_files((*files, *folder.hooks) if files else ())
        extensions = [row[0] for row in conn.execute("select extname from pg_extension")]
        check_own_schema((*files, *folder.hooks) if files else (), extensions)
        if files:
            stamp_if_empty(conn, environment, reporter)

        def migrate(schema: str) -> Tenant:
            begun = time.monotonic()
            outcome, error = Outcome(), None
            try:
                outcome = up(
                    database,
                    folder,
                    environment=environment,
                    options=replace(options, schema=schema),
                    reporter=_Prefixed(reporter, schema),
                )
            except PliersError as failure:
                error = _for_schema(failure, schema)
            applied = tuple(d.id for d in outcome.applied) or tuple(error.details.get("applied", ()) if error else ())
            return Tenant(schema, outcome.status, error, applied, time.monotonic() - begun)

        with reporter.task("Schemas", total=len(due), unit="schemas") as task:
            for done in _each(conn, migrate, due, workers):
                task.advance()
                _tell(done, reporter)
                status = done.status if done.error is None else _look(conn, folder, done.schema).status
                tenants[done.schema] = replace(done, status=status)
    return tuple(tenants.values())


def _is_due(conn: Connection, tenant: Tenant) -> bool:
    """Whether there is something to do or to refuse, or a lock that a killed run has left."""
    if tenant.status is None or not tenant.status.clean:
        return tenant.status is not None
    return read_history(conn, schema=tenant.schema).complete and left_behind(conn, tenant.schema)


def _workers(database: Database, jobs: int, reporter: Reporter) -> int:
    most = database.limits.max_size - _SPARE
    if most < 1:
        raise PoolExhausted(
            f"Migrating many schemas takes {_SPARE + 1} connections",
            why=f"The pool has {database.limits.max_size}.",
            fix=f"Set DB_POOL_MAX to {jobs + _SPARE}.",
        )
    if most < jobs:
        reporter.warn(
            f"{most} at once, not {jobs}: DB_POOL_MAX is {database.limits.max_size}, and {_SPARE} are kept free"
        )
    return min(jobs, most)


def _each(conn: Connection, migrate: Callable[[str], Tenant], schemas: Sequence[str], workers: int) -> Iterator[Tenant]:
    """Run the schemas in threads; each as it ends. Interrupted, those that run are cancelled and roll back."""
    executor = ThreadPoolExecutor(workers, thread_name_prefix="pliers-tenants")
    futures: list[Future[Tenant]] = [executor.submit(migrate, schema) for schema in schemas]
    try:
        for future in as_completed(futures):
            yield future.result()
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        _stop(conn, futures)
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _stop(conn: Connection, futures: Sequence[Future[Tenant]]) -> None:
    """End what runs: whoever holds the lock of a schema is a worker of ours, as we hold the one of the database."""
    begun = time.monotonic()
    while wait(futures, timeout=_PAUSE).not_done:
        # A cancelled one rolls back and gives its locks back; one that sleeps between two tries is cut off.
        kill = time.monotonic() - begun > _GRACE
        try:
            conn.execute(QUERIES["terminate_schemas" if kill else "cancel_schemas"])
        except psycopg.OperationalError:  # the server is gone, and with it what the workers wait for
            return


def _for_schema(error: PliersError, schema: str) -> PliersError:
    """Say how the command that mends it gets to this schema."""
    if "pliers-db migrate " in error.fix:
        name = sql.Identifier(schema).as_string().replace("\\", "\\\\").replace(" ", "\\ ")
        options = quote(f"-csearch_path={name},public")
        error.fix += f"\nfor this schema: with ?options={options} in the URL"
    return error


def _tell(done: Tenant, reporter: Reporter) -> None:
    if done.error is not None:
        reporter.warn(f"{done.schema}: {done.error.message}")
    else:
        reporter.info(
            f"{done.schema}: applied {format_count(len(done.applied), 'migration')} ({format_duration(done.seconds)})"
        )


class _Prefixed:
    """The talk of one schema among others: its warnings and who blocks it, not each migration."""

    def __init__(self, reporter: Reporter, schema: str) -> None:
        self._reporter, self._schema = reporter, schema

    def info(self, message: str) -> None:
        if not message.startswith("applied "):  # one line for each schema is enough
            self._reporter.info(f"{self._schema}: {message}")

    def warn(self, message: str) -> None:
        self._reporter.warn(f"{self._schema}: {message}")

    @contextmanager
    def task(self, title: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        with SILENT.task(title, total, unit) as task:  # a terminal has room for one bar
            yield task
