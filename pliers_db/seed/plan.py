"""From seed files and a schema to the rows to be: in order, checked, and encoded. Nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pliers_db.errors import BadSeedFile, BadSeedValue, MissingSeedValue, ReferenceCycle
from pliers_db.seed.book import Book, Row, collect, expand
from pliers_db.seed.encode import encode
from pliers_db.seed.graph import in_order
from pliers_db.seed.schema import Schema, Table
from pliers_db.seed.spec import GroupSpec, Script, Spec, TableRules
from pliers_db.seed.values import UNSET, Raw, Values


@dataclass(frozen=True, slots=True)
class Record:
    """One row, encoded for COPY."""

    name: str
    at: str
    shape: int
    """Which columns it gives: an index into `TableData.shapes`."""
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class TableData:
    """All rows of one table."""

    table: Table
    key: tuple[str, ...]
    """The columns by which a row is recognised in the database."""
    columns: tuple[str, ...]
    shapes: tuple[frozenset[str], ...]
    """The sets of columns that rows give; for the others the database's default holds."""
    records: Sequence[Record]

    def shapes_with(self, column: str) -> list[int]:
        """The shapes that give a column."""
        return [place for place, given in enumerate(self.shapes) if column in given]


@dataclass(frozen=True)
class Plan:
    """What a run is to bring into the database."""

    spec: Spec
    tables: Sequence[TableData]
    scripts: Sequence[Script]
    book: Book

    @property
    def rows(self) -> int:
        """How many rows there are in all tables."""
        return sum(len(data.records) for data in self.tables)


def make_plan(spec: Spec, schema: Schema) -> Plan:
    """Work out every row.

    :raises InputError: with file, table, column and row; nothing was touched.
    """
    book = collect(spec, schema)
    _expand_all(spec, book)
    tables = in_order(book.tables())
    values = Values(spec, book)
    return Plan(spec, [_table_data(values, book.rows[table.name], table) for table in tables], spec.scripts, book)


def _expand_all(spec: Spec, book: Book) -> None:
    """Add the rows of groups with ``each``, a table's own before those that stand on it."""
    rules = {book.schema.table(name, table.at).name: table for name, table in spec.tables.items()}
    left = [group for group in spec.groups if group.each is not None]
    while left:
        filling = {book.schema.table(group.table, group.at).name for group in left}
        ready = [g for g in left if book.schema.table(g.each or "", g.at).name not in filling]
        if not ready:
            raise ReferenceCycle(
                f"{left[0].at} makes rows for each row of a table that waits for it",
                why="; ".join(f"{group.at}: each = {group.each}" for group in left),
                fix="Write the rows of one of these tables out.",
            )
        for group in ready:
            expand(book, group, _parents(spec, book, group), rules)
            left.remove(group)


def _parents(spec: Spec, book: Book, group: GroupSpec) -> list[Row]:
    table = book.schema.table(group.each or "", group.at)
    values = Values(spec, book)  # fresh: what it finds must not outlive the rows that are still to come
    for name in group.where:
        table.column(name, at=group.at)
    return [row for row in book.rows.get(table.name, ()) if _matches(values, row, group.where)]


def _matches(values: Values, row: Row, where: Mapping[str, Any]) -> bool:
    for name, wanted in where.items():
        column = row.table.columns[name]
        options = wanted if isinstance(wanted, list) else [wanted]
        found = values.value(row, name)
        if not any(encoded_equal(found, values.literal(row, column, option)) for option in options):
            return False
    return True


def encoded_equal(a: Any, b: Any) -> bool:
    """Whether two values are the same to the database: a uuid and its text are."""
    return a is not UNSET and (a == b or str(a) == str(b))


def _table_data(values: Values, rows: Sequence[Row], table: Table) -> TableData:
    key = _key(values.spec, table, values.book)
    given = [
        {name: values.value(row, name) for name in table.columns if not table.columns[name].generated} for row in rows
    ]
    used = {name for cells in given for name, value in cells.items() if value is not UNSET}
    columns = tuple(name for name in table.columns if name in used)
    shapes: dict[frozenset[str], int] = {}
    records: list[Record] = []
    seen: dict[tuple[str | None, ...], Row] = {}
    for row, cells in zip(rows, given, strict=True):
        _check_not_null(row, cells)
        shape = frozenset(name for name, value in cells.items() if value is not UNSET)
        encoded = tuple(_encode(row, name, cells[name]) for name in columns)
        by_name = dict(zip(columns, encoded, strict=True))
        _check_key(row, key, by_name, shape, seen)
        records.append(Record(row.name, row.at, shapes.setdefault(shape, len(shapes)), encoded))
    return TableData(table, key, columns, tuple(shapes), records)


def _key(spec: Spec, table: Table, book: Book) -> tuple[str, ...]:
    for name, rules in spec.tables.items():
        found: TableRules = rules
        if found.key and book.schema.table(name, found.at).name == table.name:
            return found.key
    if table.primary_key:
        return table.primary_key
    raise BadSeedFile(
        f"Table {table.label} has no primary key",
        why="Without a key a second run could not tell its rows from new ones.",
        fix=f'Name the columns that tell its rows apart: [tables.{table.label}] key = ["…"]',
        table=table.label,
    )


def _encode(row: Row, name: str, value: Any) -> str | None:
    if value is UNSET:
        return None
    try:
        return encode(value, row.table.columns[name], raw=isinstance(value, Raw))
    except ValueError as error:
        raise BadSeedValue(
            f"{row.at}: {row.table.label}.{name}: {error}",
            fix=f"Write a value of type {row.table.columns[name].type}.",
            at=row.at,
            table=row.table.label,
            column=name,
        ) from error


def _check_not_null(row: Row, cells: Mapping[str, Any]) -> None:
    for name, value in cells.items():
        column = row.table.columns[name]
        missing = value is None or (value is UNSET and column.default is None and not column.numbered)
        if column.not_null and missing:
            hint = " Rows need a name to get an id." if column.base == "uuid" and not row.named else ""
            raise MissingSeedValue(
                f"{row.at}: {row.table.label}.{name} has no value",
                why=f"The column is NOT NULL and has no default.{hint}",
                fix=f"Give {name} a value there, or for all rows under [tables.{row.table.label}.columns].",
                at=row.at,
                table=row.table.label,
                column=name,
            )


def _check_key(
    row: Row,
    key: tuple[str, ...],
    encoded: Mapping[str, str | None],
    shape: frozenset[str],
    seen: dict[tuple[str | None, ...], Row],
) -> None:
    for name in key:
        if name not in shape or encoded.get(name) is None:
            raise MissingSeedValue(
                f"{row.at}: {row.table.label}.{name} has no value",
                why="The column is a part of the key by which the row is recognised.",
                fix=f"Give {name} a value.",
                at=row.at,
                table=row.table.label,
                column=name,
            )
    mark = tuple(encoded[name] for name in key)
    if mark in seen:
        raise BadSeedFile(
            f"{row.at}: a second row of {row.table.label} with {', '.join(key)} = {', '.join(map(str, mark))}",
            why=f"The first is {seen[mark].at}.",
            fix="Change the key of one of them.",
            at=row.at,
            table=row.table.label,
            column=key[0],
        )
    seen[mark] = row
