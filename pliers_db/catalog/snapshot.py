"""Reading what a database consists of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import fields
from fnmatch import fnmatchcase
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, cast

from psycopg.rows import dict_row

from pliers_db.catalog.grants import read_grants
from pliers_db.catalog.model import (
    Column,
    Constraint,
    Entry,
    Extension,
    Index,
    Object,
    Policy,
    Routine,
    Schema,
    Sequence,
    Snapshot,
    Table,
    Trigger,
    Type,
)
from pliers_db.catalog.session import pinned, pipelined, settled
from pliers_db.db import Connection, load_queries

Row = dict[str, Any]
Rows = dict[str, list[Row]]
Made = TypeVar("Made")
Placed = TypeVar("Placed", bound=Object)

Parts = dict[int, list[Made]]
"""What belongs to an object, by its id."""

_ENTRY = ("kind", "path", "definition", "owner", "acl", "acl_default", "comment")


def snapshot(conn: Connection, *, exclude: Collection[str] = ()) -> Snapshot:
    """Read everything in the connected database but its rows, in one snapshot.

    Left out is what belongs to PostgreSQL itself, to an extension, or to a session (temporary tables). Any role may
    call it. In a transaction of the caller its snapshot counts; the session is afterwards as before.

    :param exclude: patterns over the paths of objects to leave out as well (``*.yoyo_lock``, ``audit.*``); a table goes
        with its sequences.
    :raises CatalogChanging: objects come and go right now.
    """
    rows = settled(conn, lambda: _read(conn))
    columns = _by(Column, rows["columns"], "relation")
    sequences = (row for row in rows["sequences"] if not _fits(row["table_path"] or "", exclude))
    return Snapshot(
        conn.info.server_version,
        schemas=_sorted((_build(Schema, row) for row in rows["schemas"]), exclude),
        extensions=_sorted((_build(Extension, row) for row in rows["extensions"]), exclude),
        types=_sorted(_types(rows, columns), exclude),
        tables=_sorted(_tables(rows, columns), exclude),
        sequences=_sorted((_build(Sequence, row) for row in sequences), exclude),
        routines=_sorted((_build(Routine, row) for row in rows["routines"]), exclude),
        entries=_sorted((_build(Entry, row) for row in rows["entries"]), exclude),
    )


def _read(conn: Connection) -> Rows:
    """The rows of every query, by its name; those of all rarer kinds together."""
    queries = load_queries("pliers_db.catalog", "sql/snapshot.sql")
    rarer = load_queries("pliers_db.catalog", "sql/entries.sql")
    with pinned(conn), pipelined(conn):
        cursors = {name: conn.cursor(row_factory=dict_row).execute(query) for name, query in queries.items()}
        others = [conn.execute(query) for query in rarer.values()]
        rows = {name: cursor.fetchall() for name, cursor in cursors.items()}
        rows["entries"] = [dict(zip(_ENTRY, row, strict=True)) for cursor in others for row in cursor.fetchall()]
    return rows


def _constraints(rows: Rows, of: str) -> Parts[Constraint]:
    """:param of: ``relation`` or ``domain``, to which they belong."""
    names = {(row["relation"], row["number"]): row["name"] for row in rows["columns"]}
    found = [row for row in rows["constraints"] if row[of] is not None]
    for row in found:
        relation, referenced = row["relation"], row["referenced"]
        row["columns"] = [names.get((relation, number), "") for number in row["numbers"] or ()]
        row["referenced_columns"] = [names.get((referenced, n), "") for n in row["referenced_numbers"] or ()]
    return _by_name(Constraint, found, of)


def _tables(rows: Rows, columns: Parts[Column]) -> Iterable[Table]:
    constraints = _constraints(rows, "relation")
    indexes = _by_name(Index, rows["indexes"], "relation")
    triggers = _by_name(Trigger, rows["triggers"], "relation")
    rules = _by_name(Trigger, rows["rules"], "relation")
    policies = _by_name(Policy, rows["policies"], "relation")
    for row in rows["tables"]:
        oid = row["relation"]
        yield _build(
            Table,
            row,
            columns=tuple(columns[oid]),
            constraints=tuple(constraints[oid]),
            indexes=tuple(indexes[oid]),
            triggers=tuple(triggers[oid]),
            rules=tuple(rules[oid]),
            policies=tuple(policies[oid]),
        )


def _types(rows: Rows, columns: Parts[Column]) -> Iterable[Type]:
    constraints = _constraints(rows, "domain")
    for row in rows["types"]:
        attributes = tuple(columns[row["relation"]])
        yield _build(Type, row, attributes=attributes, constraints=tuple(constraints[row["domain"]]))


def _by(kind: type[Made], rows: Iterable[Row], owner: str) -> Parts[Made]:
    """Parts in the order of the rows, by the object they belong to."""
    found: Parts[Made] = defaultdict(list)
    for row in rows:
        found[row[owner]].append(_build(kind, row))
    return found


def _by_name(kind: type[Made], rows: Iterable[Row], owner: str) -> Parts[Made]:
    found = _by(kind, rows, owner)
    for parts in found.values():
        parts.sort(key=attrgetter("name"))
    return found


# ── one form ────────────────────────────────────────────────────────────────────────────────────────────────
_EXPRESSIONS = {"definition", "default", "using", "check"}
_VARCHAR = r"'(?:[^']|'')*'::character varying(?:\(\d+\))?"
_VARCHAR_LIST = re.compile(rf"\(ARRAY\[({_VARCHAR}(?:, {_VARCHAR})*)\]\)::text\[\]")


def _build(kind: type[Made], row: Row, **parts: Any) -> Made:
    """Make an object of the columns that it has fields for, in the canonical form."""
    plain, lists, expressions, has_grants = _shape(cast(Any, kind))
    values = {name: row[name] for name in plain}
    for name in lists:
        values[name] = tuple(row[name])
    for name in expressions:
        value = row[name]
        values[name] = value if value is None else _canonical(value)
    if has_grants:
        values["grants"] = read_grants(row["acl"], row["acl_default"], row["owner"] or "")
    return kind(**values, **parts)


@cache
def _shape(kind: Any) -> tuple[list[str], list[str], list[str], bool]:
    """The names of a class's fields that are taken as they are, that hold lists, and that hold SQL; has it grants?"""
    own = [f for f in fields(kind) if "children" not in f.metadata]
    lists = [f.name for f in own if str(f.type).startswith("tuple") and f.name != "grants"]
    expressions = [f.name for f in own if f.name in _EXPRESSIONS]
    plain = [f.name for f in own if f.name not in {*lists, *expressions, "grants"}]
    return plain, lists, expressions, any(f.name == "grants" for f in own)


def _canonical(expression: str) -> str:
    """PostgreSQL writes ``varchar in ('a', 'b')`` one way, and what it reads back from a dump of that another way."""
    if "::character varying" not in expression:
        return expression
    return _VARCHAR_LIST.sub(
        lambda found: f"ARRAY[{re.sub(_VARCHAR, lambda one: f'({one[0]})::text', found[1])}]", expression
    )


def _fits(path: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _sorted(objects: Iterable[Placed], exclude: Collection[str]) -> tuple[Placed, ...]:
    return tuple(sorted((o for o in objects if not _fits(o.path, exclude)), key=lambda o: (o.path, o.kind)))
