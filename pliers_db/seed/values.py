"""The values of rows: each is worked out when it is asked for, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from pliers_db.errors import BadSeedValue, ReferenceCycle
from pliers_db.seed import fields, times  # noqa: F401 - fields registers its generator
from pliers_db.seed.book import Book, Cell, Row, dangling
from pliers_db.seed.generators import Chance, generate
from pliers_db.seed.hashing import GENERATOR_VERSION, Draw, key_of, uuid7, uuid8
from pliers_db.seed.schema import Column, Route
from pliers_db.seed.spec import Spec


class Unset:
    """A column about which the seeds say nothing: the database's default holds."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset()


class Values:
    """Works out the values of a book's rows. Pure: the same spec and schema give the same values."""

    def __init__(self, spec: Spec, book: Book) -> None:
        self.spec = spec
        self.book = book
        self._known: dict[tuple[Row, str], Any] = {}
        self._open: list[tuple[Row, str]] = []
        # The row that a cell's reference led to, and how: its other columns follow from it.
        self._links: dict[tuple[Row, str], tuple[Row, Route]] = {}
        self._found: dict[tuple[str, tuple[str, ...]], dict[tuple[Any, ...], Row]] = {}

    def value(self, row: Row, name: str) -> Any:
        """The value of a column of a row, `UNSET` if the database is to choose it.

        :raises BadSeedValue, DanglingReference, ReferenceCycle: with file, table, column and row.
        """
        place = (row, name)
        if place in self._known:
            return self._known[place]
        if place in self._open:
            circle = [f"{r}.{c}" for r, c in [*self._open[self._open.index(place) :], place]]
            raise ReferenceCycle(
                f"{row.at}: {row.table.label}.{name} depends on itself",
                why=" needs ".join(circle),
                fix="Write one of these values out.",
            )
        self._open.append(place)
        try:
            column = row.table.column(name, at=row.at)
            cell = row.cells.get(name)
            value = self._implied(row, column) if cell is None else self._cell(row, column, cell)
        finally:
            self._open.pop()
        self._known[place] = value
        return value

    def path(self, row: Row, path: str) -> Any:
        """A value by its path: ``as_of``, ``n``, ``column``, ``column.key``, ``each.column``, ``@table/row.column``.

        :raises ValueError: there is no such thing.
        """
        if path == "as_of":
            return self.spec.as_of
        if path == "n":
            return row.n
        if path.startswith("@"):
            target, rest = self._full_reference(path)
            return self._down(target, rest or self._only_key(target).name)
        if path.startswith("each.") and row.each is not None:
            return self._down(row.each, path.removeprefix("each."))
        return self._down(row, path)

    # ── cells ───────────────────────────────────────────────────────────────────────────────────────────────
    def _cell(self, row: Row, column: Column, cell: Cell) -> Any:
        try:
            if cell.raw:
                return self._raw(row, column, cell.expression)
            return self.rule(row, column, cell.expression, self.draw(row, column.name), nested=not cell.rule)
        except (ValueError, OverflowError) as error:
            raise BadSeedValue(
                f"{row.at}: {row.table.label}.{column.name}: {error}",
                fix="docs/seeds.md lists what a value may be.",
                at=row.at,
                table=row.table.label,
                column=column.name,
            ) from error

    def rule(self, row: Row, column: Column, expression: Any, draw: Draw, *, nested: bool = False) -> Any:
        """A value, or what its generator gives.

        :param nested: in a JSON column a table is a document, not a generator.
        """
        if isinstance(expression, Mapping) and not (nested and column.is_json):
            return generate(expression, Chance(self, row, column, draw))
        return self.literal(row, column, expression)

    def literal(self, row: Row, column: Column, value: Any) -> Any:
        """A value as written: references and relative times are worked out."""
        if column.is_json:
            return self._json(row, column, value)
        if isinstance(value, list):
            return [self.literal(row, column, item) for item in value]
        if not isinstance(value, str):
            return value
        if value.startswith("@@"):
            return value[1:]
        if value.startswith("@"):
            return self._reference(row, column, value)
        if column.is_temporal and (times.is_expression(value) or value.startswith("as_of")):
            return times.evaluate(value, lambda path: self.path(row, path))
        return value

    def _raw(self, row: Row, column: Column, text: str) -> Any:
        if text.startswith("@") or column.is_temporal:
            return self.literal(row, column, text)
        return Raw(text)

    def _json(self, row: Row, column: Column, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._json(row, column, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._json(row, column, item) for item in value]
        if isinstance(value, str) and value.startswith("@"):
            if value.startswith("@@"):
                return value[1:]
            if self._names_a_table(value):
                return self.path(row, value)
        return value

    def draw(self, row: Row, name: str) -> Draw:
        """A chance for something of a row: counted by its number in its group, or by the name of what it belongs to.

        :param name: the column, or a word for what its columns share.
        """
        path = (GENERATOR_VERSION, self.spec.seed, row.table.name, name, row.group)
        return Draw(key_of(*path), row.n if row.group and row.each is None else key_of(row.name))

    # ── references ──────────────────────────────────────────────────────────────────────────────────────────
    def _reference(self, row: Row, column: Column, text: str) -> Any:
        """``@name`` through the column's foreign keys, or ``@table/name[.column]``."""
        routes = [r for r in self.book.schema.routes(row.table) if column.name in r.columns]
        if "/" in text and (self._names_a_table(text) or column.category != "S"):
            target, rest = self._full_reference(text, row, column)
            for route in routes:
                if route.target == target.table.name and rest in ("", route.columns[column.name]):
                    self._links[row, column.name] = (target, route)
                    return self.value(target, route.columns[column.name])
            return self._down(target, rest or self._only_key(target).name)
        for route in routes:
            found = self.book.find(route.target, text[1:])
            if found is not None:
                self._links[row, column.name] = (found, route)
                return self.value(found, route.columns[column.name])
        if routes:
            raise dangling(self.book, row, column.name, text, [route.target for route in routes])
        if column.category == "S":
            return text
        raise ValueError(f"{text} needs its table, for the column refers to none: write @table/{text[1:]}")

    def _names_a_table(self, text: str) -> bool:
        table = self.book.schema.find(text[1:].rpartition("/")[0])
        return table is not None and table.name in self.book.rows

    def _full_reference(self, text: str, row: Row | None = None, column: Column | None = None) -> tuple[Row, str]:
        table_name, _, rest = text[1:].partition("/")
        name, _, path = rest.partition(".")
        table = self.book.schema.find(table_name)
        found = self.book.find(table.name, name) if table else None
        if found is not None:
            return found, path
        if row is not None and column is not None and table is not None:
            raise dangling(self.book, row, column.name, text, [table.name])
        near = self.book.near([table.name], name) if table else []
        raise ValueError(
            f"{text} is not there" + (f"; did you mean @{table_name}/{near[0]}?" if near else "")
            if table
            else f"{text} names an unknown table {table_name!r}"
        )

    def _only_key(self, row: Row) -> Column:
        keys = self.book.schema.own_key(row.table) or [row.table.columns[name] for name in row.table.primary_key]
        if len(keys) != 1:
            raise ValueError(f"@{row} has no single key column: write @{row}.COLUMN")
        return keys[0]

    def _down(self, row: Row, path: str) -> Any:
        """A column of a row, then into a JSON document, or over a foreign key into another row."""
        name, _, rest = path.partition(".")
        if name not in row.table.columns:
            raise ValueError(f"{path!r} is nothing here: {row.table.label} has no column {name!r}")
        value = self.value(row, name)
        if value is UNSET:
            if row.table.columns[name].default is not None:
                raise ValueError(f"{path!r}: {row}.{name} is left to the database's default; write it out there")
            value = None
        if not rest:
            return value
        if isinstance(value, Mapping | list):
            for key in rest.split("."):
                if not isinstance(value, Mapping):
                    raise ValueError(f"{path!r}: {key!r} is not in a JSON object")
                value = value.get(key)
            return value
        if name in row.table.referring:
            return self._down(self.referred(row, name), rest)
        raise ValueError(f"{path!r}: {row.table.label}.{name} is neither JSON nor a reference")

    def referred(self, row: Row, name: str) -> Row:
        """The seeded row that a column refers to: the one its ``@name`` named, or by its narrowest foreign key.

        :raises ValueError: no seeded row has these values.
        """
        self.value(row, name)
        if (row, name) in self._links:
            return self._links[row, name][0]
        keys = sorted((k for k in row.table.foreign_keys if name in k.columns), key=lambda k: len(k.columns))
        key = keys[0]
        index = (key.target, key.target_columns)
        if index not in self._found:
            self._found[index] = {
                tuple(_plain(self.value(other, column)) for column in key.target_columns): other
                for other in self.book.rows.get(key.target, ())
            }
        wanted = tuple(_plain(self.value(row, column)) for column in key.columns)
        found = self._found[index].get(wanted)
        if found is None:
            raise ValueError(f"no seeded row of {key.target} has {dict(zip(key.target_columns, wanted, strict=True))}")
        return found

    # ── what follows from the rest ──────────────────────────────────────────────────────────────────────────
    def _implied(self, row: Row, column: Column) -> Any:
        """A value that nobody wrote: the rest of a composite reference, the id of a named row, a fixed default."""
        routes = self.book.schema.routes(row.table)
        if row.each is not None:
            for route in routes:
                if route.target == row.each.table.name and column.name in route.columns:
                    return self.value(row.each, route.columns[column.name])
            # Both refer to the same by the same name (the tenant): the row belongs where its parent does.
            ends = {(route.target, route.columns[column.name]) for route in routes if column.name in route.columns}
            theirs = self.book.schema.routes(row.each.table)
            if any((r.target, r.columns.get(column.name)) in ends for r in theirs):
                return self.value(row.each, column.name)
        for key in row.table.foreign_keys:
            if column.name not in key.columns:
                continue
            for other in key.columns:
                if other == column.name or other not in row.cells or (row, other) in self._open:
                    continue
                self.value(row, other)
                link = self._links.get((row, other))
                if link is not None and column.name in link[1].columns:
                    return self.value(link[0], link[1].columns[column.name])
        if column in self.book.schema.own_key(row.table):
            if column.base == "uuid" and row.named:
                return uuid8(GENERATOR_VERSION, self.spec.seed, row.table.name, column.name, row.name)
            if column.numbered and self.matches_by_primary_key(row):
                return row.number
        if column.default_varies and not column.numbered:
            # now() and its like would make every load another one.
            if column.is_temporal:
                return self.spec.as_of
            if column.base == "uuid" and row.named:
                return uuid8(GENERATOR_VERSION, self.spec.seed, row.table.name, column.name, row.name)
            raise BadSeedValue(
                f"{row.at}: {row.table.label}.{column.name} needs a value",
                why=f"Its default, {column.default}, gives another value each time.",
                fix=f"Give {column.name} a value, or the row a name if it is a uuid.",
                at=row.at,
                table=row.table.label,
                column=column.name,
            )
        return UNSET

    def matches_by_primary_key(self, row: Row) -> bool:
        """Whether rows of its table are recognised by the primary key (and not by a key of the seeds' choice)."""
        for name, rules in self.spec.tables.items():
            table = self.book.schema.find(name)
            if table is not None and table.name == row.table.name and rules.key:
                return set(rules.key) == set(table.primary_key)
        return True

    def uuid7(self, row: Row, column: Column, moment: datetime) -> UUID:
        """A time-ordered id for a named row."""
        if not row.named:
            raise ValueError("only a row with a name can have a made id")
        path = (GENERATOR_VERSION, self.spec.seed, row.table.name, column.name, row.name)
        return uuid7(int(moment.timestamp() * 1000), *path)


class Raw(str):
    """Text that PostgreSQL is to read as it stands."""

    __slots__ = ()


def _plain(value: Any) -> Any:
    """A value that can be compared with one of another row."""
    if isinstance(value, UUID | datetime | date):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_plain(item) for item in value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
