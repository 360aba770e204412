"""Restoring: into a new database, checked there, then swapped in by name.

    shop_new_x7k2pq   created, loaded, compared with the manifest, analyzed
    shop              -> shop_old_20261122t021000z     one transaction:
    shop_new_x7k2pq   -> shop                          both or neither

Killed at any point, the database is the old one or the new one, whole; the next restore drops what was left over.
"""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace

import psycopg

from pliers_db.backup import PROPERTIES_FILE, Contents, Properties, Repository, read_properties, tls_for
from pliers_db.catalog import Snapshot, snapshot
from pliers_db.config import Environment, PoolSettings, Target, check_allowed
from pliers_db.db import Connection, Database, has_tables, read_stamp, write_stamp
from pliers_db.errors import RestoreFailed, RestoreMismatch
from pliers_db.progress import SILENT, Reporter
from pliers_db.restore.check import check_foreign, check_material
from pliers_db.restore.cluster import (
    apply_properties,
    clear_migration_locks,
    create_database,
    drop_database,
    maintenance,
    read_databases,
    read_place,
    rename_all,
    restore_lock,
    with_sizes,
)
from pliers_db.restore.compare import compare, read_catalog, read_contents
from pliers_db.restore.load import APPLICATION, Load, unchanged
from pliers_db.restore.marks import NEW, OLD, Marked, leftovers, mark, old_name, put_aside, without_mark
from pliers_db.restore.material import Material
from pliers_db.restore.plan import Place, RestorePlan, Wishes, check_name, check_version, plan_restore
from pliers_db.restore.shape import Kind
from pliers_db.restore.unpack import unpacked, workplace


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
    check_name(target.dbname)
    reading = repository.reading(material.backup) if material.backup else nullcontext()
    with (
        reading,
        Database(maintenance(target), pool, application_name=APPLICATION, one_shot=True) as database,
        database.connection(autocommit=True) as conn,
        restore_lock(conn, target.dbname),
    ):
        conn.execute("set statement_timeout = 0")
        place = read_place(conn, target.dbname, material.manifest)
        stamped = _guard(target, place, environment, confirm)
        check_material(material, repository, reporter)
        plan = plan_restore(
            material.manifest,
            place,
            wishes,
            catalog=read_catalog(material),
            plain=material.shape.kind is Kind.PLAIN,
        )
        for note in plan.notes:
            reporter.info(note)
        with (
            workplace(repository.root) as folder,
            unpacked(material, repository.root, reporter) as archive,
        ):
            check_version(check_foreign(material, archive).server_major, place)
            own = target.with_database(plan.working_name)
            load = Load(own, material, archive, plan, folder, reporter, tls_for(conn, target))
            load.check_programs()
            for name in leftovers(read_databases(conn), target.dbname):
                reporter.info(f"Dropping {name}, left by a restore that did not end")
                drop_database(conn, name)
            create_database(conn, plan.working_name, mark(NEW, target.dbname, material.name), material.manifest)
            try:
                load.run()
                contents = _finish(own, material, plan, wishes, stamped, reporter)
                kept_as = _swap(database, conn, material, plan, place)
            except BaseException as error:
                _clean_up(conn, plan, error)
                if isinstance(error, psycopg.Error):
                    why = " ".join(str(error).split())
                    raise RestoreFailed(f"The restore failed; {unchanged(plan)}", why=why) from error
                raise
        return Restored(
            database=target.dbname,
            origin=material.name,
            contents=contents,
            compared=material.manifest is not None,
            kept_as=kept_as,
            put_aside=with_sizes(conn, put_aside(read_databases(conn), target.dbname)),
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


def _finish(
    target: Target, material: Material, plan: RestorePlan, wishes: Wishes, stamp: Environment, reporter: Reporter
) -> Contents:
    """Compare with the manifest, then make the database fit for use."""
    before = _definitions(target.with_database(plan.database)) if plan.scope.data_only else None
    with (
        Database(target, application_name=APPLICATION, one_shot=True) as database,
        database.connection(autocommit=True) as conn,
    ):
        conn.execute("set statement_timeout = 0")
        recorded = material.manifest
        contents = read_contents(
            database,
            conn,
            hashes=wishes.compare_rows and recorded is not None and recorded.contents.hashed,
            streams=wishes.jobs,
            reporter=reporter,
        )
        if found := compare(material, contents, conn, plan, before):
            raise RestoreMismatch(
                why="\n".join(found[:20]) + ("\n…" if len(found) > 20 else ""),
                fix="Restore another backup, and please report this.",
            )
        clear_migration_locks(conn)
        with reporter.task("Analyzing"):
            conn.execute("analyze")
        write_stamp(conn, stamp)
        return contents


def _definitions(target: Target) -> Snapshot:
    """Those of the database that is replaced."""
    with Database(target, application_name=APPLICATION, one_shot=True) as database, database.connection() as conn:
        return snapshot(conn)


def _swap(database: Database, conn: Connection, material: Material, plan: RestorePlan, place: Place) -> str | None:
    """:returns: the name under which the replaced database is kept."""
    databases = {d.name: d for d in read_databases(conn)}
    comment = without_mark(databases[plan.working_name].comment)
    replaced = databases.get(plan.database)
    renames = [(plan.working_name, plan.database, comment)]
    kept_as = None
    if replaced is None:
        if properties := _recorded(material, place):
            apply_properties(conn, plan.working_name, properties)
    else:
        apply_properties(conn, plan.working_name, read_properties(conn, plan.database))
        kept_as = old_name(plan.database, databases)
        old_comment = f"{without_mark(replaced.comment)} {mark(OLD, plan.database, material.name)}".strip()
        renames.insert(0, (plan.database, kept_as, old_comment))
    rename_all(database, conn, renames, terminate=plan.terminate)
    return kept_as


def _recorded(material: Material, place: Place) -> Properties | None:
    """What the backed-up database was like, as far as the roles here allow it."""
    text = material.read(PROPERTIES_FILE)
    if text is None:
        return None
    found = Properties.from_dict(json.loads(text))
    usable = {None} | {role for role, ours in place.roles.items() if ours or place.superuser}
    return replace(
        found,
        owner=found.owner if found.owner in usable else place.role,
        grants=tuple(grant for grant in found.grants if grant.role in usable),
        settings=tuple(setting for setting in found.settings if setting.role in usable),
    )


def _clean_up(conn: Connection, plan: RestorePlan, error: BaseException) -> None:
    """Drop what was built; if the server is gone, the next restore does it."""
    try:
        drop_database(conn, plan.working_name)
    except psycopg.Error as second:
        error.add_note(f"{plan.working_name} could not be dropped: {second}")
