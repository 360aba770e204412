"""What a table holds, in a number: equal contents give equal digests, on any server and in any order of the rows.

The digest is the count of the rows and the sum of a 64-bit hash of each row as text. A sum does not depend on order
(so a parallel plan may compute it), and unlike exclusive-or it notices a row that came twice. It finds corruption and
loss; it is not a signature against somebody who forges data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from pliers_db.catalog.session import pinned, pipelined, settled
from pliers_db.db import Connection, load_queries
from pliers_db.errors import NoSuchTable, TableUnreadable
from pliers_db.progress import SILENT, Reporter

# (t.*): a column may be called t. ONLY: the children of a table in an inheritance tree have digests of their own.
_DIGEST = sql.SQL("select count(*), coalesce(sum(hashtextextended((t.*)::text, 0)::numeric), 0)::text from {} as t")


@dataclass(frozen=True, slots=True)
class TableDigest:
    """What a table held at one moment."""

    rows: int
    hash: str
    """A whole number in decimal; text, because it is too large for the numbers of JSON readers."""

    def as_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return {"rows": self.rows, "hash": self.hash}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> TableDigest:
        """The inverse of `as_dict`."""
        return cls(rows=int(body["rows"]), hash=str(body["hash"]))


def digest(conn: Connection, table: str) -> TableDigest:
    """Count and hash the rows of one table. See `digests`.

    :param table: its name with its schema as in SQL, ``public.orders`` or ``"Odd name"``.
    """
    (only,) = digests(conn, [table]).values()
    return only


def digests(
    conn: Connection, tables: Iterable[str] | None = None, *, reporter: Reporter = SILENT
) -> dict[str, TableDigest]:
    """Count and hash the rows of tables, in one snapshot.

    In a transaction of the caller its snapshot counts. To work on several connections, export a snapshot and give
    each connection a share of the names.

    :param tables: names with their schemas as in SQL; default: all that hold rows of their own (no foreign tables, no
        tables of an extension).
    :param reporter: told about each table.
    :returns: by name, in the order asked for, otherwise sorted.
    :raises NoSuchTable: a name fits no table.
    :raises TableUnreadable: the role may not read a table, or row-level security would hide rows of it.
    :raises CatalogChanging: tables come and go right now.
    """
    names = None if tables is None else list(tables)
    return settled(conn, lambda: _digests(conn, names, reporter))


def _digests(conn: Connection, names: list[str] | None, reporter: Reporter) -> dict[str, TableDigest]:
    result: dict[str, TableDigest] = {}
    with pinned(conn):
        sources = _sources(conn, names)
        with reporter.task("Hashing", total=len(sources), unit="tables") as task, pipelined(conn):
            cursors = {name: conn.execute(_DIGEST.format(source)) for name, source in sources.items()}
            for name, cursor in cursors.items():
                task.note(name)
                row = cursor.fetchone()
                assert row is not None
                result[name] = TableDigest(row[0], row[1])
                task.advance()
    return result


def _sources(conn: Connection, names: list[str] | None) -> dict[str, sql.Composable]:
    """What to select from, by name; an error if a table cannot be read whole."""
    queries = load_queries("pliers_db.catalog", "sql/digest.sql")
    asked = conn.execute(queries["all"]) if names is None else conn.execute(queries["named"], {"names": names})
    oids = dict(asked.fetchall())
    facts = {row[0]: row[1:] for row in conn.execute(queries["readable"], {"oids": list(oids.values())})}
    sources: dict[str, sql.Composable] = {}
    for name, oid in oids.items():
        if oid not in facts:
            raise NoSuchTable(
                f"There is no table {name}",
                why=f"Looked in database {conn.info.dbname}.",
                fix="" if "." in name else f"Write it with its schema, as in public.{name}.",
            )
        schema, table, kind, obstacle = facts[oid]
        if obstacle is not None:
            raise TableUnreadable(
                f"Cannot read all of {name}",
                why=obstacle,
                fix="Use the owner of the tables, or a role with pg_read_all_data and BYPASSRLS.",
            )
        only = sql.SQL("only ") if kind == "r" else sql.SQL("")
        sources[name] = only + sql.Identifier(schema, table)
    return sources
