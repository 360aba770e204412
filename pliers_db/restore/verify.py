"""Proving a backup: restored into a scratch server and compared with its manifest, object by object and row by row."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import sql

from pliers_db import __version__
from pliers_db.backup import Backup, Manifest, Proof, Repository, tls_for
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Connection, Database
from pliers_db.errors import BackupCorrupt, BinariesMissing, RestoreFailed, RestoreInterrupted, RestoreRefused
from pliers_db.postgres import Binaries, find_binaries, scratch_server
from pliers_db.progress import SILENT, Reporter
from pliers_db.restore.cluster import create_database, drop_database, maintenance, read_databases, read_place
from pliers_db.restore.compare import compare, read_contents
from pliers_db.restore.load import APPLICATION, Load
from pliers_db.restore.marks import NEW, leftovers, mark
from pliers_db.restore.material import Material
from pliers_db.restore.plan import Wishes, plan_restore
from pliers_db.restore.unpack import unpacked, workplace
from pliers_db.units import format_size

_OF = "a proof"  # whose databases on a server that was named are marked with this
_ROOM = 1.3  # times the database's size
_GIGABYTE = 1 << 30


def verify(
    backup: Backup,
    repository: Repository,
    *,
    into: Target | None = None,
    jobs: int = 2,
    identities: Sequence[Any] = (),
    reporter: Reporter = SILENT,
) -> Backup:
    """Prove a backup by restoring it, and write the proof into its manifest.

    :param into: a server to use instead of a scratch server; needs a role that may create databases.
    :param jobs: how many tables and indexes at a time.
    :param identities: keys to decrypt it with.
    :returns: the backup with its proof; if it could not be restored or differs, with the findings.
    :raises BackupCorrupt: the manifest itself is damaged, so nothing can be written into it.
    :raises RestoreRefused: it cannot be tried here (an extension is missing, the disk too small): nothing is said
        about the backup then.
    :raises RestoreInterrupted: pg_restore was killed, or the server went away: nothing is said about the backup either.
    """
    if backup.manifest is None:
        repository.check_files(backup)
    manifest = backup.manifest
    assert manifest is not None
    with repository.reading(backup):
        begun = time.monotonic()
        try:
            repository.check_files(backup, reporter)
        except BackupCorrupt as error:
            findings, version = (str(error.details["problem"]),), ""
            return repository.record(backup, _proof(begun, version, findings))
        material = Material.of(backup, identities)
        with (
            _server(manifest, into) as target,
            workplace(repository.root) as folder,
            unpacked(material, repository.root, reporter) as archive,
        ):
            version, seconds, found = _try(material, archive, target, jobs, folder, reporter, foreign=into is not None)
        return repository.record(backup, _proof(time.monotonic() - seconds, version, tuple(found)))


def _proof(begun: float, version: str, findings: tuple[str, ...]) -> Proof:
    seconds = round(time.monotonic() - begun, 3)
    return Proof(datetime.now(UTC), seconds, version, f"pliers-db {__version__}", findings)


def _try(
    material: Material,
    archive: Path | None,
    target: Target,
    jobs: int,
    folder: Path,
    reporter: Reporter,
    *,
    foreign: bool,
) -> tuple[str, float, list[str]]:
    """Restore and compare. :returns: the server's version, the seconds the restore took, and what differs."""
    manifest = material.manifest
    assert manifest is not None
    with (
        Database(maintenance(target), PoolSettings(), application_name=APPLICATION, one_shot=True) as database,
        database.connection(autocommit=True) as conn,
    ):
        if not foreign:
            _create_roles(conn, manifest)
        for name in leftovers(read_databases(conn), _OF):
            drop_database(conn, name)
        place = read_place(conn, _OF, manifest)
        no_owner = foreign and not (set(manifest.source.roles) <= {r for r, ours in place.roles.items() if ours})
        if no_owner:
            reporter.info("Owners and grants are not compared: that server lacks roles of the backup")
        wishes = Wishes(no_owner=no_owner, jobs=jobs, compare_rows=True)
        plan = plan_restore(manifest, place, wishes)
        own = target.with_database(plan.working_name)
        try:
            _create(conn, plan.working_name, manifest, reporter)
            begun = time.monotonic()
            try:
                Load(own, material, archive, plan, folder, reporter, tls_for(conn, target)).run()
            except RestoreInterrupted as error:
                raise RestoreInterrupted(
                    f"The proof of {material.name} was interrupted; it is as unproved as before",
                    why=error.why,
                    fix=error.fix or "Run it again.",
                ) from None
            except RestoreFailed as error:
                return conn.info.parameter_status("server_version") or "", time.monotonic() - begun, [error.why]
            seconds = time.monotonic() - begun
            with Database(own, application_name=APPLICATION, one_shot=True) as built, built.connection() as inside:
                inside.execute("set local statement_timeout = 0")
                contents = read_contents(
                    built, inside, hashes=manifest.contents.hashed, streams=jobs, reporter=reporter
                )
                findings = compare(material, contents, inside, plan)
            return conn.info.parameter_status("server_version") or "", seconds, findings
        finally:
            drop_database(conn, plan.working_name)


def _create(conn: Connection, name: str, manifest: Manifest, reporter: Reporter) -> None:
    comment = mark(NEW, _OF, manifest.id)
    try:
        create_database(conn, name, comment, manifest)
    except RestoreRefused as error:
        # What is stored does not depend on it; only the order of texts does, and every index is built anew.
        reporter.info(f"Proved with the locale C instead of {manifest.source.collate}: {error.why}")
        create_database(conn, name, comment, manifest, locale=False)


def _create_roles(conn: Connection, manifest: Manifest) -> None:
    there = {row[0] for row in conn.execute("select rolname from pg_roles")}
    for role in manifest.source.roles:
        if role not in there:
            conn.execute(sql.SQL("create role {}").format(sql.Identifier(role)))


@contextmanager
def _server(manifest: Manifest, into: Target | None) -> Iterator[Target]:
    """A server to restore into: the one that was named, or a scratch server that has what the backup needs."""
    if into is not None:
        yield into
        return
    _check_room(manifest)
    wanted = {extension.name for extension in manifest.source.extensions}
    lacking: list[str] = []
    for binaries in _candidates(manifest.source.server_major):
        with scratch_server(binaries, _settings()) as server:
            missing = wanted - _extensions(server.target())
            if not missing:
                yield server.target()
                return
            lacking.append(f"PostgreSQL {binaries.major} here lacks {', '.join(sorted(missing))}")
    raise RestoreRefused(
        "There is no server here that this backup could be proved with",
        why=". ".join(lacking) + ".",
        fix="Name one: --into postgresql://…, or install the extension's package.",
    )


def _candidates(major: int) -> list[Binaries]:
    """Servers to try: the backup's own major version, then the newest there is."""
    found: list[Binaries] = []
    for wanted in (major, None):
        try:
            binaries = find_binaries(wanted, server=True)
        except BinariesMissing as error:
            missing = error
            continue
        if binaries.major >= major and binaries not in found:
            found.append(binaries)
    if not found:
        raise missing
    return found


def _extensions(target: Target) -> set[str]:
    with Database(target, application_name=APPLICATION, one_shot=True) as database, database.connection() as conn:
        return {row[0] for row in conn.execute("select name from pg_available_extensions")}


def _settings() -> Mapping[str, str]:
    """For a server whose data nobody needs after a crash (research, backup §2.3)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "shared_buffers": f"{min(memory // 8, _GIGABYTE) >> 20}MB",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "16GB",
        "checkpoint_timeout": "1d",
    }


def _check_room(manifest: Manifest) -> None:
    place = tempfile.gettempdir()
    needed, free = manifest.source.size_bytes * _ROOM, shutil.disk_usage(place).free
    if free < needed:
        raise RestoreRefused(
            "There is no room to prove this backup",
            why=f"About {format_size(needed)} are needed in {place}; free: {format_size(free)}.",
            fix="Make room there, or name a server: --into postgresql://…",
        )
