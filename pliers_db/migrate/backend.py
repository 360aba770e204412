"""yoyo's PostgreSQL backend over a connection of our pool.

yoyo keeps its tables, its SQL and its way through `apply_migrations` and `rollback_migrations`. What differs from
the stock backend: one borrowed connection instead of a new one per migration; the file, ``_yoyo_log`` and
``_yoyo_migration`` in one transaction; the file as one message; every reference to yoyo's tables qualified with their
schema; no compensation after a failure.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import generators
from psycopg.pq import Escaping, ExecStatus, TransactionStatus
from yoyo import internalmigrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration, MigrationList

from pliers_db import __version__
from pliers_db.db import Connection, ErrorClass
from pliers_db.db.retry import NO_RETRY, Retry, RetryPolicy, failure_class
from pliers_db.errors import BadMigration
from pliers_db.migrate.blockers import BlockerWatch
from pliers_db.migrate.failures import connection_lost, rolled_back, say_who
from pliers_db.migrate.files import MigrationFile, RollbackFile, migration_hash
from pliers_db.migrate.history import MIGRATION_TABLE, OWN_TABLE, PROGRESS_TABLE, Progress, yoyo_now
from pliers_db.migrate.script import Script, transaction_script
from pliers_db.migrate.stepwise import run_stepwise
from pliers_db.units import format_duration

APPLY, ROLLBACK, MARK, UNMARK = "apply", "rollback", "mark", "unmark"
# How yoyo writes a parameter: :name.
_PARAMETER = re.compile(r"(?<!:):(\w+)")
_ELAPSED = "1000 * extract(epoch from clock_timestamp() - statement_timestamp())"
_COPYING = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)


@dataclass(frozen=True, slots=True)
class Done:
    """A migration that has been applied or rolled back."""

    id: str
    ms: float


class SqlMigration(Migration):  # type: ignore[misc]  # yoyo is not typed
    """yoyo's migration, made from our file: never loaded, split or registered by yoyo."""

    def __init__(self, migration_id: str, file: MigrationFile | None, rollback: RollbackFile | None = None) -> None:
        """:param file: needed to apply it.
        :param rollback: needed to roll it back, and stored when it is applied.
        """
        # Not yoyo's __init__: it enters every migration into a registry of the whole process.
        self.id = migration_id
        self.hash = migration_hash(migration_id)
        self.path = str(file.path if file else migration_id)  # for yoyo's repr
        self.file = file
        self.undo = rollback
        self.steps: list[object] = []

    @property
    def depends(self) -> set[Migration]:
        """Empty: the plan is in order already."""
        return set()


class PooledBackend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """A yoyo backend that works on a borrowed connection in autocommit mode and leaves it open."""

    def __init__(
        self,
        conn: Connection,
        schema: str,
        *,
        settings: tuple[str, ...] = (),
        together: bool = False,
        policy: RetryPolicy = NO_RETRY,
        watch: BlockerWatch | None = None,
        progress: Mapping[str, Progress] = MappingProxyType({}),
        on_done: Callable[[Done], None] = lambda done: None,
        tell: Callable[[str], None] = lambda message: None,
    ) -> None:
        """:param schema: where yoyo's tables stand.
        :param settings: ``set local …`` statements for the transaction of each migration, each time it is tried.
        :param together: apply all migrations in one transaction.
        :param policy: how often a transaction is tried again that got no lock, or lost a deadlock.
        :param watch: tells who blocks.
        :param progress: the migrations that stand part-way, by id.
        :param on_done: called after each migration that is in the database.
        :param tell: called with a sentence that a person wants to see.
        """
        self._borrowed = conn
        self.home = schema
        self.settings = settings
        self.together = together
        self.policy = policy
        self.watch = watch
        self.on_done = on_done
        self.progress = progress
        self.tell = tell
        self._schema_seen = False
        self._sent: tuple[str, Script] = ("", Script(Path(), "", "", ""))
        self._completed: list[int] = []
        self._attempts = 0
        self._templates: dict[str, str] = {}
        self._escaping = Escaping(conn.pgconn)
        self._own = self.own_table(OWN_TABLE)
        super().__init__(DatabaseURI("postgresql+psycopg", None, None, None, None, "", {}), MIGRATION_TABLE)

    # ── the connection is the pool's ────────────────────────────────────────────────────────────────────────
    def connect(self, dburi: object) -> Connection:
        return self._borrowed

    def copy(self) -> PooledBackend:
        return self

    def __exit__(self, *exc: object) -> None:
        return

    @contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        """Nothing: whoever has this backend holds `migration_lock`."""
        yield

    # ── yoyo's tables ───────────────────────────────────────────────────────────────────────────────────────
    def quote_identifier(self, s: str) -> str:
        quoted = self._plain(s)
        if s in (self.migration_table, self.log_table, self.version_table, self.lock_table):
            return f"{self._plain(self.home)}.{quoted}"
        return quoted

    def _plain(self, s: str) -> str:
        quoted: str = super().quote_identifier(s)
        return quoted

    def own_table(self, name: str) -> str:
        """The quoted, qualified name of a table of ours, which stands beside yoyo's."""
        return f"{self._plain(self.home)}.{self._plain(name)}"

    def list_tables(self, **kwargs: object) -> list[str]:
        rows = self._borrowed.execute(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = %s and c.relkind in ('r', 'p')",
            [self.home],
        )
        return [row[0] for row in rows]

    def ensure_internal_schema_updated(self) -> None:
        """Create or upgrade yoyo's tables; looked at once."""
        if not self._schema_seen:
            if internalmigrations.needs_upgrading(self):
                internalmigrations.upgrade(self)
            self._schema_seen = True

    def get_log_data(self, migration: Migration | None = None, operation: str = APPLY) -> dict[str, Any]:
        user, host = _who()
        return {
            "id": str(uuid.uuid1()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": user,
            "hostname": host,
            "created_at_utc": yoyo_now(),
            "operation": operation,
        }

    # ── apply and roll back ─────────────────────────────────────────────────────────────────────────────────
    def apply_one(self, migration: SqlMigration, force: bool = False, mark: bool = True) -> None:
        """Apply one migration and record it.

        :param mark: false for a ``post-apply`` hook, which is recorded nowhere.
        """
        file = migration.file
        assert file is not None, "a plan to go up holds only files"
        self._run(migration, file.text, file.path, file.transactional, APPLY, mark)

    def apply_migrations_only(self, migrations: MigrationList, force: bool = False) -> None:
        """Apply migrations, each in a transaction of its own or all in one."""
        if self.together and migrations:
            self._apply_together(list(migrations))
        else:
            super().apply_migrations_only(migrations, force)

    def _apply_together(self, migrations: Sequence[SqlMigration]) -> None:
        """All in one transaction: all or none, also when one of them gets no lock and is tried again."""
        scripts = []
        for migration in migrations:
            file = migration.file
            assert file is not None, "a plan to go up holds only files"
            record = self.record(migration, APPLY)
            scripts.append(transaction_script(file.path, file.text, settings=self.settings, record=record, whole=False))
        done: list[Done] = []

        def send() -> None:
            done.clear()
            self.send("begin", "")
            for migration, script in zip(migrations, scripts, strict=True):
                begun = time.perf_counter()
                self._send_watched(migration, script)
                done.append(Done(migration.id, (time.perf_counter() - begun) * 1000))
            self._send_watched(migrations[-1], Script(scripts[-1].path, "commit", "", "", 1))

        self._tell_failure(lambda: self._try(send), APPLY)
        for one in done:
            self.on_done(one)

    def rollback_one(self, migration: SqlMigration, force: bool = False) -> None:
        """Roll one migration back and record that."""
        undo = migration.undo
        assert undo is not None, "a plan to go down holds only what can be undone"
        self._run(migration, undo.text, undo.path, undo.transactional, ROLLBACK, True)

    def _run(self, migration: SqlMigration, text: str, path: Any, transactional: bool, what: str, mark: bool) -> None:
        begun = time.perf_counter()

        def took() -> float:
            return (time.perf_counter() - begun) * 1000

        if transactional:
            record = self.record(migration, what) if mark else []
            script = transaction_script(path, text, settings=self.settings, record=record)
        else:
            run_stepwise(self, migration, text, path, what)
            record = self.record(migration, what, took()) if mark else []
            record.append(self.forget_progress(migration))
            script = transaction_script(path, "", settings=(), record=record)
        self._tell_failure(lambda: self.attempt(migration, script), what)
        if mark:
            self.on_done(Done(migration.id, took()))

    def record(
        self, migration: SqlMigration, what: str, ms: float | None = None, at: datetime | None = None
    ) -> list[str]:
        """The statements that record a migration in yoyo's tables and in ours.

        :param what: apply, rollback, mark (applied without running it) or unmark.
        :param ms: how long it took; default: since the beginning of its message.
        :param at: when it was applied, if not now (UTC, without a zone).
        """
        now = at or yoyo_now()
        mark = self.mark_migration_sql if what in (APPLY, MARK) else self.unmark_migration_sql
        data = {"migration_hash": migration.hash, "migration_id": migration.id, "when": now}
        statements = [
            self._literal(self.log_migration_sql, self.get_log_data(migration, what)),
            self._literal(mark, data),
        ]
        if mark == self.unmark_migration_sql:
            return [*statements, self._forget_own(migration)]
        took = f"{ms:.3f}" if ms is not None else _ELAPSED if at is None else "null"
        return [*statements, self.own_record(migration, now, took)]

    def forget_progress(self, migration: SqlMigration) -> str:
        """The statement that says that a migration does not stand part-way any more."""
        return f"delete from {self.own_table(PROGRESS_TABLE)} where migration_hash = {self.quote(migration.hash)}"

    def own_record(self, migration: SqlMigration, at: datetime, took: str) -> str:
        """The statements that store what was applied.

        :param at: the time in yoyo's row (UTC, without a zone), which makes the two belong together.
        :param took: how long it took in milliseconds, as an expression.
        """
        file, undo = migration.file, migration.undo
        assert file is not None
        values = {
            "migration_hash": self.quote(migration.hash),
            "migration_id": self.quote(migration.id),
            "applied_at_utc": self.quote(at),
            "sha256": self.quote(file.sha256),
            "sql": self.text(file.text),
            "rollback_sql": self.text(undo.text) if undo else "null",
            "transactional": str(file.transactional).lower(),
            "rollback_transactional": str(undo.transactional if undo else True).lower(),
            "duration_ms": took,
            "tool_version": self.quote(__version__),
        }
        # A row of the time before a rollback by stock yoyo may stand here. Cheaper for the server than ON CONFLICT.
        return (
            f"{self._forget_own(migration)};\n"
            f"insert into {self._own} ({', '.join(values)}) values ({', '.join(values.values())})"
        )

    def _forget_own(self, migration: SqlMigration) -> str:
        return f"delete from {self._own} where migration_hash = {self.quote(migration.hash)}"

    def _literal(self, sql: str, values: dict[str, Any]) -> str:
        """One of yoyo's statements with its values written out, to be sent in one message with others."""
        template = self._templates.get(sql)
        if template is None:
            text: str = self.format_sql(sql)
            template = self._templates[sql] = _PARAMETER.sub(r"%(\1)s", text.replace("%", "%%"))
        return template % {name: self.quote(value) for name, value in values.items()}

    def quote(self, value: object) -> str:
        """A value as a literal."""
        return "null" if value is None else self._escaping.escape_literal(str(value).encode()).decode()

    @staticmethod
    def text(text: str) -> str:
        """A text as an expression that cannot meet anything a file left open: no quote, no comment, no dollar."""
        return f"convert_from(decode('{b64encode(text.encode()).decode()}', 'base64'), 'UTF8')"

    # ── the wire ────────────────────────────────────────────────────────────────────────────────────────────
    def _tell_failure(self, work: Callable[[], None], what: str) -> None:
        """Do work that is rolled back if it fails, and tell its failure.

        :param what: apply or rollback.
        """
        try:
            work()
        except psycopg.DatabaseError as error:
            migration_id, script = self._sent
            if self._borrowed.closed:
                raise connection_lost(migration_id, error) from error
            failure = rolled_back(migration_id, script, error, completed=len(self._completed), operation=what)
            raise (say_who(failure, self.watch, self._attempts) if _is_about_locks(error) else failure) from error

    def attempt(self, migration: SqlMigration, script: Script) -> None:
        """Send a script; again, as the policy says, if it got no lock or lost a deadlock.

        :raises psycopg.DatabaseError: rolled back.
        """
        self._try(lambda: self._send_watched(migration, script))

    def _try(self, send: Callable[[], None]) -> None:
        retry = Retry(self.policy, name="migrate")
        while True:
            try:
                send()
                return
            except psycopg.DatabaseError as error:
                if self._borrowed.closed:
                    raise
                if self._borrowed.pgconn.transaction_status != TransactionStatus.IDLE:
                    self.send("rollback", "")
                self._attempts = retry.attempt
                delay = retry.after(error) if _is_about_locks(error) else None
                if delay is None:
                    raise
                self.tell(
                    f"{self._sent[0]}: {error.diag.message_primary}; rolled back, "
                    f"attempt {retry.attempt} of {self.policy.attempts} in {format_duration(delay)}"
                )
            time.sleep(delay)

    def _send_watched(self, migration: SqlMigration, script: Script) -> None:
        self._sent, self._completed = (migration.id, script), []
        with self._watching(migration):
            self.send(script.text, script.path, self._completed)

    def _watching(self, migration: SqlMigration) -> AbstractContextManager[None]:
        return self.watch.watching(migration.id) if self.watch else nullcontext()

    def send(self, text: str, path: Any, completed: list[int] | None = None) -> None:
        """Send one message of any number of statements by the simple protocol; what SELECTs return is dropped.

        :param completed: is given one item for each statement that ended well.
        """
        conn = self._borrowed
        with conn.lock:
            conn.pgconn.send_query(text.encode())
            results = conn.wait(generators.execute(conn.pgconn))
        for result in results:
            if result.status in _COPYING:
                conn.close()
                raise BadMigration(
                    f"{path}: COPY from or to the client does not work in a migration",
                    why="Its data would have to come from the client; the migration has been rolled back.",
                    fix="Write INSERT … VALUES, or load the data with pliers-db seed.",
                )
            if result.status == ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result, encoding="utf-8")
            if completed is not None:
                completed.append(1)


def migration_list(migrations: list[SqlMigration], hooks: Sequence[SqlMigration] = ()) -> MigrationList:
    """What yoyo's `apply_migrations` and `rollback_migrations` take."""
    return MigrationList(migrations, hooks)


def _is_about_locks(error: psycopg.Error) -> bool:
    return failure_class(error) in (ErrorClass.LOCK, ErrorClass.RERUN)


@cache
def _who() -> tuple[str, str]:
    """Who migrates and where. Never fails: a container's user may have no name. No DNS."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid:{os.getuid()}"
    return user[:255], socket.gethostname()[:255]
