"""Restoring a part: all definitions but the rows of some tables only, definitions only, or rows only.

pg_restore takes the list of an archive's entries back, with lines left out (``--use-list``). What is left out is
decided here. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from pliers_db.backup import Contents
from pliers_db.catalog import Snapshot, Table
from pliers_db.errors import NoSuchTable

# Entries that hold rows of other tables, or are made of them.
_ROWS = re.compile(r"^\d+; \d+ \d+ (?:TABLE DATA|MATERIALIZED VIEW DATA|BLOBS?|BLOB METADATA|LARGE OBJECTS?)\b")
_ENTRY = re.compile(r"^\d+; \d+ \d+ (TABLE DATA|FK CONSTRAINT|SEQUENCE SET) (.*)$")
YOYO = ("_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which part of a backup is restored; the default is all of it."""

    only: tuple[str, ...] = ()
    """Rows of these tables only (paths as in SQL)."""
    schema_only: bool = False
    data_only: bool = False

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return not (self.only or self.schema_only or self.data_only)


def find_tables(names: Iterable[str], catalog: Snapshot) -> list[Table]:
    """The tables that are meant, each with its partitions.

    :param names: ``orders``, ``public.orders``, ``public."Odd name"``.
    :raises NoSuchTable: with the nearest names.
    """
    tables = {table.path: table for table in catalog.tables if table.kind in ("table", "partitioned table")}
    found: dict[str, Table] = {}
    for name in names:
        fitting = [
            table for path, table in tables.items() if name in (path, table.name, f"{table.schema}.{table.name}")
        ]
        if len(fitting) != 1:
            near = [t.path for t in fitting] or get_close_matches(name, [*tables, *(t.name for t in tables.values())])
            raise NoSuchTable(
                f"{'Several tables are' if fitting else 'There is no table'} called {name}",
                why=f"The backup has {', '.join(near)}." if near else "The backup has none with a name like it.",
                fix="Write it with its schema, as in public.orders.",
            )
        found |= {table.path: table for table in _with_partitions(fitting[0], tables.values())}
    return list(found.values())


def _with_partitions(table: Table, tables: Collection[Table]) -> list[Table]:
    parts = [part for part in tables if table.path in part.parents and part.partition_bound is not None]
    return [table, *(each for part in parts for each in _with_partitions(part, tables))]


def filter_rows(listing: str, chosen: Collection[Table]) -> str:
    """The list of an archive without the rows of other tables, and without foreign keys that could not hold.

    :param listing: what ``pg_restore --list`` says.
    """
    paths = {table.path for table in chosen}
    rows = tuple(f"{table.schema} {table.name} " for table in chosen)
    loose = tuple(
        f"{table.schema} {table.name} {constraint.name} "
        for table in chosen
        for constraint in table.constraints
        if constraint.kind == "foreign key" and constraint.references not in paths
    )
    kept = []
    for line in listing.splitlines():
        entry = _ENTRY.match(line)
        if entry and entry[1] == "TABLE DATA":
            keep = entry[2].startswith(rows)
        elif entry and entry[1] == "FK CONSTRAINT":
            keep = not entry[2].startswith(loose) if loose else True
        else:
            keep = not _ROWS.match(line)
        if keep:
            kept.append(line)
    return "\n".join(kept) + "\n"


def without_history(listing: str) -> str:
    """The list of an archive without the rows of yoyo's tables: they tell which definitions a database has."""
    names = "|".join(YOYO)
    history = re.compile(rf"^\d+; \d+ \d+ TABLE DATA \S+ (?:{names}) ")
    return "\n".join(line for line in listing.splitlines() if not history.match(line)) + "\n"


def part_of(contents: Contents, scope: Scope, chosen: Collection[Table]) -> Contents:
    """What of a backup's contents a partial restore must have brought back."""
    if scope.whole:
        return contents
    if scope.schema_only:
        return Contents((), (), 0)
    if scope.only:
        paths = {table.path for table in chosen}
        return Contents(tuple(t for t in contents.tables if t.path in paths), (), 0)
    ours = tuple(t for t in contents.tables if t.path.rpartition(".")[2] not in YOYO)
    return Contents(ours, contents.sequences, contents.large_objects, contents.large_objects_hash)
