"""What is restored: a backup of the repository, or a file from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pliers_db.backup import LATEST, Backup, Manifest, Repository, find_clients
from pliers_db.errors import BackupCorrupt, BackupNotFound, ProgramFailed
from pliers_db.postgres import Binaries, read_program
from pliers_db.progress import Reporter

_MAGIC = b"PGDMP"
# The archive's version, 1.x in the bytes after the magic, moves with pg_dump (K_VERS_1_x of pg_backup_archiver.h).
_READERS = {**dict.fromkeys(range(15), 12), 15: 16, 16: 17}


@dataclass(frozen=True, slots=True)
class Material:
    """An archive of pg_dump, with the manifest if it is one of ours."""

    dump: Path
    """The archive: a file, or the folder of a directory format."""
    backup: Backup | None = None

    @classmethod
    def of(cls, backup: Backup) -> Material:
        """A backup of the repository whose manifest can be read."""
        assert backup.manifest is not None
        return cls(backup.path / backup.manifest.dump, backup)

    @property
    def name(self) -> str:
        """The backup's id, or the file's name."""
        return self.backup.id if self.backup else self.dump.name

    @property
    def manifest(self) -> Manifest | None:
        """What the backup holds; None for a file from elsewhere."""
        return self.backup.manifest if self.backup else None

    @property
    def packed(self) -> bool:
        """Whether pg_restore cannot read it as it is."""
        return self.manifest is not None and self.manifest.client.packed

    @property
    def client_major(self) -> int:
        """The oldest pg_restore that can read the archive."""
        if self.manifest:
            return self.manifest.client.major
        with self.dump.open("rb") as stream:
            header = stream.read(len(_MAGIC) + 2)
        return _READERS.get(header[len(_MAGIC) + 1], max(_READERS.values()))


def find_material(repository: Repository, name: str, database: str) -> Material:
    """What ``name`` means: ``latest`` (of ``database``), an id or its beginning, a backup's folder, or a dump file.

    :raises BackupNotFound: it is none of these.
    :raises BackupCorrupt: it is plainly damaged (`check_material` looks at every byte).
    """
    path = Path(name)
    if "/" in name or path.is_file():
        return _from_path(path)
    backup = repository.find(name, database)
    if backup.damage or (name == LATEST and not backup.good):  # asked for by its id, even a doubtful one is tried
        raise repository.corrupt(backup, backup.problem)
    return Material.of(backup)


def _from_path(path: Path) -> Material:
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
    if path.is_dir():
        raise BackupCorrupt(f"{path} is no backup", why="The folder holds no manifest.json.", fix="Name a dump file.")
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise BackupCorrupt(
                f"{path.name} is not an archive of pg_dump",
                why="It does not begin with PGDMP, as the custom format does.",
                fix=f"If it is plain SQL: psql --single-transaction -f {path.name}",
            )
    return Material(path)


def check_material(material: Material, repository: Repository, reporter: Reporter) -> None:
    """Read all of it before anything is written.

    :raises BackupCorrupt: it is damaged; names the file.
    """
    if material.backup is not None:
        repository.check_files(material.backup, reporter)
        return
    # No checksum to compare with: the best there is, is to have pg_restore read every block.
    reporter.warn(f"{material.name} has no manifest: it can be read through, but not be compared with anything")
    try:
        read_archive(material, find_clients(material.client_major))
    except ProgramFailed as error:
        raise BackupCorrupt(f"{material.name} is damaged", why=error.why, fix="pliers-db backup list") from None


def read_archive(material: Material, binaries: Binaries) -> None:
    """Have pg_restore decompress every block.

    :raises ProgramFailed: it cannot.
    """
    read_program(binaries, "pg_restore", ["--file=/dev/null", material.dump])
