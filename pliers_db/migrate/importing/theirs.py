"""What another tool's history says: which versions are applied, since when, and in which state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pliers_db.db import Connection, load_queries
from pliers_db.errors import ImportConflict, MissingPrivilege
from pliers_db.migrate.importing.flyway import version_key, version_of
from pliers_db.migrate.importing.source import Source, Tool

QUERIES = load_queries("pliers_db.migrate", "sql/importing.sql")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A version that is applied."""

    version: str
    at: datetime | None = None
    """None: the tool does not record it."""
    checksum: str | None = None
    """What the tool recorded of its content; None: nothing."""
    ms: float | None = None


@dataclass(frozen=True, slots=True)
class Theirs:
    """The history of another tool."""

    table: str | None = None
    """Where it stands; None: this database has none."""
    records: tuple[Record, ...] = ()
    upto: Record | None = None
    """Everything up to this version counts as applied, whether or not it has a record of its own."""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    schema: str | None = None
    without: tuple[str, ...] = ()


_TABLES = {
    Tool.DBMATE: _Table("schema_migrations", ("version",), without=("dirty", "statements")),
    Tool.GOLANG_MIGRATE: _Table("schema_migrations", ("version", "dirty")),
    Tool.SUPABASE: _Table("schema_migrations", ("version",), schema="supabase_migrations"),
    Tool.DIESEL: _Table("__diesel_schema_migrations", ("version", "run_on")),
    Tool.GOOSE: _Table("goose_db_version", ("id", "version_id", "is_applied", "tstamp")),
    Tool.FLYWAY: _Table("flyway_schema_history", ("installed_rank", "version", "type", "checksum", "success")),
    Tool.SQITCH: _Table("changes", ("change_id", "script_hash", "planned_at"), schema="sqitch"),
}


def read_theirs(conn: Connection, source: Source, table: str | None = None) -> Theirs:
    """Read what a tool has recorded in this database. Reads only.

    :param table: where, as ``[schema.]table``; default: where the tool puts it. For sqitch: the registry's schema.
    :raises ImportConflict: it cannot be told which table; or a migration failed half-way there.
    :raises MissingPrivilege: the role may not read it.
    """
    where = _find(conn, source, table)
    if where is None:
        return Theirs()
    name = sql.Identifier(*where)
    query = QUERIES[source.tool.replace("-", "_")]
    statement = (
        sql.SQL(query).format(changes=name, project=sql.Literal(source.project))
        if source.tool is Tool.SQITCH
        else sql.SQL(query).format(name)
    )
    shown = ".".join(where)
    try:
        with conn.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(statement).fetchall()
    except psycopg.errors.InsufficientPrivilege as error:
        raise MissingPrivilege(
            f"{conn.info.user} may not read {shown}",
            why=str(error.diag.message_primary),
            fix=f"grant usage on schema {where[0]} to {conn.info.user}; grant select on {shown} to {conn.info.user};",
        ) from error
    return _JUDGES[source.tool](shown, rows)


def _find(conn: Connection, source: Source, given: str | None) -> tuple[str, str] | None:
    tool = source.tool
    kind = _TABLES[tool]
    schema, name = source.registry or kind.schema, kind.name
    if given is not None and tool is Tool.SQITCH:
        schema = given
    elif given is not None:
        head, _, name = given.rpartition(".")
        schema = head or None
    found = conn.execute(
        QUERIES["find_table"],
        {"name": name, "schema": schema, "columns": list(kind.columns), "without": list(kind.without)},
    ).fetchall()
    if len(found) > 1:
        names = ", ".join(".".join(row) for row in found)
        raise ImportConflict(
            f"There are {len(found)} histories of {tool} in this database: {names}",
            why="Each may have applied something else.",
            fix=f"Say which one: --table {'.'.join(found[0])}",
        )
    if given is not None and not found:
        raise ImportConflict(
            f"This database has no history of {tool} in {given}",
            why=f"A table {name} with the columns {', '.join(kind.columns)} was looked for.",
            fix="Correct --table, or leave it out.",
        )
    return (found[0][0], found[0][1]) if found else None


# ── what the rows mean: pure ────────────────────────────────────────────────────────────────────────────────
def plain_records(table: str, rows: Sequence[Row]) -> Theirs:
    """dbmate, diesel and sqitch: a row is an applied version."""
    return Theirs(table, tuple(Record(r["version"], r.get("at"), r.get("checksum")) for r in rows))


def golang_records(table: str, rows: Sequence[Row]) -> Theirs:
    """golang-migrate: one row, everything up to its version.

    :raises ImportConflict: it is dirty.
    """
    if not rows:
        return Theirs(table)
    version = rows[0]["version"]
    if rows[0]["dirty"]:
        raise ImportConflict(
            f"{table} is dirty at version {version}; nothing was written",
            why="golang-migrate failed in that migration, and what of it was done is not known.",
            fix=f"Look at the database, undo or finish that migration, then: migrate force {version}",
        )
    return Theirs(table, (Record(version),), Record(version))


def goose_records(table: str, rows: Sequence[Row]) -> Theirs:
    """goose: the newest row of each version tells."""
    newest = {r["version"]: r for r in rows}  # they come in the order of their ids
    return Theirs(table, tuple(Record(v, r["at"]) for v, r in newest.items() if r["is_applied"] and v != "0"))


def supabase_records(table: str, rows: Sequence[Row]) -> Theirs:
    """Supabase: a row is an applied version, with its statements since CLI 1.50 or so."""
    return Theirs(
        table,
        tuple(
            Record(r["version"], checksum=";\n".join(s.rstrip("; \n") for s in r["statements"]))
            if r["statements"]
            else Record(r["version"])
            for r in rows
        ),
    )


def flyway_records(table: str, rows: Sequence[Row]) -> Theirs:
    """Flyway: a row for each step, undone and deleted ones too; a baseline stands for all up to it.

    :raises ImportConflict: a step failed.
    """
    applied: dict[str, Record] = {}
    upto: Record | None = None
    for row in rows:
        if not row["success"]:
            raise ImportConflict(
                f"{row['script']} failed, as {table} says; nothing was written",
                why="What of it was done is not known.",
                fix="Look at the database, undo or finish that migration, then: flyway repair",
            )
        if row["version"] is None:  # repeatable, or the creation of the schema
            continue
        version, kind = version_of(row["version"]), row["type"]
        record = Record(version, row["at"], row["checksum"] if kind == "SQL" else None, row["ms"])
        if "BASELINE" in kind:
            if upto is None or version_key(version) > version_key(upto.version):
                upto = Record(version, row["at"])
        elif kind.startswith("UNDO") or kind == "DELETE":
            applied.pop(version, None)
        elif kind != "SCHEMA":
            applied[version] = record
    return Theirs(table, tuple(applied.values()), upto)


_JUDGES: dict[Tool, Callable[[str, Sequence[Row]], Theirs]] = {
    Tool.DBMATE: plain_records,
    Tool.DIESEL: plain_records,
    Tool.SQITCH: plain_records,
    Tool.GOLANG_MIGRATE: golang_records,
    Tool.GOOSE: goose_records,
    Tool.SUPABASE: supabase_records,
    Tool.FLYWAY: flyway_records,
}
