"""Making a packed archive readable for pg_restore: unpacked beside the backups for as long as the restore takes.

pg_restore works on several tables and indexes at a time only from a file. Where there is no room for one, it is fed
through a pipe, one table after the other.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pliers_db.backup import make_folder, unpack
from pliers_db.progress import Reporter
from pliers_db.restore.material import Material
from pliers_db.restore.shape import Kind
from pliers_db.units import format_size

_FOLDER = ".unpacked"
_MARGIN = 1.05
_GUESS = 5.0  # times a packed file from elsewhere, whose real size nobody knows


@contextmanager
def unpacked(material: Material, root: Path, reporter: Reporter) -> Iterator[Path | None]:
    """The archive as pg_restore can read it; None if it is to be fed through a pipe: plain SQL, or no room.

    :param root: the folder with the backups, on whose disk it is unpacked.
    :raises BackupCorrupt: a layer is damaged.
    """
    if material.shape.kind is Kind.PLAIN:
        yield None
        return
    if not material.shape.layered:
        yield material.dump
        return
    manifest = material.manifest
    known = manifest.client.raw_size if manifest else None
    needed = known if known is not None else int(material.dump.stat().st_size * _GUESS)
    with workplace(root) as folder:
        free = shutil.disk_usage(root).free
        if free < needed * _MARGIN:
            reporter.warn(
                f"No room to unpack the archive ({format_size(needed)} needed, {format_size(free)} free in {root}): "
                "it is restored one table and index at a time"
            )
            yield None
            return
        archive = folder / "dump"
        with reporter.task("Unpacking", total=needed, unit="bytes") as task:
            unpack(material.dump, archive, material.identities, task.advance)
        yield archive


@contextmanager
def workplace(root: Path) -> Iterator[Path]:
    """A folder of our own beside the backups, gone at the end; what killed restores have left is removed before."""
    _sweep(root)
    make_folder(root / _FOLDER)
    while True:
        folder = root / _FOLDER / secrets.token_hex(6)
        folder.mkdir(mode=0o700)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX)  # says that somebody works with it
        if folder.is_dir():
            break
        os.close(handle)  # somebody's sweep came between making and locking it
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _sweep(root: Path) -> None:
    for folder in (root / _FOLDER).glob("*"):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)
