"""Files that are on the disk when we say so: hashing, fsync, atomic writes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

_CHUNK = 1 << 20


def sha256_of(file: Path, tick: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file, as hex.

    :param tick: called with the number of bytes of each piece.
    """
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            digest.update(piece)
            if tick:
                tick(len(piece))
    return digest.hexdigest()


def sync_file(file: Path) -> None:
    """Have the disk hold the file's content."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


sync_folder = sync_file
"""Have the disk hold the folder's entries: a rename is safe only after that."""


def write_atomic(file: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that a crash leaves the old content or the new one, never a part."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def make_folder(folder: Path) -> None:
    """Create a folder (0700) and its missing parents, on disk when this returns."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        sync_folder(each.parent)
