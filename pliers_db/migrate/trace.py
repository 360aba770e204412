"""What migrations do to the tables that are there: each statement run on a bench, and watched."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import psycopg

from pliers_db.config import Target
from pliers_db.db import Database, load_queries
from pliers_db.errors import ScratchUnusable, SizesUnreadable
from pliers_db.migrate.bench import Bench, DoesNotRun, open_bench
from pliers_db.migrate.engine import check_files
from pliers_db.migrate.files import Folder, MigrationFile
from pliers_db.migrate.impact import (
    Dropped,
    Effect,
    Kind,
    Observed,
    Relation,
    Rewrite,
    Size,
    documented,
    headline,
    interpret,
)
from pliers_db.migrate.parser import place_of, split
from pliers_db.migrate.purpose import known_of, purpose_of, truncates
from pliers_db.migrate.steps import Kind as StepKind
from pliers_db.migrate.steps import plan_steps
from pliers_db.progress import SILENT, Reporter
from pliers_db.units import format_count

_QUERIES = load_queries("pliers_db.migrate", "sql/trace.sql")
_NOT_WATCHED = "runs outside a transaction: its locks are gone before they can be read"


@dataclass(frozen=True, slots=True)
class Step:
    """One statement, and what it does to what was there before its migration."""

    line: int
    sql: str
    effects: tuple[Effect, ...] = ()
    note: str = ""
    """What could not be watched, and why."""


@dataclass(frozen=True, slots=True)
class Traced:
    """What is known about one migration."""

    id: str
    transactional: bool
    steps: tuple[Step, ...] = ()
    reason: str = ""
    """Why it could not be traced."""

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Those of all its statements."""
        return tuple(effect for step in self.steps for effect in step.effects)

    @property
    def headline(self) -> str:
        """The worst of it in one line; empty if it locks nothing that anybody waits for."""
        return headline(self.effects)


@dataclass(frozen=True, slots=True)
class Tracing:
    """What is known about the migrations that were asked for, in their order."""

    migrations: tuple[Traced, ...]
    server: str = ""
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every migration could be traced."""
        return not any(m.reason for m in self.migrations)


def trace(
    folder: Folder,
    asked: Collection[str],
    *,
    database: str = "trace",
    sizes: Mapping[str, Size] | None = None,
    scratch: Target | None = None,
    reporter: Reporter = SILENT,
) -> Tracing:
    """Run migrations statement by statement on a scratch server, and say what each does to the tables that are there.

    :param asked: their ids; those before them are applied only.
    :param database: name of the database on the scratch server.
    :param sizes: of the tables where the migrations will run, from `read_sizes`.
    :param scratch: a server to use instead; needs a superuser, for event triggers.
    :raises InputError: a file holds what cannot work; nothing was run.
    """
    last = max((n for n, m in enumerate(folder.migrations) if m.id in asked), default=-1)
    files = folder.migrations[: last + 1]
    if not files:
        return Tracing(())
    check_files(files)
    begun, found = time.perf_counter(), list[Traced]()
    with open_bench(database, scratch, reporter) as bench:
        watch: _Watch | None = None
        stopped_at = ""
        with reporter.task("Tracing", total=len(files), unit="migrations") as task:
            for file in files:
                traced = Traced(file.id, file.transactional, reason=f"{stopped_at} before it does not run")
                if not stopped_at:
                    try:
                        if file.id in asked:
                            watch = watch or _Watch(bench, sizes)
                            traced = Traced(file.id, file.transactional, tuple(watch.trace(file)))
                        else:
                            bench.run(file)
                    except DoesNotRun as error:
                        stopped_at = file.id
                        traced = Traced(file.id, file.transactional, reason=str(error))
                if file.id in asked:
                    found.append(traced)
                task.advance()
        return Tracing(tuple(found), bench.version, time.perf_counter() - begun)


def read_sizes(target: Target) -> dict[str, Size]:
    """How large the tables and indexes of a database are, by path. Reads only; waits for no lock longer than 2 s.

    :raises SizesUnreadable: something locks a table against reading.
    """
    with Database(target, application_name="pliers-db/migrate trace", one_shot=True) as database:
        try:
            with database.connection() as conn, conn.transaction():
                conn.execute("set transaction read only")
                conn.execute("set local lock_timeout = '2s'")
                rows = conn.execute(_QUERIES["sizes"]).fetchall()
        except psycopg.errors.LockNotAvailable as error:
            raise SizesUnreadable(
                f"The sizes of the tables of {target} cannot be read now",
                why=f"Something holds ACCESS EXCLUSIVE on one of them: {error.diag.message_primary}",
                fix="Try again when it has finished.",
            ) from error
    return {path: Size(heap, indexes or 0, rows or 0) for path, heap, indexes, rows in rows if heap is not None}


class _Watch:
    """Runs statements and reads what they have done."""

    def __init__(self, bench: Bench, sizes: Mapping[str, Size] | None) -> None:
        self._bench = bench
        self._conn = bench.conn
        self._sizes = sizes
        self._last = 0
        try:
            self._conn.execute(_QUERIES["install"])
        except psycopg.Error as error:
            raise ScratchUnusable(
                "Migrations cannot be watched on this server",
                why=str(error.diag.message_primary or error),
                fix="Give --scratch a superuser (event triggers need one), or leave it out.",
            ) from error

    def trace(self, file: MigrationFile) -> list[Step]:
        """:raises DoesNotRun: a statement is refused."""
        there = self._relations()
        if not file.transactional:
            return self._stepwise(file, there)
        statements = split(file.text)
        steps = []
        self._conn.execute("begin")
        view = self._view(there, "scans")
        for number, statement in enumerate(statements, 1):
            self._bench.run_statement(file, statement.sql, statement.start)
            seen = self._look(view)
            effects = self._interpret(statement.sql, seen, there)
            if left := len(statements) - number:
                effects = [_held(effect, left) for effect in effects]
            steps.append(self._step(file, statement.sql, statement.start, effects))
        self._bench.end_transaction(file)
        return steps

    def _stepwise(self, file: MigrationFile, there: Mapping[int, Relation]) -> list[Step]:
        steps = []
        for step in plan_steps(file.text):
            atomic = step.kind is StepKind.ATOMIC
            if atomic:
                self._conn.execute("begin")
                view = self._view(there, "scans")
                self._bench.run_statement(file, step.sql, step.start)
                effects = self._interpret(step.sql, self._look(view), there)
                self._bench.run_statement(file, "commit", step.start)
                steps.append(self._step(file, step.sql, step.start, effects))
                continue
            known, note = known_of(step.sql), ""
            table = self._table(known.relation) if known else None
            view = self._view(there, "all_scans")
            self._bench.run_statement(file, step.sql, step.start)
            seen = self._look(view, "all_scans")
            effects = list(self._interpret(step.sql, replace(seen, locks=frozenset()), there))
            if known and table is not None and table in there:
                path = there[table].path
                told = [documented(kind, path, self._sizes, mode=mode, reason=why) for kind, mode, why in known.effects]
                said = {(e.kind, e.relation) for e in told}
                effects = [*told, *(e for e in effects if (e.kind, e.relation) not in said)]
            elif step.kind is not StepKind.SETTING and table is None:
                note = _NOT_WATCHED
            steps.append(self._step(file, step.sql, step.start, effects, note))
        self._bench.run_statement(file, "reset session authorization; reset role; reset all; discard temp", 0)
        return steps

    def _interpret(self, sql: str, seen: Observed, there: Mapping[int, Relation]) -> Sequence[Effect]:
        return interpret(
            seen,
            there,
            purpose=purpose_of(sql) if seen.scans else "",
            truncates=bool(seen.refiled) and truncates(sql),
            sizes=self._sizes,
        )

    @staticmethod
    def _step(file: MigrationFile, sql: str, start: int, effects: Sequence[Effect], note: str = "") -> Step:
        return Step(place_of(file.text, start).line, sql, tuple(effects), note)

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────
    def _look(self, view: _View, scans: str = "scans") -> Observed:
        """What has changed since the last look."""
        locks = {(oid, mode) for oid, mode in self._conn.execute(_QUERIES["locks"]).fetchall() if oid in view.there}
        counts = self._scans(scans)
        filenodes = {oid: r.filenode for oid, r in self._relations().items()}
        rewrites, dropped = [], []
        for number, oid, reason, kind, identity, original, normal in self._conn.execute(
            _QUERIES["seen"], {"last": self._last}
        ).fetchall():
            self._last = number
            if oid is not None:
                rewrites.append(Rewrite(oid, reason))
            else:
                dropped.append(Dropped(kind, identity, original, normal))
        seen = Observed(
            frozenset(locks - view.locks),
            frozenset(view.locks),
            tuple(rewrites),
            frozenset(oid for oid, node in filenodes.items() if oid in view.there and node != view.filenodes[oid]),
            frozenset(oid for oid, count in counts.items() if oid in view.there and count > view.scans.get(oid, 0)),
            tuple(dropped),
        )
        view.locks |= locks
        view.scans = counts
        view.filenodes |= filenodes
        return seen

    def _view(self, there: Mapping[int, Relation], scans: str) -> _View:
        return _View(there, {oid: r.filenode for oid, r in self._relations().items()}, self._scans(scans))

    def _relations(self) -> dict[int, Relation]:
        return {row[0]: Relation(*row) for row in self._conn.execute(_QUERIES["relations"]).fetchall()}

    def _scans(self, query: str) -> dict[int, int]:
        if query == "all_scans":
            self._conn.execute("select pg_catalog.pg_stat_force_next_flush()")
        return dict(self._conn.execute(_QUERIES[query]).fetchall())

    def _table(self, name: str | None) -> int | None:
        """The table that a name means, or on which the index of that name is."""
        row = self._conn.execute("select pg_catalog.to_regclass(%s)::oid", [name or ""]).fetchone()
        found = self._relations().get(row[0]) if row else None
        return None if found is None else found.table or found.oid


@dataclass
class _View:
    """What was there at the last look."""

    there: Mapping[int, Relation]
    """The relations that the migration has found."""
    filenodes: dict[int, int]
    scans: dict[int, int]
    locks: set[tuple[int, str]] = field(default_factory=set)


def _held(effect: Effect, left: int) -> Effect:
    """A lock lasts until the migration commits."""
    if effect.kind is not Kind.LOCK:
        return effect
    after = (
        "the statement after it is done" if left == 1 else f"the {format_count(left, 'statement')} after it are done"
    )
    return replace(effect, reason=f"{effect.reason}, until {after}")
