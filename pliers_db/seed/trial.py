"""Asking the database what it thinks of rows before they are written: are the CHECKs met, is a text of that type?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import LiteralString

import psycopg
from psycopg import sql

from pliers_db.db import Connection
from pliers_db.seed.demands import equations
from pliers_db.seed.kinds import Kind
from pliers_db.seed.survey import Check, Surveyed

Cells = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the database says to one row."""

    failed: tuple[int, ...]
    """The places of the checks that it does not meet."""
    matching: tuple[bool, ...]
    """Whether it meets each predicate."""
    derived: Cells
    """The values of columns that follow from others."""
    error: str = ""


@dataclass(frozen=True)
class Trial:
    """Tests rows of one table against its checks, its domains' checks and the predicates of its unique indexes."""

    conn: Connection
    table: Surveyed
    free: frozenset[str]
    """Columns whose values may be replaced by what an equation says."""
    predicates: Sequence[str] = ()

    @cached_property
    def checks(self) -> Sequence[Check]:
        """The table's, and those of its columns' domains."""
        found = list(self.table.checks)
        for name, kind in self.table.kinds.items():
            for number, expression in enumerate(kind.checks, start=1):
                found.append(Check(f"domain of {name} #{number}", expression, frozenset({name})))
        return found

    @property
    def needed(self) -> bool:
        """Whether there is anything to test."""
        return bool(self.checks or self.predicates)

    @cached_property
    def derived(self) -> Mapping[str, str]:
        """Columns that a check says all about, with what they must be."""
        found: dict[str, str] = {}
        for check in self.table.checks:
            for name, text, needed in equations(check.expression):
                if name in self.free and not needed & found.keys():
                    found.setdefault(name, text)
        return found

    def judge(self, rows: Sequence[Cells]) -> list[Verdict]:
        """What the database says to each row. Errors in a check count as not met."""
        if not self.needed:
            return [Verdict((), (), {})] * len(rows)
        try:
            with self.conn.transaction(force_rollback=True):
                return self._ask(rows)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            if len(rows) == 1:
                text = error.diag.message_primary or str(error)
                return [Verdict(tuple(range(len(self.checks))), (False,) * len(self.predicates), {}, text)]
            half = len(rows) // 2
            return self.judge(rows[:half]) + self.judge(rows[half:])

    def _ask(self, rows: Sequence[Cells]) -> list[Verdict]:
        columns = [name for name in self.table.kinds if name not in self.table.generated]
        values = [[row.get(name) for row in rows] for name in columns]
        found = self.conn.execute(self._query, [list(range(len(rows))), *values]).fetchall()
        verdicts: list[Verdict] = [Verdict((), (), {})] * len(rows)
        names = list(self.derived)
        for number, met, matching, derived in found:
            failed = tuple(place for place, good in enumerate(met) if not good)
            verdicts[number] = Verdict(failed, tuple(matching), dict(zip(names, derived, strict=True)))
        return verdicts

    @cached_property
    def _query(self) -> sql.Composed:
        kinds = self.table.kinds
        columns = [name for name in kinds if name not in self.table.generated]
        inputs = [sql.Identifier(f"c{number}") for number in range(len(columns))]
        typed = [
            sql.SQL("{}::{} as {}").format(cell, sql.SQL(_trusted(kinds[name].sql)), _name(name))
            for name, cell in zip(columns, inputs, strict=True)
        ]
        settled = [
            sql.SQL("({})::{} as {}").format(
                sql.SQL(_trusted(self.derived[name])), sql.SQL(_trusted(kinds[name].sql)), _name(name)
            )
            if name in self.derived
            else _name(name)
            for name in columns
        ]
        made = [
            sql.SQL("({}) as {}").format(sql.SQL(_trusted(text)), _name(name))
            for name, text in self.table.generated.items()
        ]
        met = [self._met(check) for check in self.checks]
        matching = [sql.SQL("coalesce({}, false)").format(sql.SQL(_trusted(p))) for p in self.predicates]
        derived = [sql.SQL("{}::text").format(_name(name)) for name in self.derived]
        return sql.SQL(
            'select "@n", {met}, {matching}, {derived} from (select {made} from (select "@n", {settled} from ('
            'select "@n", {typed} from unnest({parameters}) as r ("@n", {inputs})) as {t}) as {t}) as {t}'
        ).format(
            t=_name(self.table.table.table),
            met=_array(met, "boolean"),
            matching=_array(matching, "boolean"),
            derived=_array(derived, "text"),
            made=sql.SQL(", ").join([sql.SQL("*"), *made]),
            settled=sql.SQL(", ").join(settled),
            typed=sql.SQL(", ").join(typed),
            parameters=sql.SQL(", ").join([sql.SQL("%s::int[]"), *[sql.SQL("%s::text[]")] * len(columns)]),
            inputs=sql.SQL(", ").join(inputs),
        )

    def _met(self, check: Check) -> sql.Composed:
        if check.name.startswith("domain of "):
            (column,) = check.columns
            return sql.SQL("(select coalesce({}, true) from (select {} as value) as v)").format(
                sql.SQL(_trusted(check.expression)), _name(column)
            )
        return sql.SQL("coalesce({}, true)").format(sql.SQL(_trusted(check.expression)))


def readable(conn: Connection, kind: Kind | str, texts: Sequence[str]) -> list[str]:
    """Those of some texts that a type can read."""
    name = kind if isinstance(kind, str) else kind.sql
    found: list[str] = []
    for text in texts:
        try:
            with conn.transaction(force_rollback=True):
                conn.execute(sql.SQL("select {}::{}").format(sql.Literal(text), sql.SQL(_trusted(name))))
        except psycopg.OperationalError:
            raise
        except psycopg.Error:
            continue  # the answer: it can't
        found.append(text)
    return found


def _array(items: Sequence[sql.Composable], type_name: str) -> sql.Composed:
    return sql.SQL("array[{}]::{}[]").format(sql.SQL(", ").join(items), sql.SQL(_trusted(type_name)))


def _name(name: str) -> sql.Identifier:
    """A name in a statement with parameters, where psycopg reads percent signs everywhere."""
    return sql.Identifier(name.replace("%", "%%"))


def _trusted(text: str) -> LiteralString:
    """SQL that the server's own catalog wrote, percent signs safe for psycopg."""
    return text.replace("%", "%%")
