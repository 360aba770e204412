"""Telling what kind of dump a file is, by its first bytes; names prove nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pliers_db.backup import opened

_MAGIC = b"PGDMP"
_HEAD = 8192
# The archive's version, 1.x in the bytes after the magic, moves with pg_dump (K_VERS_1_x of pg_backup_archiver.h).
_READERS = {**dict.fromkeys(range(15), 12), 15: 16, 16: 17}
_DUMPED_FROM = re.compile(rb"Dumped from database version:? (\d+)")
_SQL = re.compile(
    rb"\A(?:\s|--[^\n]*\n|/\*.*?\*/|\\restrict \w+\n)*(?:set|select|create|insert|copy|begin|alter|drop)\b",
    re.IGNORECASE | re.DOTALL,
)


class Kind(StrEnum):
    """The formats of pg_dump."""

    CUSTOM = "custom"
    DIRECTORY = "directory"
    TAR = "tar"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a dump is."""

    kind: Kind
    layered: bool
    """Compressed or encrypted around: to be unpacked before pg_restore can read it."""
    client_major: int = 0
    """The oldest pg_restore that can read it; 0: any."""
    server_major: int | None = None
    """The version of the server it was made of, if that is known."""


def recognise(path: Path, identities: Sequence[Any] = ()) -> Shape | None:
    """What a file or folder is; None if it is no dump.

    :param identities: keys, if it is encrypted.
    """
    if path.is_dir():
        toc = path / "toc.dat"
        if not toc.is_file():
            return None
        return Shape(Kind.DIRECTORY, False, _client(toc.read_bytes()[:_HEAD]))
    with path.open("rb") as raw:
        first = raw.read(_HEAD)
    with opened(path, identities) as stream:
        head = stream.read(_HEAD)
    layered = first[: len(head)] != head
    if head.startswith(_MAGIC):
        return Shape(Kind.CUSTOM, layered, _client(head))
    if head[257:262] == b"ustar" and head[:8].startswith(b"toc.dat"):
        return Shape(Kind.TAR, layered, _client(head[512:]))
    if b"\0" not in head and _SQL.search(head):
        found = _DUMPED_FROM.search(head)
        return Shape(Kind.PLAIN, layered, 0, int(found[1]) if found else None)
    return None


def _client(header: bytes) -> int:
    minor = header[len(_MAGIC) + 1] if header.startswith(_MAGIC) and len(header) > len(_MAGIC) + 1 else 0
    return _READERS.get(minor, max(_READERS.values()))
