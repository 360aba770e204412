"""The environment that is stamped into a database.

A variable can point anywhere; the database itself knows what it is. The stamp is a part of its comment:
``[pliers:environment=production;system=7312…]``. The cluster's system identifier makes a stamp that came along
in a file-level copy or by hand recognisable. A dump does not carry it, nor does a template clone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from psycopg import sql

from pliers_db.config import Environment
from pliers_db.db.connect import Connection

_STAMP = re.compile(r"\[pliers:environment=(\w+);system=(\d+)\]")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a database says it is."""

    environment: Environment
    system_identifier: str
    foreign: bool
    """Stamped on another cluster: a restored copy, not to be believed."""


def read_stamp(conn: Connection) -> Stamp | None:
    """The stamp of the connected database, or None."""
    row = conn.execute(
        "select shobj_description(d.oid, 'pg_database'), (select system_identifier::text from pg_control_system())"
        " from pg_database d where d.datname = current_database()"
    ).fetchone()
    assert row is not None
    found = _STAMP.search(row[0] or "")
    if found is None or found[1] not in set(Environment):
        return None
    return Stamp(Environment(found[1]), found[2], foreign=found[2] != row[1])


def write_stamp(conn: Connection, environment: Environment) -> None:
    """Stamp the connected database, keeping the rest of its comment. Needs its owner."""
    row = conn.execute(
        "select coalesce(shobj_description(d.oid, 'pg_database'), ''), d.datname,"
        " (select system_identifier::text from pg_control_system())"
        " from pg_database d where d.datname = current_database()"
    ).fetchone()
    assert row is not None
    rest = _STAMP.sub("", row[0]).strip()
    text = f"{rest} [pliers:environment={environment};system={row[2]}]".strip()
    conn.execute(sql.SQL("comment on database {} is {}").format(sql.Identifier(row[1]), sql.Literal(text)))
