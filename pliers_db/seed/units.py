"""What each column of a table may be, before any row is made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pliers_db.db import Connection
from pliers_db.seed.choices import Choices, numbered
from pliers_db.seed.demands import Demand, demand_on, literals_of, parsed
from pliers_db.seed.hashing import GENERATOR_VERSION, key_of
from pliers_db.seed.schema import ForeignKey
from pliers_db.seed.spec import Spec
from pliers_db.seed.supply import Supply
from pliers_db.seed.survey import Surveyed
from pliers_db.seed.trial import readable

_OID = re.compile(r"'\d+'::oid")


class Impossible(Exception):
    """No row of a table can be made: ``column`` and ``reason`` say why."""

    def __init__(self, reason: str, column: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column


@dataclass
class Population:
    """The rows that others may refer to: those that are there already, then those to be made."""

    rows: list[dict[str, str | None]] = field(default_factory=list)
    present: int = 0
    """How many of them were there."""
    start: int = 0
    """The number of the first row to be made."""
    highest: Mapping[str, int] = field(default_factory=dict)
    """The highest number in each numbered column."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Columns that get their values together: a reference, the ends of a range, or one column alone."""

    columns: tuple[str, ...]
    choices: Choices | None = None
    link: ForeignKey | None = None
    nullable: bool = False
    """NULL may be drawn."""
    hints: tuple[str, ...] = ()
    """Constants that stand in CHECKs on the column: where nothing else fits, one of them may."""

    @property
    def name(self) -> str:
        return self.link.name if self.link else self.columns[0]


class Stock:
    """Finds the values of a table's columns, and says what it found none for."""

    def __init__(self, conn: Connection, spec: Spec, table: Surveyed, own: Population) -> None:
        """:param own: the rows that are there already."""
        self.conn, self.spec, self.table, self.own = conn, spec, table, own
        self.notes: list[str] = []
        self.left_out: set[str] = set()

    @cached_property
    def must_differ(self) -> set[str]:
        return {column for unique in self.table.uniques for column in unique.columns}

    def demand(self, name: str) -> Demand:
        """What the CHECKs say about a column by itself."""
        found = Demand()
        for check in self.table.checks:
            if name in check.columns:
                found = found.also(demand_on(parsed(check.expression), name))
        return found

    def _choices(self, name: str) -> Choices | None:
        supply = Supply(self.spec, self.key(name), lambda kind, texts: readable(self.conn, kind, texts))
        distinct = name in self.must_differ
        return supply.of(self.table.kinds[name], self.demand(name), name=name, distinct=distinct)

    def free(self, name: str) -> Unit | None:
        """A column that refers to nothing; None if it is left to its default or to NULL.

        :raises Impossible: it must have a value and none is known.
        """
        column = self.table.table.columns[name]
        demand = self.demand(name)
        must = name in self.table.not_null or demand.not_null
        choices: Choices | None
        if column.numbered:
            limits = {"smallint": 15, "integer": 31}
            bits = limits.get(self.table.kinds[name].name, 63)
            first = self.own.highest.get(name, 0) - self.own.start + 1
            if demand.low is not None and demand.low.lstrip("-").isdigit():
                first = max(first, int(demand.low) + demand.above)
            choices = numbered(first, (1 << bits) - 1)
        else:
            choices = self._choices(name)
        if choices is None or choices.size < 1:
            kind = self.table.kinds[name].sql
            if column.default is not None:
                self.left_out.add(name)
                self.notes.append(f"{name}: its default, for no value of type {kind} is known")
                return None
            if not must:
                self.left_out.add(name)
                self.notes.append(f"{name}: NULL, for no value of type {kind} is known")
                return None
            raise Impossible(f"no value of type {kind} is known that its CHECKs allow", name)
        return Unit((name,), choices, nullable=not must, hints=self._hints(name))

    def _hints(self, name: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for check in self.table.checks:
            if name in check.columns:
                # An oid in it is another one in another database: the rows must not be.
                found |= dict.fromkeys(literals_of(parsed(_OID.sub("0", check.expression))))
        for text in list(found):
            if text.lstrip("-").isdigit():
                found |= dict.fromkeys([str(int(text) + 1), str(int(text) - 1)])
        kind = self.table.kinds[name]
        if kind.name in ("json", "jsonb"):
            return _documents([text for text in found if text.isidentifier()])
        texts = list(found)[:40]
        return tuple(texts if kind.textual else readable(self.conn, kind, texts)) if texts else ()

    def span(self, low: str, high: str) -> Choices:
        """Two ends of ranges that do not overlap."""
        bound = self._choices(low)
        if bound is None or bound.size < 4:
            raise Impossible("no ranges without overlap are known", low)
        return Choices(
            bound.size // 4,
            lambda n: f"{bound.nth(n * 4)}\x1f{bound.nth(n * 4 + 2)}",
            "ranges",
            (bound.common or bound.size) // 4,
        )

    def key(self, name: str) -> int:
        """Of the draws of a column, or of what its columns share."""
        return key_of(GENERATOR_VERSION, self.spec.seed, self.table.table.name, name, "fill")


def _documents(keys: Sequence[str]) -> tuple[str, ...]:
    """Documents with the keys that a CHECK speaks of."""
    values: list[object] = [[], {}, "text", 1, True]
    found: list[object] = [dict.fromkeys(keys, value) for value in values]
    found += [{key: value} for key in keys[:6] for value in values]
    return tuple(json.dumps(document) for document in [*found, [], {}])
