"""Restoring: into a new database, checked there, then swapped in by name.

    shop_new_x7k2pq   created, loaded, compared with the manifest, analyzed
    shop              -> shop_old_20261122t021000z     one transaction:
    shop_new_x7k2pq   -> shop                          both or neither

Killed at any point, the database is the old one or the new one, whole; the next restore drops what was left over.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass

import psycopg

from pliers_db.backup import Contents, Manifest, Repository, differences, find_clients, read_contents, read_tables
from pliers_db.config import Environment, PoolSettings, Target, check_allowed
from pliers_db.db import Connection, Database, has_tables, read_stamp, write_stamp
from pliers_db.errors import RestoreFailed, RestoreMismatch
from pliers_db.postgres import start_program
from pliers_db.progress import SILENT, Reporter
from pliers_db.restore.cluster import (
    apply_properties,
    clear_migration_locks,
    create_database,
    drop_database,
    maintenance,
    read_databases,
    read_place,
    read_properties,
    rename_all,
    restore_lock,
)
from pliers_db.restore.marks import NEW, OLD, Marked, leftovers, mark, old_name, put_aside, without_mark
from pliers_db.restore.material import Material, check_material
from pliers_db.restore.noise import Noise
from pliers_db.restore.plan import Place, RestorePlan, Wishes, plan_restore

APPLICATION = "pliers-db/restore"


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has done."""

    database: str
    origin: str
    contents: Contents
    compared: bool
    """Whether it was compared with a manifest."""
    kept_as: str | None
    """The name of what stood there before."""
    put_aside: tuple[Marked, ...]
    """All that earlier restores have kept, newest first."""
    seconds: float


def restore(
    target: Target,
    material: Material,
    repository: Repository,
    *,
    environment: Environment,
    wishes: Wishes,
    pool: PoolSettings | None = None,
    confirm: str | None = None,
    reporter: Reporter = SILENT,
) -> Restored:
    """Bring a backup back as the database of ``target``; what stands there is kept under another name.

    :param environment: of this run; the restored database is stamped with it unless the replaced one says otherwise.
    :param confirm: the database's name, typed: for a protected environment.
    :raises InputError: the backup is damaged; nothing was touched.
    :raises RefusedError: it would fail, or lose something; nothing was touched.
    :raises RestoreFailed: the database is as it was.
    """
    begun = time.monotonic()
    reading = repository.reading(material.backup) if material.backup else nullcontext()
    with (
        reading,
        Database(maintenance(target), pool, application_name=APPLICATION, one_shot=True) as database,
        database.connection(autocommit=True) as conn,
        restore_lock(conn, target.dbname),
    ):
        place = read_place(conn, target.dbname, material.manifest)
        stamped = _guard(target, place, environment, confirm)
        plan = plan_restore(material.manifest, place, wishes)
        check_material(material, repository, reporter)
        for note in plan.notes:
            reporter.info(note)
        for name in leftovers(read_databases(conn), target.dbname):
            reporter.info(f"Dropping {name}, left by a restore that did not end")
            drop_database(conn, name)
        create_database(conn, plan.working_name, mark(NEW, target.dbname, material.name), material.manifest)
        try:
            _load(target.with_database(plan.working_name), material, plan, place, reporter)
            contents = _finish(target.with_database(plan.working_name), material.manifest, stamped, reporter)
            kept_as = _swap(database, conn, material, plan)
        except BaseException as error:
            _clean_up(conn, plan, error)
            if isinstance(error, psycopg.Error):
                why = " ".join(str(error).split())
                raise RestoreFailed(f"The restore failed; {_unchanged(plan)}", why=why) from error
            raise
        return Restored(
            database=target.dbname,
            origin=material.name,
            contents=contents,
            compared=material.manifest is not None,
            kept_as=kept_as,
            put_aside=tuple(put_aside(read_databases(conn), target.dbname)),
            seconds=time.monotonic() - begun,
        )


def _guard(target: Target, place: Place, environment: Environment, confirm: str | None) -> Environment:
    """Ask the database that would be replaced what it is.

    :returns: the stamp for the restored one.
    """
    if place.existing is None:
        return environment
    with Database(target, application_name=APPLICATION, one_shot=True) as database, database.connection() as conn:
        stamp, filled = read_stamp(conn), has_tables(conn)
    check_allowed(
        stamp,
        has_tables=filled,
        action="restore a backup",
        dbname=target.dbname,
        environment=environment,
        confirm=confirm,
    )
    return stamp.environment if stamp else environment


def _load(target: Target, material: Material, plan: RestorePlan, place: Place, reporter: Reporter) -> None:
    binaries = find_clients(material.client_major, best=place.server_version_num // 10000)
    noise = Noise()
    with (
        start_program(
            binaries,
            "pg_restore",
            [*plan.arguments, f"--dbname={target.dbname}", material.dump],
            target=target,
            settings=plan.settings,
            application_name=APPLICATION,
            on_line=noise.feed,
        ) as program,
        reporter.task(f"Restoring {plan.database}"),
    ):
        finished = program.wait(lambda: _raise_for(noise, plan))
    noise.close()
    _raise_for(noise, plan)
    if finished.returncode not in (0, 1) or (
        finished.returncode and "errors ignored on restore" not in finished.stderr
    ):
        last = finished.stderr.strip().splitlines()[-1:] or [f"It ended with {finished.returncode}."]
        raise RestoreFailed(f"pg_restore failed; {_unchanged(plan)}", why=last[0])
    for notice in noise.notices:
        reporter.info(notice)


def _raise_for(noise: Noise, plan: RestorePlan) -> None:
    """End at the first error that matters: pg_restore itself would go on for hours."""
    if noise.errors:
        raise RestoreFailed(f"pg_restore failed; {_unchanged(plan)}", why="\n".join(noise.errors[:3]))


def _finish(target: Target, manifest: Manifest | None, stamp: Environment, reporter: Reporter) -> Contents:
    """Compare with the manifest, then make the database fit for use."""
    with (
        Database(target, application_name=APPLICATION, one_shot=True) as database,
        database.connection(autocommit=True) as conn,
    ):
        conn.execute("set statement_timeout = 0")
        conn.execute("set row_security = off")
        tables = read_tables(conn)
        with reporter.task("Comparing", total=len(tables), unit="tables") as task:
            contents = read_contents(conn, tables, lambda table: task.advance())
        if manifest is not None and (found := differences(manifest.contents, contents)):
            raise RestoreMismatch(
                why="\n".join(found[:20]) + ("\n…" if len(found) > 20 else ""),
                fix="Restore another backup, and please report this.",
            )
        clear_migration_locks(conn)
        with reporter.task("Analyzing"):
            conn.execute("analyze")
        write_stamp(conn, stamp)
        return contents


def _swap(database: Database, conn: Connection, material: Material, plan: RestorePlan) -> str | None:
    """:returns: the name under which the replaced database is kept."""
    databases = {d.name: d for d in read_databases(conn)}
    comment = without_mark(databases[plan.working_name].comment)
    replaced = databases.get(plan.database)
    renames = [(plan.working_name, plan.database, comment)]
    kept_as = None
    if replaced is not None:
        apply_properties(conn, plan.working_name, read_properties(conn, plan.database))
        kept_as = old_name(plan.database, databases)
        old_comment = f"{without_mark(replaced.comment)} {mark(OLD, plan.database, material.name)}".strip()
        renames.insert(0, (plan.database, kept_as, old_comment))
    rename_all(database, conn, renames, terminate=plan.terminate)
    return kept_as


def _clean_up(conn: Connection, plan: RestorePlan, error: BaseException) -> None:
    """Drop what was built; if the server is gone, the next restore does it."""
    try:
        drop_database(conn, plan.working_name)
    except psycopg.Error as second:
        error.add_note(f"{plan.working_name} could not be dropped: {second}")


def _unchanged(plan: RestorePlan) -> str:
    return f"{plan.database} is as it was" if plan.replaces else f"there is still no {plan.database}"
