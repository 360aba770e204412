"""Backups in an object store.

    <url>/<database>/<id>/<file>          each with the SHA-256 that the manifest says
    <url>/<database>/<id>/manifest.json   stored last: what lacks it is no backup

A push that dies leaves objects without a manifest; the next push of the same backup goes over them, and `prune` removes
what nobody has finished within a day.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path

from pliers_db.backup import manifest as manifests
from pliers_db.backup.manifest import BadManifest, NewerManifest, StoredFile, load_manifest
from pliers_db.backup.repository import LATEST, SUMS, Backup, Repository, slug, sums_of
from pliers_db.backup.retention import Candidate, Retention, Verdict, decide
from pliers_db.backup.store import Store, Stored
from pliers_db.errors import BackupNotFound
from pliers_db.progress import SILENT, Reporter

_KEY = re.compile(r"(?:(?P<folder>.+)/)?(?P<id>\d{8}T\d{6}Z-[^/]+-[a-z2-7]{6})/(?P<file>.+)")
_CHUNK = 1 << 20
_ABANDONED = timedelta(days=1)


class Remote:
    """The backups under one URL."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return self.store.url

    def backups(self, database: str | None = None) -> list[Backup]:
        """The complete ones, newest first; ``path`` is relative to the URL.

        :param database: only those of this database.
        :raises RemoteFailed: the store does not answer.
        """
        found = [
            self._inspect(folder, objects) for folder, objects in self._folders().items() if manifests.FILE in objects
        ]
        if database is not None:
            found = [b for b in found if b.database == (database if b.manifest else slug(database))]
        return sorted(found, key=lambda b: (b.taken_at, b.id), reverse=True)

    def find(self, name: str, database: str | None = None) -> Backup:
        """A backup by its id, the beginning of it, or ``latest``: the newest good one of the database.

        :raises BackupNotFound: with the nearest ids.
        """
        if name == LATEST:
            good = [backup for backup in self.backups(database) if backup.good]
            if good:
                return good[0]
            raise BackupNotFound(
                f"There is no backup of {database} in {self.store.url}" if database else f"{self.store.url} is empty",
                fix="pliers-db backup push",
            )
        every = {backup.id: backup for backup in self.backups()}
        fitting = [backup_id for backup_id in every if name and backup_id.startswith(name)]
        if name in every or len(fitting) == 1:
            return every[name if name in every else fitting[0]]
        near = fitting or get_close_matches(name, every, n=3, cutoff=0.5) or list(every)[:3]
        raise BackupNotFound(
            f"There is no backup {name!r} in {self.store.url}",
            why=f"The nearest: {', '.join(near)}." if near else "It holds no backup.",
            fix="pliers-db backup list --remote",
            nearest=near,
        )

    def push(self, repository: Repository, backup: Backup, reporter: Reporter = SILENT) -> bool:
        """Copy a backup there; every byte is compared with the manifest on its way.

        :returns: False if it was there already.
        :raises BackupCorrupt: a file here is damaged; nothing there looks complete.
        :raises RemoteFailed: the store does not take it.
        """
        if backup.manifest is None or not backup.good:
            raise repository.corrupt(backup, backup.problem)
        folder = f"{slug(backup.database)}/{backup.id}"
        with repository.reading(backup):
            there = {each.path.removeprefix(f"{folder}/"): each for each in self.store.objects(folder)}
            sealed = backup.manifest.to_json().encode()
            if manifests.FILE in there and self._holds(backup, there):
                if self.store.read(f"{folder}/{manifests.FILE}") != sealed:
                    self.store.write(f"{folder}/{manifests.FILE}", sealed)  # it has been proved meanwhile
                return False
            if manifests.FILE in there:  # damaged there: no longer complete until it is whole again
                self.store.delete([f"{folder}/{manifests.FILE}"])
            with reporter.task(f"Pushing {backup.id}", total=backup.manifest.size_bytes, unit="bytes") as task:
                for file in backup.manifest.files:
                    task.note(file.path)
                    pieces = _checked(_pieces_of(backup.path / file.path), file, repository, backup)
                    self.store.upload(f"{folder}/{file.path}", pieces, file.size, task.advance)
            self.store.write(f"{folder}/{SUMS}", sums_of(backup.manifest).encode())
            there = {each.path.removeprefix(f"{folder}/"): each for each in self.store.objects(folder)}
            if not self._holds(backup, there):
                raise repository.corrupt(backup, f"{self.store.url} shows other sizes than were sent")
            self.store.write(f"{folder}/{manifests.FILE}", sealed)
        return True

    def push_new(self, repository: Repository, database: str, reporter: Reporter = SILENT) -> list[Backup]:
        """Push the good backups of a database that are newer than the newest there."""
        there = [backup.taken_at for backup in self.backups(database) if backup.good]
        newest = max(there, default=None)
        missing = [b for b in repository.backups(database) if b.good and (newest is None or b.taken_at > newest)]
        for backup in reversed(missing):
            self.push(repository, backup, reporter)
        return missing

    def pull(self, repository: Repository, backup: Backup, reporter: Reporter = SILENT) -> Backup:
        """Bring a backup here; it stands in the repository only after every byte was compared with its manifest.

        :returns: the one in the repository; the one that is there already, if it is good.
        :raises BackupCorrupt: it is damaged there.
        :raises RemoteFailed: the store does not answer.
        """
        if backup.manifest is None or not backup.good:
            raise repository.corrupt(backup, backup.problem)
        with repository.locked("backup pull"):
            here = next((each for each in repository.backups() if each.id == backup.id), None)
            if here is not None and here.good:
                return here
            if here is not None:
                raise repository.corrupt(here, f"a damaged one stands in its place: {here.problem}; remove {here.path}")
            with (
                repository.arriving(backup.id, backup.database) as incoming,
                reporter.task(f"Pulling {backup.id}", total=backup.manifest.size_bytes, unit="bytes") as task,
            ):
                for file in backup.manifest.files:
                    task.note(file.path)
                    pieces = self.store.pieces(f"{backup.path}/{file.path}")
                    _write(incoming.path / file.path, _checked(pieces, file, repository, backup), task.advance)
                return repository.publish(incoming, backup.manifest)

    def checked(self, backup: Backup, reporter: Reporter = SILENT) -> Backup:
        """The same backup after every byte of it was read: broken if one differs."""
        if backup.damage or backup.manifest is None:
            return backup
        with reporter.task(f"Checking {backup.id}", total=backup.manifest.size_bytes, unit="bytes") as task:
            for file in backup.manifest.files:
                digest = hashlib.sha256()
                for piece in self.store.pieces(f"{backup.path}/{file.path}"):
                    digest.update(piece)
                    task.advance(len(piece))
                if digest.hexdigest() != file.sha256:
                    return replace(backup, damage=_changed(file))
        return backup

    def plan_prune(self, rules: Retention, database: str) -> list[Verdict]:
        """What stays and what goes there, by the same rules as here. Broken ones neither count nor go."""
        good = [backup for backup in self.backups(database) if backup.good]
        return decide([Candidate(b.id, b.taken_at, b.proved) for b in good], rules)

    def prune(self, rules: Retention, database: str, reporter: Reporter = SILENT) -> list[Verdict]:
        """Remove what the rules no longer keep, and what pushes that died have left.

        :returns: the verdicts on those that are gone.
        """
        folders = self._folders()
        paths = {backup.id: str(backup.path) for backup in self.backups(database)}
        removed = []
        for verdict in self.plan_prune(rules, database):
            if not verdict.keep:
                self._remove(folders[paths[verdict.id]])
                reporter.info(f"Removed {verdict.id} from {self.store.url}: {verdict.reason}")
                removed.append(verdict)
        before = datetime.now(UTC) - _ABANDONED
        for folder, objects in folders.items():
            if manifests.FILE not in objects and all(each.changed_at < before for each in objects.values()):
                self._remove(objects)
                reporter.info(f"Removed {folder} from {self.store.url}: its push never ended")
        return removed

    def _remove(self, objects: dict[str, Stored]) -> None:
        """The manifest first: a half removed backup never looks complete."""
        ordered = sorted(objects, key=lambda name: name != manifests.FILE)
        self.store.delete([objects[name].path for name in ordered])

    def _folders(self) -> dict[str, dict[str, Stored]]:
        found: dict[str, dict[str, Stored]] = {}
        for each in self.store.objects():
            if key := _KEY.fullmatch(each.path):
                folder = each.path.removesuffix(f"/{key['file']}")
                found.setdefault(folder, {})[key["file"]] = each
        return found

    def _inspect(self, folder: str, objects: dict[str, Stored]) -> Backup:
        path, backup_id = Path(folder), Path(folder).name
        try:
            manifest = load_manifest(self.store.read(f"{folder}/{manifests.FILE}").decode())
        except NewerManifest as error:
            return Backup(backup_id, path, None, str(error), newer=True)
        except (UnicodeDecodeError, BadManifest) as error:
            return Backup(backup_id, path, None, f"{manifests.FILE} cannot be used: {error}")
        for file in manifest.files:
            if file.path not in objects:
                return Backup(backup_id, path, manifest, f"{file.path} is missing")
            if objects[file.path].size != file.size:
                problem = f"{file.path} has {objects[file.path].size:,} bytes instead of {file.size:,}"
                return Backup(backup_id, path, manifest, problem)
        return Backup(backup_id, path, manifest)

    def _holds(self, backup: Backup, objects: dict[str, Stored]) -> bool:
        assert backup.manifest is not None
        return all(f.path in objects and objects[f.path].size == f.size for f in backup.manifest.files)


def _pieces_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            yield piece


def _checked(pieces: Iterator[bytes], file: StoredFile, repository: Repository, backup: Backup) -> Iterator[bytes]:
    """The same pieces; an error instead of the last one if they are not what the manifest says.

    :raises BackupCorrupt: the SHA-256 differs.
    """
    digest, held = hashlib.sha256(), b""
    for piece in pieces:
        digest.update(piece)
        if held:
            yield held
        held = piece
    if digest.hexdigest() != file.sha256:
        raise repository.corrupt(backup, _changed(file))
    if held:
        yield held


def _changed(file: StoredFile) -> str:
    return f"{file.path} has changed: its SHA-256 is not that of the manifest"


def _write(file: Path, pieces: Iterator[bytes], tick: Callable[[int], None]) -> None:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    with file.open("xb") as stream:
        for piece in pieces:
            stream.write(piece)
            tick(len(piece))
