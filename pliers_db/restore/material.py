"""What is restored: a backup of the repository, or a dump from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pliers_db.backup import LATEST, Backup, Manifest, Repository, pieces
from pliers_db.errors import BackupCorrupt, BackupNotFound
from pliers_db.restore.shape import Kind, Shape, recognise


@dataclass(frozen=True, slots=True)
class Material:
    """A dump, with the manifest if it is one of ours."""

    dump: Path
    """A file, or the folder of a directory format."""
    shape: Shape
    backup: Backup | None = None
    identities: tuple[Any, ...] = ()
    """Keys to decrypt it with."""

    @classmethod
    def of(cls, backup: Backup, identities: Sequence[Any] = ()) -> Material:
        """A backup of the repository whose manifest can be read."""
        manifest = backup.manifest
        assert manifest is not None
        client = manifest.client
        shape = Shape(Kind(client.format), client.packed, client.major, manifest.source.server_major)
        return cls(backup.path / manifest.dump, shape, backup, tuple(identities))

    @property
    def name(self) -> str:
        """The backup's id, or the file's name."""
        return self.backup.id if self.backup else self.dump.name

    @property
    def manifest(self) -> Manifest | None:
        """What the backup holds; None for a dump from elsewhere."""
        return self.backup.manifest if self.backup else None

    def read(self, name: str) -> bytes | None:
        """One of the backup's small files, decrypted; None if there is no such file.

        :param name: as it is called where nothing is encrypted: ``catalog.json``.
        """
        if self.manifest is None or self.backup is None:
            return None
        stored = next((f.path for f in self.manifest.files if f.path in (name, f"{name}.age")), None)
        return None if stored is None else b"".join(pieces(self.backup.path / stored, self.identities))


def find_material(repository: Repository, name: str, database: str, identities: Sequence[Any] = ()) -> Material:
    """What ``name`` means: ``latest`` (of ``database``), an id or its beginning, a backup's folder, or a dump.

    :param identities: keys to decrypt it with.
    :raises BackupNotFound: it is none of these.
    :raises BackupCorrupt: it is plainly damaged, or no dump at all.
    """
    path = Path(name)
    if "/" in name or path.is_file():
        return replace(_from_path(path, identities), identities=tuple(identities))
    backup = repository.find(name, database)
    if backup.damage or (name == LATEST and not backup.good):  # asked for by its id, even a doubtful one is tried
        raise repository.corrupt(backup, backup.problem)
    return Material.of(backup, identities)


def _from_path(path: Path, identities: Sequence[Any]) -> Material:
    path = path.resolve()
    folder = path if path.is_dir() else path.parent
    if (folder / "manifest.json").is_file() and (path == folder or path.name.startswith(("dump", "manifest"))):
        backup = Backup.of(folder)
        if backup.damage:
            raise Repository(folder.parents[2]).corrupt(backup, backup.damage)
        return Material.of(backup)
    if not path.exists():
        raise BackupNotFound(
            f"There is no file {path}",
            why="A name with a slash is a path; an id has none.",
            fix="pliers-db backup list",
        )
    shape = recognise(path, identities)
    if shape is None:
        raise BackupCorrupt(
            f"{path.name} is no dump",
            why="It is neither an archive of pg_dump (custom, directory, tar) nor SQL, plain, gzip or zstd.",
            fix="Name the file that pg_dump has written.",
        )
    return Material(path, shape)
