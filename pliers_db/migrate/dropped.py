"""What a rollback takes with it: the tables and columns that its statements drop, and how many rows stand there.

Read from the statements, not tried out: what a DO block or a function drops, and what a DELETE or an UPDATE loses, is
not seen here. `verify --rows` sees that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pliers_db.db import Connection
from pliers_db.errors import DataLoss
from pliers_db.migrate.history import QUERIES
from pliers_db.migrate.parser import split
from pliers_db.progress import Reporter
from pliers_db.units import format_count

# Up to here rows are counted; beyond, the planner's estimate is enough to be warned by.
_COUNTED = 1000
# How many rows are searched for a value of a column before its statistics are believed.
_SEARCHED = 100_000
_LIMITS = "set local lock_timeout = '1s'; set local statement_timeout = '10s'; set local row_security = off"


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that a rollback drops or empties."""

    kind: str
    """table, column or schema."""
    name: str
    """The quoted name, of the table for a column."""
    column: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f".{self.column}" if self.column else "")


@dataclass(frozen=True, slots=True)
class Loss:
    """How many rows go with it."""

    dropped: Dropped
    rows: int | None
    """None: it could not be looked into."""
    exact: bool

    def __str__(self) -> str:
        if self.rows is None:
            return f"{self.dropped} (nobody knows how many rows)"
        return f"{self.dropped} ({'' if self.exact else 'about '}{format_count(self.rows, 'row')})"


def find_dropped(text: str) -> list[Dropped]:
    """What a file drops or empties, in its order. Pure."""
    if not any(word in text.lower() for word in ("drop", "truncate")):
        return []
    from pglast import parser

    found: list[Dropped] = []
    for statement in split(text):
        try:
            found += _dropped_by(parser.parse_sql(statement.sql)[0].stmt)
        except parser.ParseError:
            continue  # the server will judge it
    return found


def _dropped_by(tree: object) -> list[Dropped]:
    from pglast import ast, enums

    match tree:
        case ast.DropStmt(removeType=enums.ObjectType.OBJECT_TABLE, objects=objects):
            return [Dropped("table", _quoted(part.sval for part in names)) for names in objects or ()]
        case ast.DropStmt(removeType=enums.ObjectType.OBJECT_SCHEMA, objects=objects):
            return [Dropped("schema", _quoted([name.sval])) for name in objects or ()]
        case ast.TruncateStmt(relations=relations):
            return [Dropped("table", _name_of(relation)) for relation in relations or ()]
        case ast.AlterTableStmt(relation=relation, cmds=commands):
            return [
                Dropped("column", _name_of(relation), _quoted([command.name]))
                for command in commands or ()
                if command.subtype == enums.AlterTableType.AT_DropColumn
            ]
    return []


def _name_of(relation: Any) -> str:
    return _quoted(part for part in (relation.schemaname, relation.relname) if part)


def _quoted(parts: Iterable[str]) -> str:
    from pliers_db.catalog import quoted  # the whole catalog, which `up` and `status` do not need

    return ".".join(map(quoted, parts))


def measure(conn: Connection, dropped: Iterable[Dropped], schema: str | None = None) -> list[Loss]:
    """How many rows each of them holds; what holds none, or is not there, is left out. Reads only.

    Small tables are counted, of larger ones the planner's estimate is told.

    :param conn: in autocommit mode.
    :param schema: the one that the migrations run in, where they run in many.
    """
    found = []
    for one in dict.fromkeys(dropped):
        try:
            with conn.transaction():
                conn.execute(_LIMITS)
                if schema is not None:
                    conn.execute(sql.SQL("set local search_path to {}, public").format(sql.Identifier(schema)))
                loss = _measure(conn, one)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.InsufficientPrivilege):
            loss = Loss(one, None, exact=False)
        if loss.rows != 0:
            found.append(loss)
    return found


def _measure(conn: Connection, dropped: Dropped) -> Loss:
    leaves = conn.execute(QUERIES["leaves"], {"kind": dropped.kind, "name": dropped.name, "column": dropped.column})
    rows, exact = 0, True
    for schema, table, column, estimate, with_values in leaves.fetchall():
        where = sql.SQL("where {} is not null").format(sql.Identifier(column)) if column else sql.SQL("")
        query = sql.SQL("select count(*) from (select from (select * from only {} limit {}) s {} limit {}) t").format(
            sql.Identifier(schema, table), _SEARCHED if column else _COUNTED, where, _COUNTED
        )
        row = conn.execute(query).fetchone()
        counted = row[0] if row else 0
        large = counted >= _COUNTED or (column is not None and estimate > _SEARCHED)
        exact = exact and not large
        rows += max(counted, with_values) if large else counted
    return Loss(dropped, rows, exact)


def check_losses(losses: dict[str, list[Loss]], *, allowed: bool, reporter: Reporter) -> None:
    """Tell what is dropped with rows in it, and let it happen only if somebody has said so.

    :param losses: by the migration's id.
    :raises DataLoss: rows would be lost, and nobody has allowed it.
    """
    told = [f"{migration_id} drops {loss}" for migration_id, found in losses.items() for loss in found]
    if not told:
        return
    if allowed:
        for line in told:
            reporter.warn(line)
        return
    raise DataLoss(
        "The rollback would lose rows; nothing was changed",
        why="\n".join(told),
        fix="Back them up (pliers-db backup), then run it again with --allow-data-loss",
        drops=[
            {"kind": loss.dropped.kind, "name": _full(loss.dropped), "rows": loss.rows, "exact": loss.exact}
            for found in losses.values()
            for loss in found
        ],
    )


def _full(dropped: Dropped) -> str:
    return dropped.name + (f".{dropped.column}" if dropped.column else "")
