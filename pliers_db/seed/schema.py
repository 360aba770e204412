"""What a database can take: its tables, their columns, and how they refer to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from psycopg.rows import namedtuple_row

from pliers_db.db import Connection, load_queries
from pliers_db.errors import UnknownColumn, UnknownTable

TEMPORAL = frozenset({"timestamptz", "timestamp", "date"})
VECTORS = frozenset({"vector", "halfvec"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column, its type read through domains."""

    name: str
    type: str
    """As SQL writes it: ``numeric(10,2)``, ``shop.colour[]``."""
    base: str
    """The type's own name in pg_type, below all domains: ``numeric``, ``_text``."""
    category: str
    """PostgreSQL's letter for the family: A array, B boolean, E enum, N number, S string…"""
    element: str | None
    """For an array, the name of its elements' type."""
    dimensions: int | None
    """For a vector, its length, if the type fixes it."""
    not_null: bool
    identity: bool
    generated: bool
    default: str | None
    """The default as an SQL expression."""
    default_varies: bool
    """Whether the default can give another value each time."""
    sequence: str | None
    """The sequence that belongs to it (serial, identity)."""

    @property
    def is_json(self) -> bool:
        return self.base in ("json", "jsonb")

    @property
    def is_temporal(self) -> bool:
        return self.base in TEMPORAL

    @property
    def numbered(self) -> bool:
        """Whether the database numbers it."""
        return self.identity or self.sequence is not None


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A reference: ``columns`` of this table hold ``target_columns`` of a row of ``target``."""

    name: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]
    deferrable: bool = False
    """Whether it can be checked at the end of the transaction."""


@dataclass(frozen=True, slots=True)
class Route:
    """A way along foreign keys to a table: which of our columns hold which of its columns."""

    target: str
    columns: Mapping[str, str]
    whole: bool = True
    """Whether it names one row: every column of every key on the way is ours. Else it tells where values are from."""


@dataclass(frozen=True)
class Table:
    """One table; partitions count as a part of their parent."""

    schema: str
    table: str
    label: str
    """The name as people write it: without the schema if that leaves no doubt."""
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    can_select: bool = True
    can_insert: bool = True

    @property
    def name(self) -> str:
        """``schema.table``, the one name it has in plans and keys."""
        return f"{self.schema}.{self.table}"

    @cached_property
    def referring(self) -> frozenset[str]:
        """The columns that are a part of a foreign key."""
        return frozenset(column for key in self.foreign_keys for column in key.columns)

    def column(self, name: str, **where: str) -> Column:
        """A column by its name.

        :param where: file and row, for the error.
        :raises UnknownColumn: with the nearest name.
        """
        if name in self.columns:
            return self.columns[name]
        near = get_close_matches(name, self.columns, n=1)
        raise UnknownColumn(
            f"Table {self.label} has no column {name!r}" + (f" ({where['at']})" if where.get("at") else ""),
            why="Its columns: " + ", ".join(self.columns),
            fix=f"Did you mean {near[0]!r}?" if near else "Correct the name, or migrate first: pliers-db migrate up",
            table=self.label,
            column=name,
            **where,
        )


@dataclass(frozen=True)
class Schema:
    """All tables of a database."""

    tables: Mapping[str, Table] = field(default_factory=dict)

    @cached_property
    def _by_label(self) -> Mapping[str, Table]:
        return {table.label: table for table in self.tables.values()}

    def table(self, name: str, at: str) -> Table:
        """A table by ``schema.name``, or by ``name`` if the search path finds it or only one schema has it.

        :param at: the place in the seed files, for the error.
        :raises UnknownTable: with the nearest name.
        """
        found = self._by_label.get(name) or self.tables.get(name)
        if found is not None:
            return found
        names = list(self._by_label)
        near = get_close_matches(name, names, n=1)
        raise UnknownTable(
            f"There is no table {name!r} ({at})",
            why="The database has: " + (", ".join(sorted(names)) or "no tables at all"),
            fix=f"Did you mean {near[0]!r}?" if near else "Migrate first: pliers-db migrate up",
            table=name,
            at=at,
        )

    def find(self, name: str) -> Table | None:
        """A table by its name, or None."""
        return self._by_label.get(name) or self.tables.get(name)

    def own_key(self, table: Table) -> list[Column]:
        """The columns of the primary key that a row has from itself, and not from a row that it refers to.

        Two tables may refer to each other, so that ``id`` leads back to itself: then it is the row's own.
        """
        return [table.columns[name] for name in table.primary_key if self._is_own(table, name)]

    def _is_own(self, table: Table, name: str) -> bool:
        ends = {(r.target, r.columns[name]) for r in self.routes(table) if r.whole and name in r.columns}
        strangers = {(t, c) for t, c in ends if t not in self.tables or c not in self.tables[t].referring}
        return not ends or (not strangers and (table.name, name) in ends)

    @cached_property
    def _routes(self) -> dict[str, list[Route]]:
        return {}

    def routes(self, table: Table) -> list[Route]:
        """Every way along foreign keys from a table, the nearest first.

        ``items(order_id) -> orders(id, shop_id) -> shops`` gives items the routes ``order_id = orders.id`` and, if
        ``items.shop_id`` is in the same key, ``shop_id = shops.id``.
        """
        if table.name not in self._routes:
            self._routes[table.name] = self._walk(table)
        return self._routes[table.name]

    def _walk(self, table: Table) -> list[Route]:
        found: list[Route] = []
        seen: set[tuple[str, bool, frozenset[tuple[str, str]]]] = set()
        front = [Route(table.name, {name: name for name in table.columns})]
        while front:
            ahead: list[Route] = []
            for route in front:
                here = self.tables.get(route.target)
                # A key of fewer columns says more exactly what each of them means.
                for key in sorted(here.foreign_keys, key=lambda k: len(k.columns)) if here else ():
                    pairs = dict(zip(key.columns, key.target_columns, strict=True))
                    columns = {ours: pairs[theirs] for ours, theirs in route.columns.items() if theirs in pairs}
                    whole = route.whole and len(columns) == len(pairs)
                    mark = (key.target, whole, frozenset(columns.items()))
                    if columns and mark not in seen:
                        seen.add(mark)
                        ahead.append(Route(key.target, columns, whole))
            found += ahead
            front = ahead
        return found


def read_schema(conn: Connection) -> Schema:
    """Read the tables of the connected database from its catalog."""
    queries = load_queries("pliers_db.seed", "sql/catalog.sql")
    facts: dict[str, Any] = {}
    columns: dict[str, dict[str, Column]] = {}
    primary: dict[str, tuple[str, ...]] = {}
    foreign: dict[str, list[ForeignKey]] = {}
    row: Any
    with conn.cursor(row_factory=namedtuple_row) as cursor:
        for row in cursor.execute(queries["columns"]):
            name = f"{row.schema}.{row.table}"
            facts.setdefault(name, row)
            columns.setdefault(name, {})[row.name] = Column(
                name=row.name,
                type=row.type,
                base=row.base,
                category=row.category,
                element=row.element,
                dimensions=row.dimensions,
                not_null=row.not_null,
                identity=row.identity != "",
                generated=row.generated,
                default=row.default_expression,
                default_varies=row.default_varies,
                sequence=row.sequence,
            )
        for row in cursor.execute(queries["keys"]):
            name = f"{row.schema}.{row.table}"
            if row.kind == "p":
                primary[name] = tuple(row.columns)
                continue
            target = f"{row.target_schema}.{row.target_table}"
            foreign.setdefault(name, []).append(
                ForeignKey(row.name, tuple(row.columns), target, tuple(row.target_columns), row.deferrable)
            )
    bare = Counter(fact.table for fact in facts.values())
    visible = {fact.table for fact in facts.values() if fact.visible}
    return Schema(
        {
            name: Table(
                schema=fact.schema,
                table=fact.table,
                label=fact.table if fact.visible or (bare[fact.table] == 1 and fact.table not in visible) else name,
                columns=columns[name],
                primary_key=primary.get(name, ()),
                foreign_keys=tuple(foreign.get(name, ())),
                can_select=fact.can_select,
                can_insert=fact.can_insert,
            )
            for name, fact in facts.items()
        }
    )
