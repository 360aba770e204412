"""What a database asks of rows that nobody wrote: keys, checks, partitions, types, read from the catalog's snapshot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pliers_db.catalog import Constraint, Snapshot, snapshot
from pliers_db.catalog import Table as Listed
from pliers_db.db import Connection, load_queries
from pliers_db.seed.demands import columns_of, parsed, statement
from pliers_db.seed.kinds import Kind, Kinds, check_of
from pliers_db.seed.schema import Schema, Table, read_schema

OURS = re.compile(r"yoyo_lock|_yoyo_\w+|_pliers_\w+")
"""Tables in which migrations are recorded."""
LEDGER = "pliers_seed"


@dataclass(frozen=True, slots=True)
class Check:
    """A condition that each row must meet."""

    name: str
    expression: str
    columns: frozenset[str]
    """Those it depends on, generated columns taken back to their sources."""


@dataclass(frozen=True, slots=True)
class Unique:
    """Columns (or expressions of them) that no two rows may have alike."""

    name: str
    columns: tuple[str, ...]
    predicate: str | None = None
    """Only rows that meet it count."""
    nulls_alike: bool = False
    primary: bool = False
    exclusion: bool = False
    plain: bool = True
    """Of columns as they are, without expressions."""


@dataclass(frozen=True)
class Surveyed:
    """A table and what it asks."""

    table: Table
    listed: Listed
    kinds: Mapping[str, Kind]
    checks: Sequence[Check] = ()
    uniques: Sequence[Unique] = ()
    spans: Sequence[tuple[str, str]] = ()
    """Pairs of columns that are the ends of a range that must not overlap another row's."""
    obstacle: str | None = None
    """Why no row can be added at all."""

    @cached_property
    def generated(self) -> Mapping[str, str]:
        """The expressions of generated columns."""
        return {c.name: c.default or "null" for c in self.listed.columns if c.generated}

    @property
    def not_null(self) -> frozenset[str]:
        return frozenset(
            name for name, column in self.table.columns.items() if column.not_null or self.kinds[name].not_null
        )

    @property
    def triggers(self) -> Sequence[str]:
        """The names of the triggers that fire on an insert."""
        return [
            t.name
            for t in self.listed.triggers
            if t.enabled in ("origin", "always") and " INSERT" in t.definition.partition(" ON ")[0]
        ]


@dataclass(frozen=True)
class Survey:
    """All tables of a database."""

    schema: Schema
    catalog: Snapshot
    tables: Mapping[str, Surveyed] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Of the schema: another one may give other rows."""
        return self.catalog.fingerprint


def survey(conn: Connection) -> Survey:
    """Read what the tables of the connected database ask of their rows."""
    catalog = snapshot(conn, exclude=[f"{LEDGER}*"])
    schema = read_schema(conn)
    kinds = Kinds(catalog)
    by_name = {(table.schema, table.name): table for table in catalog.tables}
    leaves: dict[str, list[str]] = {}
    for name, condition in conn.execute(load_queries("pliers_db.seed", "sql/fill.sql")["partitions"]):
        leaves.setdefault(name, []).append(condition)
    found = {}
    for name, table in schema.tables.items():
        listed = by_name.get((table.schema, table.table))
        if listed is not None and not OURS.fullmatch(table.table) and table.schema != LEDGER:
            found[name] = _surveyed(table, listed, kinds, leaves.get(name, []))
    return Survey(schema, catalog, found)


def _surveyed(table: Table, listed: Listed, kinds: Kinds, leaves: Sequence[str | None]) -> Surveyed:
    types = {column.name: kinds.of(column.type) for column in listed.columns}
    generated = {c.name: columns_of(parsed(c.default or "null")) for c in listed.columns if c.generated}
    sources = _Sources(generated)
    checks = [
        Check(c.name, check_of(c.definition), sources.of(c.columns or columns_of(parsed(check_of(c.definition)))))
        for c in listed.constraints
        if c.kind == "check" and c.enabled
    ]
    obstacle = None
    if listed.kind == "partitioned table":
        conditions = [condition for condition in leaves if condition]
        if not leaves:
            obstacle = "it is partitioned and has no partition"
        elif len(conditions) == len(leaves):
            whole = " or ".join(f"({condition})" for condition in conditions)
            checks.append(Check("its partitions", f"({whole})", sources.of(columns_of(parsed(whole)))))
    uniques = [_unique(i.definition, i.name, i.primary, sources) for i in listed.indexes if i.unique]
    spans: list[tuple[str, str]] = []
    for constraint in listed.constraints:
        if constraint.kind == "exclusion":
            rule, ends = _exclusion(constraint, sources)
            uniques.append(rule)
            spans += ends
    return Surveyed(table, listed, types, checks, uniques, spans, obstacle)


class _Sources:
    """Takes generated columns back to the columns that they are made of."""

    def __init__(self, generated: Mapping[str, set[str]]) -> None:
        self.generated = generated

    def of(self, columns: Sequence[str] | set[str]) -> frozenset[str]:
        found: set[str] = set()
        for name in columns:
            found |= self.generated.get(name, {name})
        return frozenset(found)


def _unique(definition: str, name: str, primary: bool, sources: _Sources) -> Unique:
    index = statement(definition)["IndexStmt"]
    columns: list[str] = []
    plain = True
    for part in index["indexParams"]:
        element = part["IndexElem"]
        if "name" in element:
            columns += sorted(sources.of([element["name"]]))
        else:
            columns += sorted(sources.of(columns_of(element["expr"])))
            plain = False
    where = definition.partition(" WHERE ")[2] or None
    return Unique(
        name, tuple(dict.fromkeys(columns)), where, bool(index.get("nulls_not_distinct")), primary, plain=plain
    )


def _exclusion(constraint: Constraint, sources: _Sources) -> tuple[Unique, list[tuple[str, str]]]:
    """An exclusion constraint as a rule of columns that differ; the pairs of columns that it makes ranges of."""
    body = statement(f"alter table x add constraint c {constraint.definition}")["AlterTableStmt"]
    node = body["cmds"][0]["AlterTableCmd"]["def"]["Constraint"]
    columns: list[str] = []
    spans: list[tuple[str, str]] = []
    for item in node["exclusions"]:
        element = item["List"]["items"][0]["IndexElem"]
        if "name" in element:
            columns += sorted(sources.of([element["name"]]))
            continue
        call = element["expr"].get("FuncCall", {})
        ends = [a["ColumnRef"]["fields"][-1]["String"]["sval"] for a in call.get("args", []) if "ColumnRef" in a]
        if len(ends) == 2 and str(call["funcname"][-1]["String"]["sval"]).endswith("range"):
            spans.append((ends[0], ends[1]))
        columns += sorted(sources.of(columns_of(element["expr"])))
    where = constraint.definition.partition(" WHERE ")[2] or None
    return Unique(constraint.name, tuple(dict.fromkeys(columns)), where, exclusion=True, plain=False), spans
