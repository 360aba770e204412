"""Making a backup: one exported snapshot, dumped by pg_dump and counted by us, published when all of it is on disk."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psycopg

from pliers_db import __version__
from pliers_db.backup import age
from pliers_db.backup.age import parse_recipients
from pliers_db.backup.contents import DumpedTable, read_dumped, reading, unlimited
from pliers_db.backup.dump import Dump
from pliers_db.backup.manifest import Client, Manifest, Source
from pliers_db.backup.pack import pack
from pliers_db.backup.properties import PROPERTIES_FILE, read_properties
from pliers_db.backup.recipe import (
    CATALOG_FILE,
    Compression,
    Recipe,
    choose_recipe,
    client_version,
    in_the_clear,
    tls_for,
)
from pliers_db.backup.repository import Backup, Repository
from pliers_db.backup.source import end_orphans, read_source
from pliers_db.catalog import snapshot
from pliers_db.config import Target
from pliers_db.db import Connection, Database, ErrorClass, LockName, advisory_lock, classify
from pliers_db.errors import BackupDiskFull, BackupFailed, BackupRefused, BackupServerGone, ProgramFailed
from pliers_db.postgres import read_program
from pliers_db.progress import SILENT, Reporter
from pliers_db.units import format_count, format_size

GLOBALS_FILE = "globals.sql"
_LOOK_BACK = 5  # backups
_MUCH_SMALLER, _SMALL = 0.5, 100_000  # of the usual size; below so many bytes sizes say nothing
_MARGIN = 1.1  # a dump that grew by more than a tenth since the last one must try its luck


@dataclass(frozen=True, slots=True)
class Options:
    """How a backup is made."""

    label: str = ""
    """A word of yours, shown in the list."""
    wait: float = 60.0
    """Seconds to wait for a migration to end, and for a table that somebody holds exclusively."""
    hashes: bool = True
    """Hash all rows, too, so that a restore can be compared row for row; otherwise they are only counted."""
    compression: Compression | None = None
    """None: the fastest that makes small files."""
    jobs: int = 2
    """How many tables to dump at a time, where the format allows it."""
    encrypt_to: tuple[str, ...] = ()
    """Public keys, of age or SSH; the secret ones are only needed to restore."""
    role_passwords: bool = False
    """Keep the hashes of the roles' passwords, too; takes a superuser."""


DEFAULTS = Options()


def create_backup(
    database: Database, repository: Repository, options: Options = DEFAULTS, reporter: Reporter = SILENT
) -> Backup:
    """Back up one database.

    :raises BackupRunning: another run works in the folder.
    :raises BackupFailed: nothing is left of it.
    """
    with repository.locked("backup create"):
        return back_up(database, repository, options, reporter)


def back_up(database: Database, repository: Repository, options: Options, reporter: Reporter) -> Backup:
    """The work of `create_backup`, for who holds the repository's lock."""
    left = repository.sweep()
    try:
        with (
            database.connection(autocommit=True) as conn,
            advisory_lock(
                conn,
                LockName.SCHEMA,
                shared=True,
                wait=options.wait,
                on_wait=lambda holder: reporter.info(f"Waiting for {holder}, which changes the schema"),
            ),
        ):
            end_orphans(conn, [_application(backup_id) for backup_id in left])
            conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            conn.read_only = True
            with conn.transaction():
                return _back_up(conn, database, repository, options, reporter)
    except psycopg.Error as error:
        raise _explain(error) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(repository.root, str(error)) from None
        raise


def _back_up(
    conn: Connection, database: Database, repository: Repository, options: Options, reporter: Reporter
) -> Backup:
    started_at = datetime.now(UTC)
    unlimited(conn, lock_timeout=options.wait)
    row = conn.execute("select pg_export_snapshot()").fetchone()
    assert row is not None
    source = read_source(conn)
    tables = read_dumped(conn)
    _refuse_unreadable(tables, database)
    catalog, properties = snapshot(conn), read_properties(conn, source.database)
    recipients = parse_recipients(options.encrypt_to, "--encrypt-to") if options.encrypt_to else []
    tls = tls_for(conn, database.target)
    recipe = choose_recipe(source.server_major, options.compression, options.jobs, recipients, tls)
    if warning := in_the_clear(recipe.binaries, tls):
        reporter.warn(warning)
    expected = _expected_size(repository, source)
    with repository.incoming(source.database) as incoming:
        dump = Dump(recipe, database.target, incoming.path, row[0], options.wait, _application(incoming.id))
        with (
            ThreadPoolExecutor(1, thread_name_prefix="globals") as aside,
            reading(database, conn, snapshot=row[0], hashes=options.hashes, lock_timeout=options.wait) as contents,
            reporter.task(f"Dumping {source.database}", total=expected, unit="bytes") as task,
        ):
            globals_read = aside.submit(_read_globals, recipe, database.target, options)
            dumped = dump.run(tables, contents.check, task, reporter)
            task.note("comparing" if options.hashes else "counting")
            held = contents.result()
            roles, warnings = globals_read.result()
        small = {
            CATALOG_FILE: json.dumps(catalog.as_dict(), indent=1).encode(),
            PROPERTIES_FILE: json.dumps(properties.as_dict(), indent=1).encode(),
            GLOBALS_FILE: roles,
        }
        suffix = age.SUFFIX if recipients else ""
        further = [pack(data, incoming.path / f"{name}{suffix}", recipients=recipients) for name, data in small.items()]
        warnings = [*dumped.warnings, *warnings]
        manifest = Manifest(
            id=incoming.id,
            started_at=started_at,
            finished_at=datetime.now(UTC),
            source=source,
            client=Client(
                program="pg_dump",
                version=client_version(recipe.binaries),
                major=recipe.binaries.major,
                format=recipe.format,
                compression=str(recipe.compression),
                packed=recipe.packed,
                raw_size=dumped.raw_size,
                tool=f"pliers-db {__version__}",
            ),
            dump=recipe.name,
            contents=held,
            encrypted_to=options.encrypt_to,
            files=(*dumped.files, *further),
            label=options.label,
            warnings=tuple(warnings),
        )
        for warning in warnings:
            reporter.info(warning)
        if warning := _shrunk(repository, manifest):
            reporter.warn(warning)
        return repository.publish(incoming, manifest)


def _read_globals(recipe: Recipe, target: Target, options: Options) -> tuple[bytes, list[str]]:
    """The roles and tablespaces of the cluster; a role that may not read them is no reason to have no backup.

    :returns: the SQL, and what went wrong.
    """
    arguments = ["--globals-only", "--no-password", f"--database={target.dbname}"]
    if not options.role_passwords:
        arguments.append("--no-role-passwords")
    try:
        return read_program(recipe.binaries, "pg_dumpall", arguments, target=target).encode(), []
    except ProgramFailed as error:
        return b"-- pg_dumpall --globals-only has failed\n", [
            f"Roles are not in this backup: {line}" for line in error.why.splitlines()[-1:]
        ]


def _shrunk(repository: Repository, made: Manifest) -> str:
    """A word of warning if the backup is much smaller than those before it."""
    before = [b.manifest.size_bytes for b in repository.backups(made.source.database) if b.good and b.manifest]
    usual = median(before[:_LOOK_BACK]) if before else 0
    if made.size_bytes >= usual * _MUCH_SMALLER or usual < _SMALL:
        return ""
    return (
        f"This backup has {format_size(made.size_bytes)}; the last ones had {format_size(usual)}. "
        "Has something been deleted?"
    )


def _refuse_unreadable(tables: Sequence[DumpedTable], database: Database) -> None:
    """Say before the dump what pg_dump would say in its middle, one table at a time."""
    role = database.target.user or "this role"
    if hidden := [table.path for table in tables if not table.readable]:
        raise BackupRefused(
            f"{role} may not read {format_count(len(hidden), 'table')}",
            why=f"{', '.join(hidden[:5])}{'…' if len(hidden) > 5 else ''}: a backup without them would look complete.",
            fix=f'grant pg_read_all_data to "{role}"',
        )
    if filtered := [table.path for table in tables if table.filtered]:
        raise BackupRefused(
            f"Row-level security would hide rows of {format_count(len(filtered), 'table')} from {role}",
            why=f"{', '.join(filtered[:5])}{'…' if len(filtered) > 5 else ''}: a backup must see every row.",
            fix=f'alter role "{role}" bypassrls',
        )


def _expected_size(repository: Repository, source: Source) -> float | None:
    """How large the dump will be, by the last one; refuses if there is no room for it."""
    last = next((b.manifest for b in repository.backups(source.database) if b.good and b.manifest), None)
    if last is None:
        return None
    expected = last.size_bytes * source.size_bytes / max(last.source.size_bytes, 1)
    free = shutil.disk_usage(repository.root).free
    if free < expected * _MARGIN:
        why = f"About {format_size(expected)} are needed (the last one has {format_size(last.size_bytes)})"
        raise _disk_full(repository.root, why)
    return expected


def _application(backup_id: str) -> str:
    """The application name of a backup's sessions; PostgreSQL cuts it after 63 bytes."""
    return f"pliers-db/{backup_id[:16]}-{backup_id[-6:]}"


def _disk_full(root: Path, why: str) -> BackupDiskFull:
    return BackupDiskFull(
        why=f"{why}; free in {root}: {format_size(shutil.disk_usage(root).free)}.",
        fix='Make room there, or set another folder: backups = "…" in [tool.pliers-db].',
    )


def _explain(error: psycopg.Error) -> Exception:
    """What an error of the exporting connection means for the backup."""
    why = " ".join(str(error).split())
    kind = classify(error.sqlstate)
    if kind is ErrorClass.CONNECTION:
        return BackupServerGone(why=why, fix="Check the server, then run it again.")
    if kind is ErrorClass.LOCK:
        return BackupFailed(
            "A table stayed locked; no partial backup is left", why=why, fix="Find who holds it, or raise --wait."
        )
    return BackupFailed("The server refused a statement of the backup", why=why)
