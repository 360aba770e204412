"""Reading where a backup comes from."""

from __future__ import annotations

from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from pliers_db.backup.manifest import Extension, Source
from pliers_db.db import Connection, load_queries, read_stamp

_QUERIES = load_queries("pliers_db.backup", "sql/source.sql")


def read_source(conn: Connection) -> Source:
    """Facts about the connected database and its server."""
    with conn.cursor(row_factory=dict_row) as cursor:
        facts = cursor.execute(_QUERIES["source"]).fetchone()
    assert facts is not None
    stamp = read_stamp(conn)
    may_identify = _one(conn, "may_identify")
    return Source(
        **facts,
        environment=stamp.environment.value if stamp and not stamp.foreign else None,
        system_identifier=_one(conn, "system_identifier") if may_identify else "",
        locale=_one(conn, "locale"),
        extensions=tuple(Extension(*row) for row in conn.execute(_QUERIES["extensions"])),
        roles=tuple(row[0] for row in conn.execute(_QUERIES["roles"])),
        migrations=_migrations(conn),
    )


def _one(conn: Connection, query: str) -> Any:
    row = conn.execute(_QUERIES[query]).fetchone()
    assert row is not None
    return row[0]


def _migrations(conn: Connection) -> tuple[str, ...]:
    found: list[str] = []
    for schema, table in conn.execute(_QUERIES["migration_tables"]).fetchall():
        query = sql.SQL("select migration_id from {} order by applied_at_utc, migration_id")
        found += [row[0] for row in conn.execute(query.format(sql.Identifier(schema, table)))]
    return tuple(found)


def end_orphans(conn: Connection, names: list[str]) -> None:
    """End the sessions of killed backups. :param names: their application names."""
    if names:
        conn.execute(_QUERIES["end_orphans"], {"names": names})
