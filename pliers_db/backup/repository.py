"""The folder with the backups.

    backups/
      .lock                       held (flock) by the run that writes here
      .incoming/<id>/             a backup in the making; swept by the next run if its maker died
      .trash/<id>/                a backup on its way out
      log/nightly.log             what the nightly runs said
      logical/<database>/<id>/    a complete backup: dump.pgc, manifest.json, SHA256SUMS

A backup gets its place under ``logical`` by one rename, after everything in it is on the disk. So whatever stands there
is complete, and whatever is not complete stands elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from pliers_db.backup import manifest as manifests
from pliers_db.backup.files import make_folder, sha256_of, sync_file, sync_folder, write_atomic
from pliers_db.backup.manifest import BadManifest, Manifest, NewerManifest, Proof, load_manifest
from pliers_db.errors import BackupCorrupt, BackupNotFound, BackupRunning, BackupTooNew
from pliers_db.progress import SILENT, Reporter

LATEST = "latest"
SUMS = "SHA256SUMS"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # base32: no 0/o, 1/l
_TIME = "%Y%m%dT%H%M%SZ"
_ID = re.compile(r"(\d{8}T\d{6}Z)-.+-[a-z2-7]{6}")


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup in the folder, whole or broken."""

    id: str
    path: Path
    manifest: Manifest | None
    damage: str = ""
    """What is wrong with its files; empty if nothing is known."""
    newer: bool = False
    """Whether a newer pliers-db wrote it: then nothing can be said about it here."""

    @classmethod
    def of(cls, folder: Path) -> Backup:
        """The backup in a folder, looked at quickly: manifest and sizes."""
        return _inspect(folder)

    @property
    def problem(self) -> str:
        """Why it is broken: its files, or what a proof has found; empty if nothing is known against it."""
        proof = self.manifest.proof if self.manifest else None
        if self.damage or proof is None or proof.good:
            return self.damage
        more = f" (and {len(proof.findings) - 1} more)" if len(proof.findings) > 1 else ""
        return f"it does not restore to what it held: {proof.findings[0]}{more}"

    @property
    def good(self) -> bool:
        """Whether nothing is known against it: all files have their recorded size, and no proof has failed.

        What the files hold is checked by `Repository.check_files`.
        """
        return not self.problem

    @property
    def proved(self) -> bool:
        """Whether it was restored once and nothing differed."""
        proof = self.manifest.proof if self.manifest else None
        return self.good and proof is not None and proof.good

    @property
    def state(self) -> str:
        """``proved``, ``unproved``, ``broken``, or ``newer``: written by a newer pliers-db."""
        if self.newer:
            return "newer"
        return "broken" if not self.good else "proved" if self.proved else "unproved"

    @property
    def database(self) -> str:
        """The database it was taken of; of a broken one the name of its folder."""
        return self.manifest.source.database if self.manifest else self.path.parent.name

    @property
    def taken_at(self) -> datetime:
        """When it was begun."""
        if self.manifest:
            return self.manifest.started_at
        found = _ID.fullmatch(self.id)
        if found is None:
            return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)
        return datetime.strptime(found[1], _TIME).replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A backup in the making: write its files into ``path``."""

    id: str
    path: Path
    database: str


class Repository:
    """The folder with the backups; see the module's text for its layout."""

    def __init__(self, root: Path) -> None:
        """:param root: an absolute path; it need not exist yet."""
        self.root = root
        self._incoming = root / ".incoming"
        self._trash = root / ".trash"
        self._logical = root / "logical"
        self.log = root / "log" / "nightly.log"

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return str(self.root)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────
    def backups(self, database: str | None = None) -> list[Backup]:
        """The backups, newest first.

        :param database: only those of this database.
        """
        folders = [f for f in self._logical.glob("*/*") if f.is_dir() and not f.name.startswith(".")]
        found = [_inspect(folder) for folder in folders]
        if database is not None:
            found = [b for b in found if b.database == (database if b.manifest else slug(database))]
        return sorted(found, key=lambda b: (b.taken_at, b.id), reverse=True)

    def find(self, name: str, database: str | None = None) -> Backup:
        """The backup that ``name`` means: ``latest``, an id, or the beginning of an id that only one has.

        :param database: ``latest`` is the newest of this database.
        :raises BackupNotFound: with the nearest ids.
        """
        if name == LATEST:
            return self._latest(database)
        every = {backup.id: backup for backup in self.backups()}
        if name in every:
            return every[name]
        fitting = [backup_id for backup_id in every if name and backup_id.startswith(name)]
        if len(fitting) == 1:
            return every[fitting[0]]
        near = fitting or get_close_matches(name, every, n=3, cutoff=0.5) or list(every)[:3]
        raise BackupNotFound(
            f"{len(fitting)} backups begin with {name!r}" if fitting else f"There is no backup {name!r}",
            why=(f"The nearest: {', '.join(near)}." if near else f"{self.root} holds no backup."),
            fix="pliers-db backup list" if near else "pliers-db backup create",
            nearest=near,
        )

    def _latest(self, database: str | None) -> Backup:
        if found := self.backups(database):
            return found[0]
        others = sorted({backup.database for backup in self.backups()})
        raise BackupNotFound(
            f"There is no backup of {database}" if database else "There is no backup",
            why=f"{self.root} holds backups of: {', '.join(others)}." if others else f"{self.root} holds no backup.",
            fix="Name one by its id: pliers-db backup list" if others else "pliers-db backup create",
        )

    def check_files(self, backup: Backup, reporter: Reporter = SILENT) -> Manifest:
        """Read every byte of a backup and compare it with the manifest.

        :raises BackupCorrupt: names the file.
        """
        if backup.manifest is None or backup.damage:
            raise self.corrupt(backup, backup.damage)
        manifest = backup.manifest
        with reporter.task("Checking", total=manifest.size_bytes, unit="bytes") as task:
            for file in manifest.files:
                task.note(file.path)
                if sha256_of(backup.path / file.path, task.advance) != file.sha256:
                    raise self.corrupt(backup, f"{file.path} has changed: its SHA-256 is not that of the manifest")
        return manifest

    def checked(self, backup: Backup, reporter: Reporter = SILENT) -> Backup:
        """The same backup after a look at every byte: broken if one differs."""
        if backup.damage:
            return backup
        try:
            self.check_files(backup, reporter)
        except BackupCorrupt as error:
            return replace(backup, damage=error.details["problem"])
        return backup

    def corrupt(self, backup: Backup, problem: str) -> BackupCorrupt | BackupTooNew:
        """The error about a backup that cannot be used, with another one to take."""
        if backup.newer:
            return BackupTooNew(
                f"Backup {backup.id} is too new for this pliers-db",
                why=f"{problem[:1].upper()}{problem[1:]}.",
                fix="pip install --upgrade pliers-db",
            )
        older = [b for b in self.backups(backup.database) if b.good and b.id != backup.id]
        return BackupCorrupt(
            f"Backup {backup.id} is damaged",
            why=f"{problem} ({backup.path}).",
            fix=f"Take another, for example: pliers-db restore {older[0].id}" if older else "pliers-db backup create",
            id=backup.id,
            problem=problem,
        )

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def locked(self, doing: str) -> Iterator[None]:
        """Be the only run that writes here.

        :param doing: what is shown to those who come meanwhile.
        :raises BackupRunning: another run is at it.
        """
        make_folder(self.root)
        # Python opens with O_CLOEXEC: pg_dump does not inherit the lock and keep it after we are gone.
        handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.pread(handle, 200, 0).decode(errors="replace").strip()
                raise BackupRunning(
                    f"Another backup run works in {self.root}",
                    why=f"Held by {holder or 'a process that has not said who it is'}.",
                    fix="Wait for it to end; the lock goes with its process.",
                ) from None
            os.truncate(handle, 0)
            os.pwrite(handle, f"{doing} (process {os.getpid()}, since {datetime.now(UTC):%FT%TZ})\n".encode(), 0)
            yield
        finally:
            os.close(handle)

    def sweep(self) -> list[str]:
        """Remove what runs that died have left; only under the lock.

        :returns: the ids of the unfinished backups.
        """
        left = sorted(f.name for f in self._incoming.glob("*"))
        for folder in (self._incoming, self._trash):
            for each in folder.glob("*"):
                shutil.rmtree(each)
        return left

    @contextmanager
    def incoming(self, database: str) -> Iterator[Incoming]:
        """A hidden folder for a new backup; it is gone at the end of the block unless it was published."""
        now = datetime.now(UTC).strftime(_TIME)
        backup_id = f"{now}-{slug(database)}-{''.join(secrets.choice(_ALPHABET) for _ in range(6))}"
        with self.arriving(backup_id, database) as incoming:
            yield incoming

    @contextmanager
    def arriving(self, backup_id: str, database: str) -> Iterator[Incoming]:
        """The same for a backup that was made elsewhere; only under the lock."""
        path = self._incoming / backup_id
        if path.exists():  # of a run that died
            shutil.rmtree(path)
        make_folder(path)
        try:
            yield Incoming(backup_id, path, database)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, incoming: Incoming, manifest: Manifest) -> Backup:
        """Give a finished backup its place; after this it survives a crash."""
        write_atomic(incoming.path / SUMS, sums_of(manifest))
        for file in manifest.files:
            (incoming.path / file.path).chmod(0o600)
            sync_file(incoming.path / file.path)
        write_atomic(incoming.path / manifests.FILE, manifest.to_json())
        home = self._logical / slug(incoming.database) / incoming.id
        make_folder(home.parent)
        incoming.path.rename(home)
        sync_folder(home.parent)
        sync_folder(self._incoming)
        return Backup(incoming.id, home, manifest)

    def record(self, backup: Backup, proof: Proof) -> Backup:
        """Write into the manifest what came of restoring the backup."""
        assert backup.manifest is not None
        manifest = replace(backup.manifest, proof=proof)
        write_atomic(backup.path / manifests.FILE, manifest.to_json())
        return Backup.of(backup.path)

    def remove(self, backup: Backup) -> bool:
        """Remove a backup; only under the lock.

        :returns: False if somebody reads it right now: then it stays.
        """
        handle = os.open(backup.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            make_folder(self._trash)
            gone = self._trash / backup.id
            backup.path.rename(gone)  # at once: a half removed backup never stands among the whole ones
            sync_folder(backup.path.parent)
            shutil.rmtree(gone)
            return True
        finally:
            os.close(handle)

    @contextmanager
    def reading(self, backup: Backup) -> Iterator[None]:
        """Keep a backup from being removed by retention while it is read."""
        handle = os.open(backup.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield
        finally:
            os.close(handle)


def _inspect(folder: Path) -> Backup:
    file = folder / manifests.FILE
    try:
        manifest = load_manifest(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Backup(folder.name, folder, None, f"{manifests.FILE} is missing")
    except NewerManifest as error:
        return Backup(folder.name, folder, None, str(error), newer=True)
    except (OSError, UnicodeDecodeError, BadManifest) as error:
        return Backup(folder.name, folder, None, f"{manifests.FILE} cannot be used: {error}")
    for stored in manifest.files:
        try:
            size = (folder / stored.path).stat().st_size
        except OSError:
            return Backup(folder.name, folder, manifest, f"{stored.path} is missing")
        if size != stored.size:
            problem = f"{stored.path} has {size:,} bytes instead of {stored.size:,}"
            return Backup(folder.name, folder, manifest, problem)
    return Backup(folder.name, folder, manifest)


def sums_of(manifest: Manifest) -> str:
    """The text of ``SHA256SUMS``, for ``sha256sum --check``."""
    return "".join(f"{file.sha256}  {file.path}\n" for file in manifest.files)


def slug(database: str) -> str:
    """A database's name as a folder's; two databases may share a folder, their manifests tell them apart."""
    return re.sub(r"[^a-z0-9_]+", "-", database.lower()).strip("-")[:40] or "db"
