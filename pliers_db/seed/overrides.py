"""Columns of made rows about which the seed files say something: their generators, on top of what was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pliers_db.errors import BadSeedValue, MissingSeedValue
from pliers_db.seed.book import Book, Cell, Row
from pliers_db.seed.encode import encode
from pliers_db.seed.schema import Table
from pliers_db.seed.spec import FillSpec, Spec
from pliers_db.seed.values import UNSET, Raw, Values


class Overrides:
    """Works out the columns of a table that ``[fill.TABLE.columns]`` names."""

    def __init__(self, spec: Spec, book: Book, table: Table, said: FillSpec) -> None:
        """
        :raises UnknownColumn: it has none of that name.
        :raises BadSeedValue: the database computes it.
        """
        self.spec, self.book, self.table, self.said = spec, book, table, said
        self.rules = {name: Cell(rule, rule=True) for name, rule in said.columns.items()}
        for name in self.rules:
            if table.column(name, at=said.at).generated:
                raise BadSeedValue(
                    f"{said.at}: {table.label}.{name} is a generated column",
                    why="The database computes it; nobody can write it.",
                    fix=f"Remove {name} there.",
                )

    def apply(self, number: int, cells: Mapping[str, str | None]) -> dict[str, str | None]:
        """The values of these columns in row ``number`` (from 0).

        :raises BadSeedValue, MissingSeedValue: with table, column and row.
        """
        given: dict[str, Cell] = {n: Cell(None if v is None else v, raw=True) for n, v in cells.items()}
        at = f"{self.said.at} row {number + 1}"
        row = Row(self.table, str(number + 1), True, number + 1, {**given, **self.rules}, at, "fill", number + 1)
        values = _Given(self.spec, self.book, cells, self.rules)
        return {name: self._text(row, name, values.value(row, name)) for name in self.rules}

    def _text(self, row: Row, name: str, value: Any) -> str | None:
        column = self.table.columns[name]
        if value is UNSET or (value is None and column.not_null):
            raise MissingSeedValue(
                f"{row.at}: {self.table.label}.{name} has no value",
                why="The column is NOT NULL.",
                fix=f"Give {name} another generator.",
                table=self.table.label,
                column=name,
            )
        try:
            return encode(value, column, raw=isinstance(value, Raw))
        except ValueError as error:
            raise BadSeedValue(
                f"{row.at}: {self.table.label}.{name}: {error}",
                fix=f"Write a value of type {column.type}.",
                at=row.at,
                table=self.table.label,
                column=name,
            ) from error


class _Given(Values):
    """Values of a row whose other columns are made already."""

    def __init__(self, spec: Spec, book: Book, cells: Mapping[str, str | None], rules: Mapping[str, Cell]) -> None:
        super().__init__(spec, book)
        self._cells, self._rules = cells, rules

    def value(self, row: Row, name: str) -> Any:
        if row.group == "fill" and name in self._cells and name not in self._rules:
            return self._cells[name]
        return super().value(row, name)
