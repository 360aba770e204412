"""All rows of the seeds by table and name, before any of their values is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pliers_db.errors import BadSeedFile, DanglingReference
from pliers_db.seed.schema import Schema, Table
from pliers_db.seed.spec import GroupSpec, RowSpec, Spec, TableRules


@dataclass(frozen=True, slots=True)
class Cell:
    """What a seed says about one value."""

    expression: Any
    rule: bool = False
    """Whether a table in it is a generator even where the column holds JSON."""
    raw: bool = False
    """From a CSV file: text in PostgreSQL's input form."""


@dataclass(eq=False, slots=True)
class Row:
    """One row to be: its place and what is said about its columns."""

    table: Table
    name: str
    named: bool
    """Whether its user gave the name (or its group's); others are called ``#3`` by their place in the file."""
    number: int
    """Its place among all rows of its table, from 1."""
    cells: Mapping[str, Cell]
    at: str
    group: str = ""
    n: int = 1
    """Its number in its group (or below its ``each`` row), from 1."""
    each: Row | None = None

    def __str__(self) -> str:
        return f"{self.table.label}/{self.name}"


@dataclass
class Book:
    """Rows by table and name. Made by `collect`."""

    schema: Schema
    rows: dict[str, list[Row]] = field(default_factory=dict)
    names: dict[str, dict[str, Row]] = field(default_factory=dict)

    def tables(self) -> Iterator[Table]:
        """The tables that have rows here."""
        for name in self.rows:
            yield self.schema.tables[name]

    def find(self, table: str, name: str) -> Row | None:
        """A row by its table's full name and its own."""
        return self.names.get(table, {}).get(name)

    def add(self, row: Row) -> None:
        """:raises BadSeedFile: its name is taken."""
        rows = self.rows.setdefault(row.table.name, [])
        names = self.names.setdefault(row.table.name, {})
        if row.name in names:
            raise BadSeedFile(
                f"Two rows of {row.table.label} have the name {row.name!r}",
                why=f"{names[row.name].at} and {row.at}",
                fix="Give one of them another name: names are unique in their table, across all files.",
            )
        names[row.name] = row
        rows.append(row)

    def near(self, tables: Sequence[str], name: str) -> list[str]:
        """Names that look like ``name``, for an error."""
        known = [other for table in tables for other in self.names.get(table, {})]
        return get_close_matches(name, known, n=3)


def collect(spec: Spec, schema: Schema) -> Book:
    """Find the table and the columns of every row, and lay the file's and the table's defaults below its own values.

    Rows of groups with ``each`` are not in it yet: `expand` adds them.

    :raises UnknownTable, UnknownColumn, BadSeedFile: with file, table, column and row.
    """
    rules = {schema.table(name, table.at).name: table for name, table in spec.tables.items()}
    for name, table_rules in rules.items():
        for column in (*table_rules.columns, *(table_rules.key or ())):
            _writable(schema.tables[name], column, table_rules.at)
    book = Book(schema)
    for row in spec.rows:
        table = schema.table(row.table, row.at)
        book.add(_row(schema, table, row, rules.get(table.name), len(book.rows.get(table.name, ())) + 1))
    for group in spec.groups:
        if group.each is None:
            expand(book, group, [None], rules)
    _check_defaults(spec, schema)
    return book


def expand(book: Book, group: GroupSpec, parents: Sequence[Row | None], rules: Mapping[str, TableRules]) -> None:
    """Add a group's rows: ``group.rows`` for each of its parents.

    :param rules: by the table's full name.
    """
    table = book.schema.table(group.table, group.at)
    cells = _cells(table, group.columns, group.defaults, rules.get(table.name), group.at, rule=True)
    for parent in parents:
        for n in range(1, group.rows + 1):
            if parent is None:
                name = f"{group.name}-{n}"
            else:
                name = f"{group.name}-{parent.name}" + (f"-{n}" if group.rows > 1 else "")
            number = len(book.rows.get(table.name, ())) + 1
            named = parent is None or parent.named
            book.add(Row(table, name, named, number, cells, f"{group.at} row {name}", group.name, n, parent))


def _row(schema: Schema, table: Table, spec: RowSpec, rules: TableRules | None, number: int) -> Row:
    cells = _cells(table, spec.values, spec.defaults, rules, spec.at, raw=spec.raw)
    name = spec.name
    for column in schema.own_key(table):
        given = cells[column.name].expression if column.name in cells else None
        # `id = "@acme"` names the row: the column refers to nothing else.
        if isinstance(given, str) and given.startswith("@") and "/" not in given:
            if name is not None and name != given[1:]:
                raise BadSeedFile(f"{spec.at} has two names: {name!r} and {given!r}", fix="Keep one of them.")
            name = given[1:]
            cells = {key: cell for key, cell in cells.items() if key != column.name}
    return Row(table, name or f"#{number}", name is not None, number, cells, spec.at)


def _cells(
    table: Table,
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
    rules: TableRules | None,
    at: str,
    *,
    rule: bool = False,
    raw: bool = False,
) -> dict[str, Cell]:
    cells = {name: Cell(value, rule=True) for name, value in rules.columns.items()} if rules else {}
    cells |= {name: Cell(value) for name, value in defaults.items() if name in table.columns}
    for name, value in values.items():
        _writable(table, name, at)
        cells[name] = Cell(value, rule=rule, raw=raw)
    return cells


def _writable(table: Table, name: str, at: str) -> None:
    column = table.column(name, at=at)
    if column.generated:
        raise BadSeedFile(
            f"{at}: {table.label}.{name} is a generated column",
            why="The database computes it; nobody can write it.",
            fix=f"Remove {name} there.",
        )


def _check_defaults(spec: Spec, schema: Schema) -> None:
    """Each of a file's ``[defaults]`` must mean something: a column of one of the file's tables."""
    by_file: dict[str, tuple[Mapping[str, Any], set[str]]] = {}
    items: list[RowSpec | GroupSpec] = [*spec.rows, *spec.groups]
    for item in items:
        file = item.at.partition(":")[0]
        by_file.setdefault(file, (item.defaults, set()))[1].add(item.table)
    for file, (defaults, tables) in by_file.items():
        for name in defaults:
            if not any(name in schema.table(table, file).columns for table in tables):
                raise BadSeedFile(
                    f"{file}: defaults: no table of this file has a column {name!r}",
                    why="Its tables: " + ", ".join(sorted(tables)),
                    fix=f"Correct or remove {name}.",
                )


def dangling(book: Book, row: Row, column: str, text: str, tables: Sequence[str]) -> DanglingReference:
    """The error for a reference to a row that is not there."""
    labels = [book.schema.tables[name].label for name in tables if name in book.schema.tables]
    near = book.near(tables, text.lstrip("@").rpartition("/")[2].partition(".")[0])
    return DanglingReference(
        f"{row.at}: {row.table.label}.{column} refers to {text}, which is not there",
        why=f"No row of {' or '.join(dict.fromkeys(labels)) or 'any table'} has that name.",
        fix=f"Did you mean @{near[0]}?" if near else "Add that row, or correct the name.",
        at=row.at,
        table=row.table.label,
        column=column,
    )
