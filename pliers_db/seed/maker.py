"""Makes the rows of a table that nobody wrote: keys that fit, values that differ where they must, CHECKs met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from pliers_db.db import Connection
from pliers_db.seed.demands import orders, parsed, understood
from pliers_db.seed.hashing import Draw
from pliers_db.seed.lifetimes import birth_of, moved, read
from pliers_db.seed.overrides import Overrides
from pliers_db.seed.schema import ForeignKey
from pliers_db.seed.spec import Spec
from pliers_db.seed.survey import Surveyed, Unique
from pliers_db.seed.trial import Trial, Verdict
from pliers_db.seed.units import Impossible, Population, Stock, Unit

NULLS = 0.1
"""The chance of NULL where it is allowed and nothing is said."""
TRIES = 100
"""How often a row is changed before it is given up."""
_PLENTY = 1 << 40
"""Of so many values a changed row finds another one that no row has."""
SPAN = 2 * 365 * 86400
"""Seconds before the seeds' present in which times lie if nothing else is said."""
NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
MOMENTS = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})


@dataclass
class _Row:
    """A row in the making: how often each of its units was tried again."""

    number: int
    tries: dict[str, int] = field(default_factory=dict)
    cells: dict[str, str | None] = field(default_factory=dict)
    verdict: Verdict | None = None
    problem: str = ""
    """Why no reference could be chosen that agrees with the others."""
    floor: datetime | None = None
    """When the youngest of the rows that it refers to was made."""


def _skewed(draw: Draw, count: int) -> int:
    """A place from 0 to ``count`` - 1, the first ones oftener: a tenth of the places gets a third of the draws."""
    return draw.below(count) * draw.sub("skew").below(count + 1) // (count + 1)


class Maker:
    """Makes rows of one table. Each is a function of the seed, the table, its number and the rows it refers to."""

    def __init__(
        self,
        conn: Connection,
        spec: Spec,
        table: Surveyed,
        populations: Mapping[str, Population],
        count: int,
        late: frozenset[str] = frozenset(),
        overrides: Overrides | None = None,
    ) -> None:
        """
        :param populations: of the tables that it refers to, and its own.
        :param count: how many rows are wanted.
        :param late: foreign keys whose tables are made later; they are `tie`\\ d then.
        :param overrides: what the seed files say about single columns.
        :raises Impossible: no row can be made.
        """
        self.conn, self.spec, self.table = conn, spec, table
        self.populations = populations
        self.own = populations[table.table.name]
        self.count = count
        self.late_keys = late
        self.stock = Stock(conn, spec, table, self.own)
        self.notes, self.left_out = self.stock.notes, self.stock.left_out
        if table.obstacle:
            raise Impossible(table.obstacle)
        # The widest first: it says the most about what the others may be.
        self.overrides = overrides
        self.said = frozenset(overrides.rules) if overrides else frozenset()
        links = [k for k in table.table.foreign_keys if k.name not in late and not self.said & set(k.columns)]
        self.links = sorted(links, key=lambda key: (-len(key.columns), key.name))
        self.late = {column for key in table.table.foreign_keys if key.name in late for column in key.columns}
        self.linked = {column for key in table.table.foreign_keys for column in self._given_by(key, late)}
        self.linked -= self.said
        self._indexes: dict[tuple[str, tuple[str, ...]], tuple[dict[tuple[str | None, ...], list[int]], int]] = {}
        self.units = self._units()
        self._fallback: dict[str, Unit] = {}
        self._proven = False
        self.distinct: set[str] = set()
        self.watched = self._watched()
        free = frozenset(u.columns[0] for u in self.units if u.link is None and u.name not in self.distinct)
        predicates = [u.predicate for u in self.watched if u.predicate]
        self.trial = Trial(conn, table, free, predicates)

    @property
    def columns(self) -> list[str]:
        """The columns that are given."""
        return [c for c in self.table.table.columns if c not in self.table.generated and c not in self.left_out]

    # ── what each column may be ─────────────────────────────────────────────────────────────────────────────
    def _units(self) -> list[Unit]:
        units = [Unit(key.columns, link=key, nullable=self._may_miss(key)) for key in self.links]
        spans = {name for pair in self.table.spans for name in pair if not set(pair) & self.linked}
        for low, high in self.table.spans:
            if low in spans and high in spans:
                units.append(Unit((low, high), self.stock.span(low, high)))
        for name in self.table.table.columns:
            if name not in self.table.generated and name not in {*self.linked, *spans, *self.said}:
                unit = self.stock.free(name)
                if unit is not None:
                    units.append(unit)
        return units

    def _given_by(self, key: ForeignKey, late: frozenset[str]) -> list[str]:
        """The columns that a reference gives. One that comes late leaves alone what must have a value at once."""
        loose = [column for column in key.columns if column not in self.table.not_null]
        return loose if key.name in late and loose else list(key.columns)

    def _may_miss(self, key: ForeignKey) -> bool:
        return any(column not in self.table.not_null for column in key.columns)

    @cached_property
    def _alone(self) -> set[frozenset[str]]:
        return {frozenset(unique.columns) for unique in self.table.uniques}

    def _watched(self) -> list[Unique]:
        """Give one column of each unique key values that all differ; where none can, the rows are watched."""
        watched = []
        for unique in sorted(self.table.uniques, key=lambda u: len(u.columns)):
            units = [u for u in self.units if set(u.columns) & set(unique.columns)]
            if not any(u.name in self.distinct for u in units):
                able = {u.name: u.choices.size for u in units if u.choices is not None}
                best = max(able, key=lambda name: (able[name], name), default="")
                if able.get(best, 0) > self.own.start + self.count:
                    self.distinct.add(best)
                hinted = any(u.hints for u in units if u.name == best)
                if able.get(best, 0) < _PLENTY or hinted:
                    watched.append(unique)
                    continue
            if self.own.rows:
                watched.append(unique)  # rows that somebody else wrote may have such a value
        return watched

    # ── rows ────────────────────────────────────────────────────────────────────────────────────────────────
    def make(self, count: int) -> list[dict[str, str | None]]:
        """So many rows, or fewer if keys or CHECKs leave no more.

        :raises Impossible: not a single one.
        """
        start = self.own.start
        taken = [{tuple(row.get(c) for c in unique.columns) for row in self.own.rows} for unique in self.watched]
        done: list[_Row] = []
        reason = ""
        for batch in self._batches(count):
            left = [_Row(start + number) for number in batch]
            for turn in range(TRIES + 1):
                for row in left:
                    self._fill(row)
                self._judge(left)
                again: list[_Row] = []
                for row in left:
                    problem = self._problem(row, taken, turn)
                    if problem is None:
                        done.append(row)
                        self.own.rows.append(row.cells)
                    else:
                        reason = problem
                        again.append(row)
                if not again:
                    break
                left = again
        if not done and count:
            raise Impossible(reason or "its keys leave no room for a row")
        if len(done) < count:
            self.notes.append(f"{len(done)} of {count} rows: {reason}")
        return [row.cells for row in sorted(done, key=lambda row: row.number)]

    def _batches(self, count: int) -> Iterator[range]:
        """Rows that are made together; where rows refer to others of their table, the first ones come alone."""
        first, size = 0, 1 if any(k.target == self.table.table.name for k in self.links) else 2000
        while first < count:
            yield range(first, min(first + size, count))
            first, size = first + size, min(size * 3, 2000)

    def _judge(self, rows: Sequence[_Row]) -> None:
        """Ask the database, unless the first batch was good whole and its CHECKs hold no secret."""
        if self.trial.needed and not (self._proven and self._plain_checks):
            for row, verdict in zip(rows, self.trial.judge([row.cells for row in rows]), strict=True):
                row.verdict = verdict
                row.cells.update(verdict.derived)
            self._proven = not any(row.verdict and row.verdict.failed for row in rows)
        else:
            for row in rows:
                row.verdict = None

    @cached_property
    def _plain_checks(self) -> bool:
        return (
            not self.trial.predicates
            and all(
                understood(parsed(check.expression)) for check in self.trial.checks if check.name != "its partitions"
            )
            and all(check.name != "its partitions" for check in self.trial.checks)
        )

    @cached_property
    def _orders(self) -> list[tuple[str, str, bool]]:
        """Columns of which the first must not be greater, and whether they are numbers."""
        found = []
        for check in self.table.checks:
            for low, high in orders(parsed(check.expression)):
                kinds = {self.table.kinds[name].name for name in (low, high) if name in self.table.kinds}
                free = not {low, high} & (self.linked | self.said | self.distinct | self.late | self.left_out)
                if len(kinds) == 1 and free and not {low, high} & set(self.table.generated):
                    (kind,) = kinds
                    if kind in NUMBERS or kind in MOMENTS:
                        found.append((low, high, kind in NUMBERS))
        born = birth_of(self._times)
        return found + [(born, name, False) for name in self._times if born and name != born]

    def _problem(self, row: _Row, taken: Sequence[set[tuple[str | None, ...]]], turn: int) -> str | None:
        """What stands in the way of a row; its units that have a part in it are marked to be tried again."""
        if row.verdict is not None and row.verdict.failed:
            checks = [self.trial.checks[place] for place in row.verdict.failed]
            failing = {u.name for u in self.units for check in checks if set(u.columns) & check.columns}
            reason = f"no row met {checks[0].name}: {row.verdict.error or checks[0].expression}"
        elif row.problem:
            failing = {u.name for u in self.units if u.link is not None}
            reason = row.problem
        else:
            marks = self._marks(row)
            clash = [p for p, mark in enumerate(marks) if mark is not None and mark in taken[p]]
            if not clash:
                for place, mark in enumerate(marks):
                    if mark is not None:
                        taken[place].add(mark)
                return None
            unique = self.watched[clash[0]]
            units = [u.name for u in self.units if set(u.columns) & set(unique.columns)]
            failing = {units[turn % len(units)]} if units else set()
            reason = f"{unique.name} leaves no more values of {', '.join(unique.columns)}"
        for name in failing:
            row.tries[name] = row.tries.get(name, 0) + 1
        return reason

    def _marks(self, row: _Row) -> list[tuple[str | None, ...] | None]:
        """What each watched key holds in a row; None where the row does not count."""
        marks: list[tuple[str | None, ...] | None] = []
        predicates = [u for u in self.watched if u.predicate]
        for unique in self.watched:
            mark = tuple(row.cells.get(column) for column in unique.columns)
            out = None in mark and not unique.nulls_alike
            if unique.predicate and row.verdict is not None:
                out = out or not row.verdict.matching[predicates.index(unique)]
            marks.append(None if out else mark)
        return marks

    def _fill(self, row: _Row) -> None:
        row.cells, row.problem, row.floor = {}, "", None
        for unit in self.units:
            draw = Draw(self.stock.key(unit.name), row.number)
            tries = row.tries.get(unit.name, 0)
            if tries:
                draw = draw.sub(tries)
            if unit.link is not None:
                self._link(row, unit, unit.link, draw, tries)
            else:
                self._value(row, unit, draw, tries)
        for name in self.linked:
            if row.cells.get(name) is None:
                row.cells[name] = self._unlinked(row, name)
        for low, high, numeric in self._orders:
            a, b = row.cells.get(low), row.cells.get(high)
            if a is not None and b is not None and (Decimal(a) > Decimal(b) if numeric else a > b):
                row.cells[low], row.cells[high] = b, a  # made alike, they may change places
        self._age(row)
        if self.overrides is not None:
            row.cells.update(self.overrides.apply(row.number, row.cells))

    def _value(self, row: _Row, unit: Unit, draw: Draw, tries: int) -> None:
        choices = unit.choices
        assert choices is not None
        text: str | None
        if unit.name in self.distinct and not (unit.hints and tries > 3 and draw.sub("hint").chance(0.6)):
            # Each try has numbers of its own: no two rows ever meet.
            number = (row.number + tries * (self.own.start + self.count)) % choices.size
            text = choices.distinct(number, self.stock.key(unit.name))
        elif unit.nullable and draw.sub("null").chance(0.4 if tries else NULLS):
            text = None
        elif tries and unit.hints and draw.sub("hint").chance(0.6):
            text = unit.hints[draw.sub("which").below(len(unit.hints))]
        elif choices.in_order:
            text = choices.distinct(min(row.number + tries, choices.size - 1), 0)
        else:
            text = choices.draw(draw)
        if len(unit.columns) == 1:
            row.cells[unit.columns[0]] = text
        else:
            parts = [None] * len(unit.columns) if text is None else text.split("\x1f")
            row.cells.update(zip(unit.columns, parts, strict=True))

    # ── references ──────────────────────────────────────────────────────────────────────────────────────────
    def _link(self, row: _Row, unit: Unit, key: ForeignKey, draw: Draw, tries: int) -> None:
        """Choose the row that a reference leads to, among those that agree with what is fixed already."""
        itself = key.target == self.table.table.name
        fixed = tuple(place for place, column in enumerate(key.columns) if row.cells.get(column) is not None)
        wanted = tuple(row.cells[key.columns[place]] for place in fixed)
        candidates = self._candidates(key, fixed, wanted)
        if unit.nullable and tries and draw.sub("null").chance(0.4):
            candidates = []
        if candidates:
            # One row to one row: in turn. Otherwise by chance, then onwards from there.
            first = row.number if frozenset(key.columns) in self._alone else _skewed(draw, len(candidates))
            place = (first + tries) % len(candidates)
            target = self.populations[key.target].rows[candidates[place]]
            if self._times and not itself:
                self._follow(row, target)
            row.cells.update(
                {ours: target.get(theirs) for ours, theirs in zip(key.columns, key.target_columns, strict=True)}
            )
            return
        if unit.nullable:
            loose = [c for c in key.columns if c not in self.table.not_null]
            others = {c for other in self.links if other is not key for c in other.columns}
            row.cells.update(dict.fromkeys([c for c in loose if c not in others] or loose[:1]))
            return
        if itself:  # the first row of a tree that has no root but itself
            self._own(row, key)
            return
        row.problem = f"{key.name} needs a row of {key.target}, and there is none that fits"

    def _age(self, row: _Row) -> None:
        """Bring the times of a row after those of the rows that it refers to."""
        if row.floor is not None and self._times:
            row.cells.update(moved(row.cells, self._times, row.floor, self.spec.as_of, SPAN))

    def _follow(self, row: _Row, target: Mapping[str, str | None]) -> None:
        """A row is younger than those that it refers to."""
        born = read(target.get(birth_of(target) or ""))
        if born is not None and (row.floor is None or born > row.floor):
            row.floor = born

    @cached_property
    def _times(self) -> list[str]:
        """The columns of times that follow when the row was made, that one among them."""
        born = birth_of(self.table.table.columns)
        kinds = {name: self.table.kinds[name].name for name in self.table.table.columns}
        bound = self.linked | self.said | self.distinct | self.left_out | set(self.table.generated)
        if born is None or born in bound or kinds[born] not in MOMENTS - {"date"}:
            return []
        same = [n for n in kinds if kinds[n] == kinds[born] and n not in bound and (n.endswith("_at") or n == born)]
        named = {n for check in self.table.checks for n in check.columns}
        return same if not named & set(same) or all(understood(parsed(c.expression)) for c in self.table.checks) else []

    def _unlinked(self, row: _Row, name: str) -> str | None:
        """A column of a reference that leads nowhere, and that must have a value all the same."""
        if name not in self.table.not_null or name in self.late or row.problem:
            return None
        unit = self._fallback.get(name) or self.stock.free(name)
        if unit is None or unit.choices is None:
            return None
        self._fallback[name] = unit
        if name in self.stock.must_differ and unit.choices.size > row.number:
            return unit.choices.distinct(row.number, self.stock.key(name))
        return unit.choices.draw(Draw(self.stock.key(name), row.number))

    def _own(self, row: _Row, key: ForeignKey) -> None:
        """A reference of a row to itself."""
        for ours, theirs in zip(key.columns, key.target_columns, strict=True):
            if theirs not in row.cells:
                for unit in self.units:
                    if theirs in unit.columns and unit.link is None:
                        self._value(row, unit, Draw(self.stock.key(unit.name), row.number), row.tries.get(unit.name, 0))
            row.cells[ours] = row.cells.get(theirs)

    def _candidates(self, key: ForeignKey, fixed: tuple[int, ...], wanted: tuple[str | None, ...]) -> Sequence[int]:
        rows = self.populations[key.target].rows
        if not fixed:
            return range(len(rows))
        columns = tuple(key.target_columns[place] for place in fixed)
        index, done = self._indexes.get((key.name, columns), ({}, 0))
        if done < len(rows):
            for number in range(done, len(rows)):
                index.setdefault(tuple(rows[number].get(column) for column in columns), []).append(number)
            self._indexes[key.name, columns] = (index, len(rows))
        return index.get(wanted, [])

    def tie(self, key: ForeignKey, rows: Sequence[dict[str, str | None]]) -> None:
        """Give rows their late references, now that the rows that these lead to are known.

        :raises Impossible: the reference must not be NULL and there is nothing that it could lead to.
        """
        for number, row in enumerate(rows):
            fixed = tuple(place for place, column in enumerate(key.columns) if row.get(column) is not None)
            candidates = self._candidates(key, fixed, tuple(row[key.columns[place]] for place in fixed))
            if candidates:
                target = self.populations[key.target].rows[candidates[number % len(candidates)]]
                row.update({a: target.get(b) for a, b in zip(key.columns, key.target_columns, strict=True)})
            elif not self._may_miss(key):
                raise Impossible(f"{key.name} needs a row of {key.target}, and there is none", key.columns[0])
