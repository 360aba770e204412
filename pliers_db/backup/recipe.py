"""How pg_dump is run: which one, in which format, with which compression."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from pliers_db.errors import BinariesMissing
from pliers_db.postgres import Binaries, find_binaries, read_program, run_program

DUMP_FILE = "dump.pgc"
CATALOG_FILE = "catalog.json"
CUSTOM = "custom"
# Levels: research, backup §2.1. gzip's default (6) takes 3.7 times as long as 1 and saves 13 %.
ZSTD, GZIP = "zstd:1", "gzip:1"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The way a dump is made on this machine for one server."""

    binaries: Binaries
    compression: str

    def arguments(self, snapshot: str, wait: float) -> list[str]:
        """pg_dump's arguments but for the file.

        :param snapshot: what ``pg_export_snapshot()`` gave.
        :param wait: how many seconds pg_dump waits for a table that somebody holds exclusively.
        """
        old = self.binaries.major < 16  # takes a number, of gzip
        level = self.compression.removeprefix("gzip:") if old else self.compression
        return [
            "--format=custom",
            f"--compress={level}",
            f"--snapshot={snapshot}",
            f"--lock-wait-timeout={max(1, wait * 1000):.0f}",
            "--no-password",
        ]


def choose_recipe(server_major: int) -> Recipe:
    """The recipe for a server: the pg_dump of its own major version if there is one, else a newer one.

    An older pg_dump refuses a newer server; a newer one writes an archive that the server's own pg_restore cannot read.

    :raises BinariesMissing: only older ones are here.
    """
    binaries = find_clients(server_major)
    return Recipe(binaries, ZSTD if _has_zstd(binaries) else GZIP)


def find_clients(at_least: int, best: int = 0) -> Binaries:
    """pg_dump and pg_restore of a version.

    :param at_least: the oldest major version that will do.
    :param best: the one to prefer; default: the oldest that will do.
    :raises BinariesMissing: there are only older ones.
    """
    for major in (max(best, at_least), at_least):
        try:
            return find_binaries(major)
        except BinariesMissing as error:
            missing = error
    newest = find_binaries()
    if newest.major < at_least:
        raise missing
    return newest


def client_version(binaries: Binaries) -> str:
    """``18.6``, of ``pg_dump (PostgreSQL) 18.6``."""
    answer = read_program(binaries, "pg_dump", ["--version"])
    found = re.search(r"\d[\w.]*", answer)
    return found[0] if found else answer.strip()


@cache
def _has_zstd(binaries: Binaries) -> bool:
    """Ask pg_dump itself; it looks at its options before it looks for a server."""
    if binaries.major < 16:
        return False
    arguments = ["--compress=zstd:1", "--host=/nonexistent", "--no-password", "--file=/dev/null", "x"]
    answer = run_program(binaries, "pg_dump", arguments).stderr
    return "does not support compression" not in answer and "invalid" not in answer
