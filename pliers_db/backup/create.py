"""Making a backup: one exported snapshot, dumped by pg_dump and counted by us, published when all of it is on disk."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from pliers_db import __version__
from pliers_db.backup.contents import DumpedTable, read_dumped, reading, unlimited
from pliers_db.backup.files import sha256_of
from pliers_db.backup.manifest import Client, Manifest, Source, StoredFile
from pliers_db.backup.recipe import CATALOG_FILE, CUSTOM, DUMP_FILE, Recipe, choose_recipe, client_version
from pliers_db.backup.repository import Backup, Repository
from pliers_db.backup.source import end_orphans, read_source
from pliers_db.catalog import snapshot
from pliers_db.db import Connection, Database, ErrorClass, LockName, advisory_lock, classify
from pliers_db.errors import BackupDiskFull, BackupFailed, BackupRefused, BackupServerGone
from pliers_db.postgres import Finished, read_program, start_program
from pliers_db.progress import SILENT, Reporter
from pliers_db.units import format_count, format_size

_GONE = re.compile(
    r"server closed the connection|terminating connection|connection to server|no connection to the server"
    r"|connection has been closed|could not receive data|shutting down"
)
_TOC_DATA = re.compile(r"^\d+; \d+ (\d+) TABLE DATA ", re.MULTILINE)
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
    catalog = snapshot(conn)
    recipe = choose_recipe(source.server_version_num // 10000)
    expected = _expected_size(repository, source)
    with repository.incoming(source.database) as incoming:
        dump = incoming.path / DUMP_FILE
        with (
            start_program(
                recipe.binaries,
                "pg_dump",
                [*recipe.arguments(row[0], options.wait), f"--file={dump}"],
                target=database.target,
                application_name=_application(incoming.id),
            ) as program,
            reading(database, conn, snapshot=row[0], hashes=options.hashes, lock_timeout=options.wait) as contents,
            reporter.task(f"Dumping {source.database}", total=expected, unit="bytes") as task,
        ):
            growth = _Growth(dump)

            def tick() -> None:
                task.advance(growth.since())
                contents.check()

            finished = program.wait(tick)
            _check(finished, dump)
            task.note("comparing" if options.hashes else "counting")
            held = contents.result()
        _check_complete(recipe, dump, tables)
        (incoming.path / CATALOG_FILE).write_text(json.dumps(catalog.as_dict(), indent=1), encoding="utf-8")
        manifest = Manifest(
            id=incoming.id,
            started_at=started_at,
            finished_at=datetime.now(UTC),
            source=source,
            client=Client(
                program="pg_dump",
                version=client_version(recipe.binaries),
                major=recipe.binaries.major,
                format=CUSTOM,
                compression=recipe.compression,
                tool=f"pliers-db {__version__}",
            ),
            contents=held,
            files=_stored(incoming.path, [DUMP_FILE, CATALOG_FILE], reporter),
            label=options.label,
            warnings=tuple(finished.stderr.splitlines()),
        )
        for warning in manifest.warnings:
            reporter.info(warning)
        return repository.publish(incoming, manifest)


def _stored(folder: Path, names: Sequence[str], reporter: Reporter) -> tuple[StoredFile, ...]:
    """The files with their checksums, as the manifest lists them."""
    sizes = {name: (folder / name).stat().st_size for name in names}
    with reporter.task("Hashing", total=sum(sizes.values()), unit="bytes") as task:
        return tuple(StoredFile(name, size, sha256_of(folder / name, task.advance)) for name, size in sizes.items())


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


def _check(finished: Finished, dump: Path) -> None:
    if finished.returncode == 0:
        return
    why = finished.stderr.strip() or f"It ended with {finished.returncode} and said nothing."
    if "No space left on device" in why or "Disk quota exceeded" in why:
        raise _disk_full(dump.parents[2], f"pg_dump had written {format_size(dump.stat().st_size)}")
    if _GONE.search(why):
        raise BackupServerGone(
            why=why, fix="Check the server, then run it again; the unfinished backup has been removed."
        )
    if "lock timeout" in why:
        raise BackupFailed(
            "A table stayed locked; no partial backup is left", why=why, fix="Find who holds it, or raise --wait."
        )
    if finished.returncode < 0:
        raise BackupFailed("pg_dump was killed; no partial backup is left", why=why, fix="Run it again.")
    raise BackupFailed("pg_dump failed; no partial backup is left", why=why)


def _check_complete(recipe: Recipe, dump: Path, tables: Sequence[DumpedTable]) -> None:
    """An archive that pg_restore can read and that has the data of exactly the tables we counted."""
    listing = read_program(recipe.binaries, "pg_restore", ["--list", dump])
    dumped = {int(oid) for oid in _TOC_DATA.findall(listing)}
    wanted = {table.oid: table for table in tables}
    missing = [wanted[oid].path for oid in wanted.keys() - dumped]
    if missing or dumped - wanted.keys():
        raise BackupFailed(
            "The dump does not hold what the snapshot holds; no partial backup is left",
            why=f"Without data: {', '.join(sorted(missing)) or 'none'}; unknown: {len(dumped - wanted.keys())}.",
            fix="Run it again; if it fails again, please report it.",
        )


class _Growth:
    """How much a file has grown since the last look."""

    def __init__(self, file: Path) -> None:
        self._file, self._seen = file, 0

    def since(self) -> int:
        size = self._file.stat().st_size if self._file.exists() else 0
        grown, self._seen = size - self._seen, size
        return grown


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
