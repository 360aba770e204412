"""How pg_dump is run: which one, in which format, with which compression.

The fastest safe way depends on what is installed (research, backup §2.1; benchmarks/backup.py measures it):

- pg_dump can compress with zstd (most builds from 16 on): the directory format, several tables at a time.
- It cannot: the custom format, uncompressed, through our own zstd. gzip takes several times as long.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from pliers_db.backup import age
from pliers_db.backup.pack import SUFFIX
from pliers_db.config import Target
from pliers_db.db import Connection
from pliers_db.errors import BadSetting, BinariesMissing
from pliers_db.postgres import Binaries, find_binaries, read_program, run_program
from pliers_db.postgres.binaries import speaks_tls

CATALOG_FILE = "catalog.json"
CUSTOM, DIRECTORY = "custom", "directory"
_COMPRESSION = re.compile(r"(zstd|gzip|lz4)(?::(\d{1,2}))?|none")
_LIMITS = {"zstd": 19, "gzip": 9, "lz4": 12}


@dataclass(frozen=True, slots=True)
class Compression:
    """``zstd:1``, ``gzip:6``, ``lz4``, ``none``."""

    method: str = "zstd"
    level: int | None = 1

    def __str__(self) -> str:
        return self.method if self.level is None else f"{self.method}:{self.level}"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The way a dump is made on this machine for one server."""

    binaries: Binaries
    format: str
    """`CUSTOM` or `DIRECTORY`."""
    compression: Compression = field(default_factory=Compression)
    packed: bool = False
    """Compressed by us on its way to the disk, not by pg_dump."""
    jobs: int = 1
    recipients: tuple[Any, ...] = ()
    """Encrypted to these."""

    @property
    def name(self) -> str:
        """The name of the dump's file or folder."""
        if self.format == DIRECTORY:
            return "dump"
        return "dump.pgc" + (SUFFIX if self.packed else "") + (age.SUFFIX if self.recipients else "")

    def arguments(self, snapshot: str, wait: float, folder: Path) -> list[str]:
        """pg_dump's arguments.

        :param snapshot: what ``pg_export_snapshot()`` gave.
        :param wait: how many seconds pg_dump waits for a table that somebody holds exclusively.
        :param folder: where the dump is written to; a packed one comes on stdout.
        """
        arguments = [
            f"--format={self.format}",
            f"--compress={self._level()}",
            f"--snapshot={snapshot}",
            f"--lock-wait-timeout={max(1, wait * 1000):.0f}",
            "--no-password",
        ]
        if self.format == DIRECTORY:
            arguments.append(f"--jobs={self.jobs}")
        if not self.packed:
            arguments.append(f"--file={folder / self.name}")
        return arguments

    def _level(self) -> str:
        if self.packed or self.compression.method == "none":
            return "0"
        if self.binaries.major < 16:
            return str(self.compression.level)  # a number, of gzip
        return str(self.compression)


def parse_compression(text: str, where: str) -> Compression:
    """Read ``zstd:3`` and the like.

    :param where: the option or setting, for the error.
    :raises BadSetting: it is none that exists.
    """
    found = _COMPRESSION.fullmatch(text)
    level = int(found[2]) if found and found[2] else None
    if found is None or (level is not None and not 0 < level <= _LIMITS[found[1]]):
        raise BadSetting(
            f"The compression is {text!r} ({where})",
            why="It is zstd:1 to zstd:19, gzip:1 to gzip:9, lz4, or none.",
            fix="Take zstd:1, the fastest that makes small files.",
        )
    if found[1] is None:
        return Compression("none", None)
    return Compression(found[1], {"zstd": 1, "gzip": 6}.get(found[1]) if level is None else level)


class Tls(Enum):
    """Whether a program's connection must be encrypted."""

    NO = "no"
    WANTED = "wanted"
    """Ours is, though nobody insists on it."""
    NEEDED = "needed"


def tls_for(conn: Connection, target: Target) -> Tls:
    """What a program needs that connects to where we are connected."""
    if target.needs_tls:
        return Tls.NEEDED
    return Tls.WANTED if conn.pgconn.ssl_in_use else Tls.NO


def choose_recipe(
    server_major: int,
    compression: Compression | None = None,
    jobs: int = 2,
    recipients: Sequence[Any] = (),
    tls: Tls = Tls.NO,
) -> Recipe:
    """The recipe for a server: the pg_dump of its own major version if there is one, else a newer one.

    An older pg_dump refuses a newer server; a newer one writes an archive that the server's own pg_restore cannot read.

    :param compression: default: zstd:1.
    :param jobs: how many tables at a time.
    :param recipients: encrypt to these; then we pack, so that nothing plain touches the disk.
    :param tls: whether its connection must be encrypted.
    :raises BinariesMissing: only older ones are here, or ones without TLS.
    :raises BadSetting: the pg_dump here cannot compress that way, nor can we.
    """
    binaries = find_clients(server_major, tls=tls)
    wanted = compression or Compression()
    if recipients:
        if wanted.method not in ("zstd", "none"):
            raise BadSetting(
                f"An encrypted backup cannot be compressed with {wanted.method}",
                why="It is packed by pliers-db, which compresses with zstd.",
                fix="Take zstd:1.",
            )
        return Recipe(binaries, CUSTOM, wanted, packed=True, recipients=tuple(recipients))
    if wanted.method in ("none", "gzip") or _can(binaries, wanted.method):
        return Recipe(binaries, DIRECTORY, wanted, jobs=jobs)
    if wanted.method != "zstd":
        raise BadSetting(
            f"pg_dump {client_version(binaries)} cannot compress with {wanted.method}",
            why=f"{binaries.bin} was built without it.",
            fix="Take zstd:1: what pg_dump lacks, pliers-db does itself.",
        )
    return Recipe(binaries, CUSTOM, wanted, packed=True)


def find_clients(at_least: int, best: int = 0, tls: Tls = Tls.NO) -> Binaries:
    """pg_dump and pg_restore of a version.

    :param at_least: the oldest major version that will do.
    :param best: the one to prefer; default: the oldest that will do.
    :param tls: whether their connection must be encrypted; only wanted: it goes without where nothing here can.
    :raises BinariesMissing: there are only older ones, or ones without TLS.
    """
    if tls is Tls.WANTED:
        with suppress(BinariesMissing):
            return find_clients(at_least, best, Tls.NEEDED)
    needed = tls is Tls.NEEDED
    for major in (max(best, at_least), at_least):
        try:
            return find_binaries(major, tls=needed)
        except BinariesMissing as error:
            missing = error
    try:
        newest = find_binaries(tls=needed)
    except BinariesMissing:
        raise missing from None
    if newest.major < at_least:
        raise missing
    return newest


def in_the_clear(binaries: Binaries, tls: Tls) -> str:
    """A word of warning if a program will connect without the encryption that our own connection has."""
    if tls is not Tls.WANTED or speaks_tls(binaries):
        return ""
    return (
        f"The programs in {binaries.bin} were built without TLS: their connection is not encrypted, though ours is "
        f"(apt-get install postgresql-client-{binaries.major}; sslmode=require refuses it)"
    )


def client_version(binaries: Binaries) -> str:
    """``18.6``, of ``pg_dump (PostgreSQL) 18.6``."""
    answer = read_program(binaries, "pg_dump", ["--version"])
    found = re.search(r"\d[\w.]*", answer)
    return found[0] if found else answer.strip()


@cache
def _can(binaries: Binaries, method: str) -> bool:
    """Ask pg_dump itself; it looks at its options before it looks for a server."""
    if binaries.major < 16:
        return False
    arguments = [f"--compress={method}", "--host=/nonexistent", "--no-password", "--file=/dev/null", "x"]
    answer = run_program(binaries, "pg_dump", arguments).stderr
    return "does not support compression" not in answer and "invalid" not in answer
