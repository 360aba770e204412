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

from pliers_db.backup import unpack
from pliers_db.errors import BackupCorrupt
from pliers_db.progress import Reporter
from pliers_db.restore.material import Material
from pliers_db.units import format_size

_FOLDER = ".unpacked"
_MARGIN = 1.05


@contextmanager
def unpacked(material: Material, root: Path, reporter: Reporter) -> Iterator[Path | None]:
    """The archive as pg_restore can read it; None if there is no room to unpack it.

    :param root: the folder with the backups, on whose disk it is unpacked.
    """
    if not material.packed:
        yield material.dump
        return
    client = material.manifest.client if material.manifest else None
    needed = (client.raw_size or 0) if client else 0
    _sweep(root)
    free = shutil.disk_usage(root).free
    if free < needed * _MARGIN:
        reporter.warn(
            f"No room to unpack the archive ({format_size(needed)} needed, {format_size(free)} free in {root}): "
            "it is restored one table and index at a time"
        )
        yield None
        return
    folder = root / _FOLDER / secrets.token_hex(6)
    folder.mkdir(mode=0o700, parents=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # says that somebody works with it
        archive = folder / "dump.pgc"
        with reporter.task("Unpacking", total=needed, unit="bytes") as task:
            try:
                unpack(material.dump, archive, task.advance)
            except (ValueError, EOFError) as error:
                raise BackupCorrupt(f"{material.dump.name} is damaged", why=str(error)) from None
        yield archive
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _sweep(root: Path) -> None:
    """Remove what restores that were killed have left."""
    for folder in (root / _FOLDER).glob("*"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)
