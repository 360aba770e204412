"""Reading what a database holds, in the snapshot of the connection's transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import sql

from pliers_db.backup.manifest import Contents, TableContent
from pliers_db.db import Connection, load_queries

_QUERIES = load_queries("pliers_db.backup", "sql/contents.sql")


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows belong into a dump."""

    oid: int
    schema: str
    name: str
    readable: bool
    """Whether our role may select from it."""
    filtered: bool
    """Whether row-level security would hide rows from our role."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def read_tables(conn: Connection) -> list[Table]:
    """The tables whose rows pg_dump writes."""
    return [Table(*row) for row in conn.execute(_QUERIES["tables"])]


def read_contents(
    conn: Connection, tables: Sequence[Table], done: Callable[[Table], None] = lambda table: None
) -> Contents:
    """Count the rows of the tables and the objects of each kind.

    :param done: called after each table.
    """
    found = []
    for table in tables:
        # "only": the rows of children are counted at the children.
        query = sql.SQL("select count(*) from only {}").format(sql.Identifier(table.schema, table.name))
        row = conn.execute(query).fetchone()
        assert row is not None
        found.append(TableContent(table.schema, table.name, row[0]))
        done(table)
    objects = dict(conn.execute(_QUERIES["objects"]).fetchall())
    return Contents(tuple(found), objects)


def differences(expected: Contents, found: Contents) -> list[str]:
    """What differs between two databases that should hold the same, in words; empty if nothing does."""
    words = []
    before = {str(table): table for table in expected.tables}
    after = {str(table): table for table in found.tables}
    words += [f"table {name} is missing" for name in before.keys() - after.keys()]
    words += [f"table {name} was not in the backup" for name in after.keys() - before.keys()]
    for name in before.keys() & after.keys():
        if before[name].rows != after[name].rows:
            words.append(f"table {name} has {after[name].rows:,} rows instead of {before[name].rows:,}")
    for kind in expected.objects.keys() | found.objects.keys():
        wanted, there = expected.objects.get(kind, 0), found.objects.get(kind, 0)
        if wanted != there:
            words.append(f"{there} {kind} instead of {wanted}")
    return sorted(words)
