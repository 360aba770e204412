"""What the database says: which migrations it has applied.

Read with two SELECTs: no lock, no DDL, so that it works with SELECT alone, read-only and on a standby.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pliers_db.db import Connection, load_queries
from pliers_db.errors import MissingPrivilege, ReadOnlyDatabase
from pliers_db.migrate.files import Folder

MIGRATION_TABLE = "_yoyo_migration"
LOG_TABLE = "_yoyo_log"
OWN_TABLE = "_pliers_migration"
PROGRESS_TABLE = "_pliers_progress"
QUERIES = load_queries("pliers_db.migrate", "sql/migrate.sql")


@dataclass(frozen=True, slots=True)
class Applied:
    """A row of ``_yoyo_migration``, with what ours says of it."""

    id: str
    hash: str
    at: datetime | None
    sha256: str | None = None
    """The hash of the text that was applied; None if stock yoyo applied it."""
    duration_ms: float | None = None
    reversible: bool = False
    """Whether the text that undoes it is stored."""
    sql: str | None = None
    """The text that was applied, where it is not the folder's."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a migration without a transaction has come that is neither applied nor not."""

    id: str
    operation: str
    """apply or rollback."""
    finished: int
    """How many statements are done."""
    statements: int
    running: bool
    """Whether the next one was begun, and nobody knows how it ended."""
    error: str | None
    sql: str
    """The file as it stood then."""


@dataclass(frozen=True, slots=True)
class History:
    """The applied migrations, and where and how they are recorded."""

    schema: str
    """The schema of yoyo's tables: the first on the search path that has them, else where they would be created."""
    applied: tuple[Applied, ...]
    """In the order in which they were applied."""
    progress: tuple[Progress, ...]
    """Those that stand part-way."""
    complete: bool
    """Whether all of yoyo's tables and ours are there."""
    logged: bool
    """Whether yoyo's log is there and may be read."""
    yoyo_locks: bool
    """Whether yoyo's lock table is there."""
    own_readable: bool
    """Whether our own table is there and may be read."""
    standby: bool
    read_only: bool
    role: str

    def ids(self) -> set[str]:
        """The ids of the applied migrations."""
        return {a.id for a in self.applied}


def yoyo_now() -> datetime:
    """The time as yoyo writes it: its columns hold UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def read_history(conn: Connection, folder: Folder | None = None, schema: str | None = None) -> History:
    """Read which migrations are applied.

    :param folder: of what differs from it the applied text is read too.
    :param schema: where they are recorded; default: as the search path has it.
    :raises MissingPrivilege: the role may not read yoyo's tables.
    """
    facts = _facts(conn, schema)
    applied: tuple[Applied, ...] = ()
    if facts["has_history"]:
        try:
            rows = _rows(conn, facts, folder)
        except psycopg.errors.InsufficientPrivilege as error:
            table = f"{facts['schema']}.{MIGRATION_TABLE}"
            raise MissingPrivilege(
                f"{facts['role']} may not read {table}",
                why=str(error.diag.message_primary),
                fix=f"grant usage on schema {facts['schema']} to {facts['role']}; "
                f"grant select on {table} to {facts['role']};",
            ) from error
        applied = tuple(Applied(i, h, at and at.replace(tzinfo=UTC), *rest) for i, h, at, *rest in rows)
    return History(
        schema=facts["schema"],
        applied=applied,
        progress=_progress(conn, facts["schema"]) if facts["reads_own"] else (),
        complete=all(facts[key] for key in ("has_history", "has_version", "has_lock", "has_own")),
        logged=facts["reads_log"],
        yoyo_locks=facts["has_lock"],
        own_readable=facts["reads_own"],
        standby=facts["standby"],
        read_only=facts["read_only"],
        role=facts["role"],
    )


def _rows(conn: Connection, facts: dict[str, Any], folder: Folder | None) -> list[tuple[Any, ...]]:
    yoyo = sql.Identifier(facts["schema"], MIGRATION_TABLE)
    if facts["reads_own"] and facts["has_version"]:
        own = sql.Identifier(facts["schema"], OWN_TABLE)
        known = [m.sha256 for m in folder.migrations] if folder else []
        return conn.execute(sql.SQL(QUERIES["history"]).format(yoyo=yoyo, own=own), [known]).fetchall()
    # Before version 2 (yoyo < 6) the table had other columns.
    columns = sql.SQL("migration_id, migration_hash, applied_at_utc" if facts["has_version"] else "id, '', ctime")
    return conn.execute(sql.SQL("select {} from {} order by 3, 1").format(columns, yoyo)).fetchall()


def _progress(conn: Connection, schema: str) -> tuple[Progress, ...]:
    query = sql.SQL(QUERIES["progress"]).format(sql.Identifier(schema, PROGRESS_TABLE))
    return tuple(Progress(*row) for row in conn.execute(query))


def read_who(conn: Connection, history: History) -> dict[str, str]:
    """Who applied each migration last (``user@host``), by yoyo's key; empty if the log may not be read."""
    if not history.logged:
        return {}
    query = sql.SQL(QUERIES["who"]).format(sql.Identifier(history.schema, LOG_TABLE))
    return dict(conn.execute(query).fetchall())


def read_stored_rollback(conn: Connection, schema: str, migration_hash: str) -> tuple[str, bool] | None:
    """The text that undoes an applied migration as it stood then, and whether it runs in a transaction."""
    query = sql.SQL(QUERIES["stored_rollback"]).format(
        own=sql.Identifier(schema, OWN_TABLE), yoyo=sql.Identifier(schema, MIGRATION_TABLE)
    )
    row = conn.execute(query, [migration_hash]).fetchone()
    return (row[0], row[1]) if row and row[0] is not None else None


def _facts(conn: Connection, schema: str | None) -> dict[str, Any]:
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(QUERIES["facts"], {"schema": schema}).fetchone()
    assert row is not None
    return row


def check_writable(conn: Connection, history: History) -> None:
    """Make sure that migrating can work here, before anything is touched.

    :raises ReadOnlyDatabase: a standby, or read-only by setting.
    :raises MissingPrivilege: names the GRANT.
    """
    if history.standby:
        raise ReadOnlyDatabase(
            "This server is a standby",
            why="It replays another server's changes and takes none of its own.",
            fix="Point DATABASE_URL at the primary (target_session_attrs=read-write finds it).",
        )
    if history.read_only:
        raise ReadOnlyDatabase(
            "Transactions are read-only here",
            why="default_transaction_read_only is on for this role, database or server.",
            fix=f"alter role {history.role} set default_transaction_read_only = off; or use another role.",
        )
    missing = conn.execute(
        QUERIES["privileges"], {"schema": history.schema, "creates": not history.complete}
    ).fetchall()
    if missing:
        grants = "; ".join(f"grant {privilege} on {object_} to {history.role}" for privilege, object_ in missing)
        raise MissingPrivilege(
            f"{history.role} lacks {', '.join(f'{p} on {o}' for p, o in missing)}",
            why="Migrations are recorded in yoyo's tables, in the same transaction as their work.",
            fix=f"{grants};",
        )
