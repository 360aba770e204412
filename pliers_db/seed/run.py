"""The one way in: read the seed files, plan, and load in one transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from pliers_db.config import Environment, Settings
from pliers_db.db import Connection, Database, LockName, advisory_lock
from pliers_db.errors import SeedTargetUnfit, UnknownTable
from pliers_db.progress import SILENT, Reporter
from pliers_db.seed import load
from pliers_db.seed.guard import check_environment, check_target
from pliers_db.seed.hashing import GENERATOR_VERSION
from pliers_db.seed.plan import Plan, make_plan
from pliers_db.seed.schema import Schema, read_schema
from pliers_db.seed.spec import Spec, read_spec

WAIT = 3.0
"""Seconds to wait for another seed: most take less, and one that was just killed may not have let go yet."""


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
    reporter: Reporter = SILENT,
) -> Outcome:
    """Bring the seeds of an environment into its database, all or nothing. A second run changes nothing.

    :param update: bring rows that were changed since back to what the seeds say; otherwise they are kept.
    :param dry_run: compare only, write nothing.
    :raises InputError: the seed files can't be used; nothing was touched.
    :raises RefusedError: the database is not for these seeds.
    :raises LockedError: another seed is loading.
    :raises SeedRejected: the database did not take a row; everything is as before.
    """
    begun = time.monotonic()
    spec = read_spec(settings.project.seeds, settings.environment)
    with (
        database.connection(autocommit=True) as conn,
        advisory_lock(conn, LockName.SEED, wait=WAIT, on_wait=lambda who: reporter.info(f"Waiting for {who}")),
        conn.transaction(),
    ):
        schema = _enter(conn, spec)
        plan = make_plan(spec, schema)
        _check_privileges(plan)
        tables, scripts = _load(conn, plan, update=update, dry_run=dry_run, reporter=reporter)
    return Outcome(spec.environment, spec.seed, spec.as_of, tables, scripts, time.monotonic() - begun, dry_run)


def _enter(conn: Connection, spec: Spec) -> Schema:
    """All that must hold before the first row."""
    check_target(conn)
    check_environment(conn, spec.environment)
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


def _check_privileges(plan: Plan) -> None:
    for data in plan.tables:
        table = data.table
        lacking = [what for what, can in (("SELECT", table.can_select), ("INSERT", table.can_insert)) if not can]
        if lacking:
            raise SeedTargetUnfit(
                f"This role may not fill {table.label}",
                why=f"It lacks {' and '.join(lacking)}.",
                fix=f"grant {', '.join(lacking).lower()} on {table.label} to it, or use the tables' owner.",
                table=table.label,
            )


def _load(
    conn: Connection, plan: Plan, *, update: bool, dry_run: bool, reporter: Reporter
) -> tuple[list[load.TableOutcome], list[load.ScriptOutcome]]:
    outcomes: list[load.TableOutcome] = []
    scripts: list[load.ScriptOutcome] = []
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
            scripts = [load.run_script(conn, script, plan) for script in plan.scripts]
            load.check_deferred(conn)
    return outcomes, scripts
