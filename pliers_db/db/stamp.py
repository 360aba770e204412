"""The environment that is stamped into a database.

A variable can point anywhere; the database itself knows what it is. The stamp is a part of its comment:
``[pliers:environment=production;system=7312…]``. The cluster's system identifier makes a stamp recognisable that
came along with ``pg_dump --create`` or by hand; a plain dump or a template clone does not carry it. Its owner may
write it, every role may read it.
"""

from __future__ import annotations

import re

from psycopg import sql
from psycopg.rows import tuple_row

from pliers_db.config import Environment, Stamp
from pliers_db.db.connect import Connection
from pliers_db.db.queries import load_queries

_STAMP = re.compile(r" ?\[pliers:environment=(\w+);system=(\w+)\]")
_SQL = load_queries("pliers_db.db", "stamp.sql")


def read_stamp(conn: Connection) -> Stamp | None:
    """The stamp of the connected database; None if it has none that we know."""
    _, comment, system = _read(conn)
    found = _STAMP.search(comment)
    if found is None or found[1] not in set(Environment):
        return None
    return Stamp(Environment(found[1]), found[2], foreign=found[2] != system)


def write_stamp(conn: Connection, environment: Environment) -> None:
    """Stamp the connected database, keeping the rest of its comment.

    :raises psycopg.errors.InsufficientPrivilege: the role does not own the database.
    """
    dbname, comment, system = _read(conn)
    stamp = f"[pliers:environment={environment};system={system}]"
    rest = _STAMP.sub("", comment)
    text = f"{rest} {stamp}" if rest else stamp
    if text == comment:
        return
    conn.execute(sql.SQL("comment on database {} is {}").format(sql.Identifier(dbname), sql.Literal(text)))


def has_tables(conn: Connection) -> bool:
    """Whether the connected database holds any table, whoever owns it: whether there is something to lose."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(_SQL["has_tables"]).fetchone()
    assert row is not None
    return bool(row[0])


def _read(conn: Connection) -> tuple[str, str, str]:
    """Name and comment of the database, and what identifies its cluster."""
    with conn.cursor(row_factory=tuple_row) as cursor:  # whatever rows the caller's connection makes
        row = cursor.execute(_SQL["read"]).fetchone()
        assert row is not None
        dbname, comment, allowed, system = row
        if allowed:
            answer = cursor.execute(_SQL["system"]).fetchone()
            assert answer is not None
            system = answer[0]
    return dbname, comment, system
