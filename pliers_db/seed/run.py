"""The one way in: read the seed files, plan, and load in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

import psycopg

from pliers_db.config import Environment, Settings
from pliers_db.db import Connection, Database, LockName, advisory_lock
from pliers_db.errors import SeedTargetUnfit, UnknownTable
from pliers_db.progress import SILENT, Reporter
from pliers_db.seed import fills, ledger, load
from pliers_db.seed.guard import check_environment, check_target
from pliers_db.seed.hashing import GENERATOR_VERSION
from pliers_db.seed.plan import Plan, make_plan
from pliers_db.seed.schema import Schema, Table, read_schema
from pliers_db.seed.spec import Spec, read_spec

TRIAL = 1000
"""Rows that a trial makes of a table at most."""
WAIT = 3.0
"""Seconds to wait for another seed: most take less, and one that was just killed may not have let go yet."""


class Mode(Enum):
    """What to do about rows that are there."""

    ENSURE = "ensure"
    """Add what is missing."""
    APPEND = "append"
    """Make as many rows again as ``[fill]`` says."""
    RESET = "reset"
    """Delete the seeded rows first, and no others."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run."""

    update: bool = False
    """Bring rows that were changed since back to what the seeds say; otherwise they are kept."""
    mode: Mode = Mode.ENSURE
    scale: str = "small"
    """``small``, ``medium``, ``large``, or a number to multiply the rows of ``[fill]`` with."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """How many rows to make in single tables, whatever the files say."""
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    seed: int | None = None
    as_of: datetime | None = None
    trial: bool = False
    """Do everything, at most `TRIAL` made rows of a table, and undo it."""
    confirm: str | None = None
    """The name of the database, typed: a protected one takes reference rows only, and only so."""

    @property
    def beyond_reference(self) -> str:
        """What a protected database must not be asked for."""
        asked = {"--mode": self.mode is not Mode.ENSURE, "--rows": bool(self.rows), "a trial": self.trial}
        return next((name for name, is_asked in asked.items() if is_asked), "")


@dataclass(frozen=True)
class Outcome:
    """What a run found and did."""

    environment: Environment
    seed: int
    as_of: datetime
    tables: Sequence[load.TableOutcome]
    scripts: Sequence[load.ScriptOutcome]
    seconds: float
    dry_run: bool

    @property
    def planned(self) -> int:
        return sum(table.planned for table in self.tables)

    @property
    def added(self) -> int:
        return sum(table.added for table in self.tables)

    @property
    def changed(self) -> int:
        return sum(table.changed for table in self.tables)

    @property
    def kept(self) -> int:
        """Rows that differ from the seeds and were left alone."""
        return sum(table.kept for table in self.tables)

    @property
    def written(self) -> bool:
        """Whether anything in the database is other than before."""
        return not self.dry_run and bool(self.added or self.changed or any(s.written for s in self.scripts))

    def as_dict(self) -> dict[str, Any]:
        """The document of ``--json``."""
        return {
            "environment": self.environment.value,
            "seed": self.seed,
            "as_of": self.as_of.isoformat(),
            "generator_version": GENERATOR_VERSION,
            "dry_run": self.dry_run,
            "planned": self.planned,
            "present": sum(table.present for table in self.tables),
            "added": self.added,
            "changed": self.changed,
            "kept": self.kept,
            "seconds": round(self.seconds, 3),
            "tables": [
                {
                    "table": table.table,
                    "planned": table.planned,
                    "present": table.present,
                    "added": table.added,
                    "changed": table.changed,
                    "kept": table.kept,
                    "digest": table.digest,
                    "differing": [{"row": d.row, "columns": list(d.columns)} for d in table.differing],
                }
                for table in self.tables
            ],
            "scripts": [{"file": script.file, "written": dict(script.written)} for script in self.scripts],
        }


def run(
    database: Database,
    settings: Settings,
    *,
    update: bool = False,
    dry_run: bool = False,
    options: Options | None = None,
    then: Callable[[Connection, Plan], None] | None = None,
    reporter: Reporter = SILENT,
) -> Outcome:
    """Bring the seeds of an environment into its database, all or nothing. A second run changes nothing.

    :param update: bring rows that were changed since back to what the seeds say; otherwise they are kept.
    :param dry_run: compare only, write nothing.
    :param options: the rarer ones.
    :param then: in a trial, what to do before everything is undone.
    :raises InputError: the seed files can't be used; nothing was touched.
    :raises RefusedError: the database is not for these seeds.
    :raises LockedError: another seed is loading.
    :raises SeedRejected: the database did not take a row; everything is as before.
    """
    begun = time.monotonic()
    options = options or Options(update=update)
    spec = spec_of(settings, options)
    beyond = spec.beyond_reference or options.beyond_reference
    with entered(database, spec, reporter, beyond, writes=not dry_run, confirm=options.confirm) as (conn, schema):
        plan, wanted = _chosen(make_plan(spec, schema), schema, options)
        if options.trial:
            wanted = [replace(wish, rows=min(wish.rows, TRIAL)) for wish in wanted]
        _check_privileges([*(d.table for d in plan.tables), *(schema.tables[wish.table] for wish in wanted)])
        if options.mode is Mode.RESET and not dry_run:
            delete_seeded(conn, plan, [wish.table for wish in wanted])
        tables = _load(conn, plan, update=options.update, dry_run=dry_run, reporter=reporter)
        if dry_run:
            tables = merged(tables, fills.compare(conn, schema, wanted))
            scripts = []
        else:
            append = options.mode is Mode.APPEND
            tables = merged(tables, fills.bring(conn, spec, plan.book, wanted, append=append, reporter=reporter))
            scripts = [load.run_script(conn, script, plan) for script in plan.scripts]
            load.check_deferred(conn)
        if options.trial:
            if then is not None:
                then(conn, plan)
            raise psycopg.Rollback
    return Outcome(spec.environment, spec.seed, spec.as_of, tables, scripts, time.monotonic() - begun, dry_run)


def spec_of(settings: Settings, options: Options) -> Spec:
    """The seed files, with what the command line says instead."""
    spec = read_spec(settings.project.seeds, settings.environment)
    if options.seed is not None:
        spec = replace(spec, seed=options.seed)
    return replace(spec, as_of=options.as_of) if options.as_of is not None else spec


@contextmanager
def entered(
    database: Database,
    spec: Spec,
    reporter: Reporter = SILENT,
    beyond: str = "",
    *,
    writes: bool = True,
    confirm: str | None = None,
) -> Iterator[tuple[Connection, Schema]]:
    """A transaction in which the seeds may write: lock, guard and settings.

    :param beyond: what is asked for beyond reference rows.
    """
    with (
        database.connection(autocommit=True) as conn,
        advisory_lock(conn, LockName.SEED, wait=WAIT, on_wait=lambda who: reporter.info(f"Waiting for {who}")),
        conn.transaction(),
    ):
        check_target(conn)
        check_environment(conn, spec.environment, beyond=beyond, writes=writes, confirm=confirm)
        yield conn, _enter(conn, spec)


def merged(rows: Sequence[load.TableOutcome], made: Sequence[load.TableOutcome]) -> list[load.TableOutcome]:
    """Written and made rows of a table in one line."""
    found = {table.table: table for table in rows}
    for more in made:
        one = found.get(more.table)
        found[more.table] = (
            more
            if one is None
            else load.TableOutcome(
                one.table,
                one.planned + more.planned,
                one.present + more.present,
                one.added + more.added,
                one.changed + more.changed,
                [*one.differing, *more.differing],
                more.digest,
            )
        )
    return list(found.values())


def _chosen(plan: Plan, schema: Schema, options: Options) -> tuple[Plan, list[fills.Wish]]:
    """The tables that are asked for; SQL files are for whole runs."""
    only = {schema.table(name, "--only").name for name in options.only}
    skip = {schema.table(name, "--skip").name for name in options.skip}

    def takes(name: str) -> bool:
        return name not in skip and (not only or name in only)

    wanted = fills.wishes(plan.spec, schema, plan.book, scale=options.scale, rows=options.rows)
    tables = [data for data in plan.tables if takes(data.table.name)]
    scripts = () if only or skip else plan.scripts
    return replace(plan, tables=tables, scripts=scripts), [wish for wish in wanted if takes(wish.table)]


def delete_seeded(conn: Connection, plan: Plan, made: Collection[str] | None = None) -> dict[str, int]:
    """Delete the rows of the seeds and no others: those that were made, and those whose keys the files name.

    :param made: full names of the tables whose made rows are meant; default all.
    """
    schema = plan.book.schema
    gone = ledger.clean(conn, schema, made)
    waiting = {data.table.name for data in plan.tables}
    for data in reversed(plan.tables):
        name = data.table.name
        referring = [
            (child, key)
            for child in schema.tables.values()
            if child.name not in waiting
            for key in child.foreign_keys
            if key.target == name
        ]
        waiting.discard(name)
        count = load.delete_table(conn, data, referring)
        gone[data.table.name] = gone.get(data.table.name, 0) + count
    return gone


def _enter(conn: Connection, spec: Spec) -> Schema:
    """All that must hold before the first row."""
    # Rows that a policy hides would look missing: rather an error.
    conn.execute("set local row_security = off")
    conn.execute("set constraints all deferred")
    # If we are killed, the server is to notice it also while it waits for a lock: nothing may stay behind.
    conn.execute("set local client_connection_check_interval = '500ms'")
    schema = read_schema(conn)
    if not schema.tables:
        raise UnknownTable(
            "This database has no tables yet",
            why="Seeds fill tables; migrations make them.",
            fix=f"pliers-db migrate up --env {spec.environment}",
        )
    return schema


def _check_privileges(tables: Iterable[Table]) -> None:
    for table in tables:
        lacking = [what for what, can in (("SELECT", table.can_select), ("INSERT", table.can_insert)) if not can]
        if lacking:
            raise SeedTargetUnfit(
                f"This role may not fill {table.label}",
                why=f"It lacks {' and '.join(lacking)}.",
                fix=f"grant {', '.join(lacking).lower()} on {table.label} to it, or use the tables' owner.",
                table=table.label,
            )


def _load(conn: Connection, plan: Plan, *, update: bool, dry_run: bool, reporter: Reporter) -> list[load.TableOutcome]:
    outcomes: list[load.TableOutcome] = []
    with reporter.task("Comparing" if dry_run else "Loading", total=plan.rows, unit="rows") as task:
        for data in plan.tables:
            task.note(data.table.label)
            try:
                outcomes.append(load.load_table(conn, data, update=update, write=not dry_run))
            except psycopg.errors.InsufficientPrivilege as error:
                raise load.unfit(data.table.label, error) from error
            task.advance(len(data.records))
        if not dry_run:
            load.advance_sequences(conn, (data.table for data in plan.tables))
            load.check_deferred(conn)
            conn.execute("set constraints all deferred")
    return outcomes
