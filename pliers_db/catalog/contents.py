"""What the columns of a table hold: a digest of each, to say which of them has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from pliers_db.catalog.digest import TableDigest
from pliers_db.catalog.session import pinned, pipelined
from pliers_db.db import Connection

_WHOLE = sql.SQL("select count(*), coalesce(sum(hashtextextended((row({}))::text, 0)::numeric), 0)::text from {} as t")
_PART = sql.SQL(
    "count(t.{0}), coalesce(sum(hashtextextended(t.{0}::text, 0)::numeric), 0)::text, min(left(t.{0}::text, 40))"
)
_PER_QUERY = 400
"""Columns whose digests are read at once: a SELECT gives 1664 values at most."""


@dataclass(frozen=True, slots=True)
class ColumnContent:
    """What a column held at one moment."""

    values: int
    """In how many rows it was not null."""
    hash: str
    least: str | None
    """The beginning of the smallest value as text, for an example."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a table held at one moment."""

    digest: TableDigest
    """Of the columns asked for, in that order."""
    columns: Mapping[str, ColumnContent]


def contents(conn: Connection, tables: Mapping[tuple[str, str], Sequence[str]]) -> dict[tuple[str, str], Content]:
    """Count and hash the rows of tables, and the values of each column, in one snapshot.

    :param tables: the columns to look at by schema and name of the table.
    """
    found = {}
    with pinned(conn), pipelined(conn):
        asked = []
        for name, columns in tables.items():
            source = sql.Identifier(*name)
            fields = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(c)) for c in columns)
            parts = []
            for first in range(0, len(columns), _PER_QUERY):
                chosen = columns[first : first + _PER_QUERY]
                each = sql.SQL(", ").join(_PART.format(sql.Identifier(c)) for c in chosen)
                parts.append((chosen, conn.execute(sql.SQL("select {} from {} as t").format(each, source))))
            asked.append((name, conn.execute(_WHOLE.format(fields, source)), parts))
        for name, whole, parts in asked:
            total = whole.fetchone()
            assert total is not None
            by_column = {}
            for chosen, cursor in parts:
                row = cursor.fetchone()
                assert row is not None
                by_column.update({c: ColumnContent(*row[n * 3 : n * 3 + 3]) for n, c in enumerate(chosen)})
            found[name] = Content(TableDigest(*total), by_column)
    return found
