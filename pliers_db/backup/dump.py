"""Running pg_dump, and believing it only when the archive holds what it should."""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from pliers_db.backup.contents import DumpedTable
from pliers_db.backup.files import sha256_of
from pliers_db.backup.manifest import StoredFile
from pliers_db.backup.pack import packing
from pliers_db.backup.recipe import Recipe
from pliers_db.config import Target
from pliers_db.errors import BackupFailed, BackupServerGone
from pliers_db.postgres import Finished, Program, read_program, start_program
from pliers_db.postgres.programs import DEVNULL, PIPE
from pliers_db.progress import Reporter, Task

_GONE = re.compile(
    r"server closed the connection|terminating connection|connection to server|no connection to the server"
    r"|connection has been closed|could not receive data|shutting down"
)
_TOC_DATA = re.compile(r"^\d+; \d+ (\d+) TABLE DATA ", re.MULTILINE)
_CHUNK = 1 << 18
_HASHERS = 4


@dataclass(frozen=True, slots=True)
class Dumped:
    """A dump on the disk."""

    files: tuple[StoredFile, ...]
    warnings: tuple[str, ...]
    raw_size: int | None
    """Bytes before packing, if we have packed it."""


@dataclass(frozen=True, slots=True)
class Dump:
    """One run of pg_dump."""

    recipe: Recipe
    target: Target
    folder: Path
    snapshot: str
    wait: float
    application_name: str

    def run(self, tables: Sequence[DumpedTable], tick: Callable[[], None], task: Task, reporter: Reporter) -> Dumped:
        """Dump, and check the archive.

        :param tables: whose data the archive must hold.
        :param tick: called often meanwhile; what it raises ends the dump.
        :raises BackupFailed: it did not work; the folder may hold a part of it.
        :raises OSError: the disk is full (ENOSPC).
        """
        if self.recipe.packed:
            dumped, listing = self._packed(tick, task)
        else:
            dumped, listing = self._plain(tick, task, reporter)
        _check_complete(listing, tables)
        return dumped

    def _plain(self, tick: Callable[[], None], task: Task, reporter: Reporter) -> tuple[Dumped, str]:
        place = self.folder / self.recipe.name
        growth = _Growth(place)
        with self._start() as program:

            def look() -> None:
                task.advance(growth.since())
                tick()

            finished = program.wait(look, every=0.2)
        _check(finished)
        listing = read_program(self.recipe.binaries, "pg_restore", ["--list", place])
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        return Dumped(stored(self.folder, files, reporter), tuple(finished.stderr.splitlines()), None), listing

    def _packed(self, tick: Callable[[], None], task: Task) -> tuple[Dumped, str]:
        level = self.recipe.compression.level or 1
        with (
            tempfile.TemporaryFile() as answer,
            start_program(self.recipe.binaries, "pg_restore", ["--list"], stdin=PIPE, stdout=answer) as lister,
            self._start(stdout=PIPE) as program,
            packing(self.folder / self.recipe.name, level=level, recipients=self.recipe.recipients) as packer,
        ):
            listening = True  # pg_restore --list reads the table of contents at the front, and leaves
            while data := program.stdout.read1(_CHUNK):  # type: ignore[attr-defined]
                before = packer.size
                packer.write(data)
                if listening:
                    listening = _tell(lister, data)
                task.advance(packer.size - before)
                tick()
            finished = program.wait(tick)
            _check(finished)
            lister.wait().check()
            answer.seek(0)
            listing = answer.read().decode(errors="replace")
        return Dumped((packer.stored,), tuple(finished.stderr.splitlines()), packer.raw_size), listing

    def _start(self, stdout: int = DEVNULL) -> AbstractContextManager[Program]:
        return start_program(
            self.recipe.binaries,
            "pg_dump",
            self.recipe.arguments(self.snapshot, self.wait, self.folder),
            target=self.target,
            application_name=self.application_name,
            stdout=stdout,
        )


def stored(folder: Path, files: Sequence[Path], reporter: Reporter) -> tuple[StoredFile, ...]:
    """The files with their checksums, as the manifest lists them."""
    sizes = {file: file.stat().st_size for file in files}
    with (
        reporter.task("Hashing", total=sum(sizes.values()), unit="bytes") as task,
        ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash") as threads,
    ):
        sums = threads.map(sha256_of, files)
        found = []
        for file, digest in zip(files, sums, strict=True):
            found.append(StoredFile(str(file.relative_to(folder)), sizes[file], digest))
            task.advance(sizes[file])
    return tuple(found)


def _tell(lister: Program, data: bytes) -> bool:
    with suppress(BrokenPipeError):
        lister.stdin.write(data)
        lister.stdin.flush()
        return True
    return False


def _check(finished: Finished) -> None:
    if finished.returncode == 0:
        return
    why = finished.stderr.strip() or f"It ended with {finished.returncode} and said nothing."
    if _GONE.search(why):
        raise BackupServerGone(
            why=why, fix="Check the server, then run it again; the unfinished backup has been removed."
        )
    if ("No space left on device" in why or "Disk quota exceeded" in why) and "from server" not in why:
        raise OSError(errno.ENOSPC, why)
    if "lock timeout" in why:
        raise BackupFailed(
            "A table stayed locked; no partial backup is left", why=why, fix="Find who holds it, or raise --wait."
        )
    if finished.returncode < 0:
        raise BackupFailed("pg_dump was killed; no partial backup is left", why=why, fix="Run it again.")
    raise BackupFailed("pg_dump failed; no partial backup is left", why=why)


def _check_complete(listing: str, tables: Sequence[DumpedTable]) -> None:
    """An archive that pg_restore can read and that has the data of exactly the tables of the snapshot."""
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
    """How much a file or folder has grown since the last look."""

    def __init__(self, place: Path) -> None:
        self._place, self._seen = place, 0

    def since(self) -> int:
        with suppress(FileNotFoundError):
            files = self._place.iterdir() if self._place.is_dir() else [self._place]
            size = sum(file.stat().st_size for file in files)
            grown, self._seen = size - self._seen, size
            return grown
        return 0
