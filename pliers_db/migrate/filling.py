"""Rows for the tables of a bench, so that what a migration does to data can be seen.

Row number k of a table refers to row number k of every other table: so composite foreign keys that share columns agree.
What CHECKs and partitions demand is asked of the server: it gets a few values for each column and tells which of them
satisfy the expressions. Tables that get no rows so (NOT NULL in a circle of references, say) are left to seed.fill,
whose values are likely ones; ours use up what a type can hold, and are never NULL where something else will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod

import psycopg
from psycopg import sql

from pliers_db.catalog import Column, Constraint, Snapshot, Table, Type
from pliers_db.db import Connection, load_queries
from pliers_db.errors import PliersError
from pliers_db.migrate.samples import NoSample, samples

ROWS = 8
"""How many a table gets at a time."""
# Not from 1: a migration that inserts rows of its own begins there.
_FIRST_ROW = 7001
_QUERIES = load_queries("pliers_db.migrate", "sql/rows.sql")
_CHECK = re.compile(r"CHECK \((?P<expression>.*)\)(?: NO INHERIT| NOT VALID| NOT ENFORCED)*", re.DOTALL)
_VALUE = re.compile(r"\bVALUE\b")
# How many combinations of values are tried for a row, where an expression ties columns together.
_COMBINATIONS = 1000
_PATIENCE = "2s"

Values = dict[str, str | None]
"""The values of a row by column, as text."""
Row = int


class _NotFillable(Exception):
    """A table cannot be given rows; as text, why."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """A condition on some columns of a table."""

    expression: str
    columns: frozenset[str]


class Filler:
    """Gives rows to the tables of a database, and more when they have changed."""

    def __init__(self, conn: Connection) -> None:
        """:param conn: in autocommit mode, as a superuser."""
        self._conn = conn
        self._seen: dict[str, object] = {}
        self._rows: dict[str, dict[Row, Values]] = {}
        self._next = _FIRST_ROW
        self.not_filled: dict[str, str] = {}
        """Why a table has no rows of ours, by its path."""
        self.inserted: dict[str, int] = {}
        """How many rows a table was given, by its path."""

    def fill(self, there: Snapshot) -> None:
        """Insert rows into the tables that are new or have another form than when they were filled."""
        tables = {t.path: t for t in there.tables if t.kind in ("table", "partitioned table") and not t.partition_bound}
        forms = {path: _form(table, there) for path, table in tables.items()}
        changed = {path for path in tables if self._seen.get(path) != forms[path]}
        for path in self._seen.keys() - tables.keys():
            for memory in (self._seen, self._rows, self.not_filled, self.inserted):
                memory.pop(path, None)
        if not changed:
            return
        changed |= self.not_filled.keys()
        rows = range(self._next, self._next + ROWS)
        self._next += ROWS
        types = {t.path: t for t in there.types}
        left = list(_in_order(tables, changed))
        for _ in range(2):  # in a circle, a table may have to wait for one behind it
            left = [table for table in left if not self._filled(table, rows, types)]
        self._close_circles(tables.values(), rows)
        self._leave_to_seeds([table for table in left if table.path not in self._rows])
        for table in tables.values():
            self._seen[table.path] = forms[table.path]

    def _filled(self, table: Table, rows: Sequence[Row], types: Mapping[str, Type]) -> bool:
        """Give rows to a table; whether that went well."""
        try:
            made = self._fill(table, rows, types)
        except (_NotFillable, NoSample, psycopg.Error) as error:
            reason = (error.diag.message_primary if isinstance(error, psycopg.Error) else None) or str(error)
            if table.path not in self._rows:
                self.not_filled[table.path] = " ".join(reason.split())
            return False
        self.not_filled.pop(table.path, None)
        self._rows.setdefault(table.path, {}).update(made)
        self.inserted[table.path] = self.inserted.get(table.path, 0) + len(made)
        return True

    def _close_circles(self, tables: Iterable[Table], rows: Iterable[Row]) -> None:
        """Let rows refer to those that came after them."""
        for table in tables:
            own = next((c.columns for c in table.constraints if c.kind == "primary key"), ())
            made = {row: values for row, values in self._rows.get(table.path, {}).items() if row in rows}
            for key in _keys(table):
                for row, values in made.items():
                    target = self._rows.get(str(key.references), {}).get(row)
                    empty = [n for n in key.columns if values[n] is None]
                    if not own or not empty or target is None or set(empty) & set(own):
                        continue
                    wanted = dict(zip(key.columns, (target[n] for n in key.referenced_columns), strict=True))
                    change = sql.SQL("update {} set {} where {}").format(
                        sql.Identifier(table.schema, table.name),
                        _equations({n: wanted[n] for n in empty}, ", "),
                        _equations({n: values[n] for n in own}, " and "),
                    )
                    try:
                        with self._conn.transaction():
                            self._conn.execute(change)
                    except psycopg.Error:
                        break  # a condition is against it: the column is told as not looked at
                    values.update({n: wanted[n] for n in empty})

    def _leave_to_seeds(self, tables: Sequence[Table]) -> None:
        """Let the seed engine try to fill tables that are empty."""
        if not tables:
            return
        from pliers_db.seed import fill  # a large import that few runs need

        paths = {f"{t.schema}.{t.name}": t.path for t in tables}
        try:
            done = fill(self._conn, dict.fromkeys(paths, ROWS))
        except (psycopg.Error, PliersError):
            return  # why our own rows were refused has been noted
        for one in done.tables:
            if one.added:
                path = paths[one.table]
                self.not_filled.pop(path, None)
                self.inserted[path] = self.inserted.get(path, 0) + one.added

    def forget(self, paths: Iterable[str]) -> None:
        """Take tables for empty: their rows, or what is new in them, are gone."""
        for path in paths:
            self._seen.pop(path, None)

    def _fill(self, table: Table, rows: Sequence[Row], types: Mapping[str, Type]) -> dict[Row, Values]:
        given = {row: fixed for row in rows if (fixed := self._references(table, row)) is not None}
        if not given:
            targets = {str(k.references) for k in _keys(table)}
            empty = sorted(t for t in targets if not self._rows.get(t, {}).keys() & set(rows))
            raise _NotFillable(f"it refers to {', '.join(empty)}, which got no rows")
        columns = [c for c in table.columns if not c.generated and not _numbered(c)]
        rules = self._rules(table, types)
        choices = {row: self._choices(columns, row, fixed, rules, types) for row, fixed in given.items()}
        # Below domains: a value that a domain refuses would be an error, not an answer.
        kinds = {c.name: _below_domains(c.type, types) for c in table.columns}
        for name in sorted({name for rule in rules for name in rule.columns}):
            alone = [r for r in rules if r.columns == {name}]
            for row, values in self._satisfying(alone, kinds, choices).items():
                choices[row][name] = [each[0] for each in values]
        for group in _groups([r for r in rules if len(r.columns) > 1]):
            names = sorted(frozenset(chain.from_iterable(r.columns for r in group)))
            for row, values in self._satisfying(group, kinds, choices, best_only=True).items():
                for name, value in zip(names, values[0], strict=True):
                    choices[row][name] = [value]
        chosen: dict[Row, Values] = {row: {name: values[0] for name, values in choices[row].items()} for row in choices}
        _mirror(table, chosen)
        return self._insert(table, chosen)

    def _references(self, table: Table, row: Row) -> Values | None:
        """What the foreign keys of a row hold; None if it cannot have them."""
        fixed: Values = {}
        nullable = {c.name: not c.not_null for c in table.columns}
        for key in sorted(_keys(table), key=lambda k: len(k.columns)):
            if key.references == table.path:
                continue
            target = self._rows.get(str(key.references), {}).get(row)
            if target is not None:
                fixed.update(zip(key.columns, (target[c] for c in key.referenced_columns), strict=True))
            else:
                free = [c for c in key.columns if nullable[c] and fixed.get(c) is None]
                if not free:
                    return None
                fixed.update(dict.fromkeys(free))
        return fixed

    def _choices(
        self,
        columns: Iterable[Column],
        row: Row,
        fixed: Values,
        rules: Sequence[_Rule],
        types: Mapping[str, Type],
    ) -> dict[str, list[str | None]]:
        found: dict[str, list[str | None]] = {}
        for column in columns:
            if column.name in fixed:
                found[column.name] = [fixed[column.name]]
                continue
            hints = [r.expression for r in rules if column.name in r.columns]
            if literal := re.match(r"'((?:[^']|'')*)'::", column.default or ""):
                hints.append(literal[0])
            try:
                values: list[str | None] = list(samples(column.type, row, types, hints))
            except NoSample:
                if column.default is not None:
                    continue  # the database fills it
                if column.not_null:
                    raise
                values = []
            found[column.name] = values if column.not_null else [*values, None]
        return found

    def _rules(self, table: Table, types: Mapping[str, Type]) -> list[_Rule]:
        """What CHECKs, domains and partitions demand."""
        rules = []
        for each in table.constraints:
            if each.kind == "check" and (found := _CHECK.fullmatch(each.definition)):
                rules.append(_Rule(found["expression"], frozenset(each.columns)))
        for column in table.columns:
            domain = types.get(column.type)
            while domain is not None and domain.kind == "domain":
                for each in domain.constraints:
                    if each.kind == "check" and (found := _CHECK.fullmatch(each.definition)):
                        name = sql.Identifier(column.name).as_string().replace("\\", r"\\")
                        rules.append(_Rule(_VALUE.sub(name, found["expression"]), frozenset({column.name})))
                domain = types.get(domain.base or "")
        if table.kind == "partitioned table":
            row = self._conn.execute(_QUERIES["bounds"], {"path": table.path}).fetchone()
            if row is None or row[0] is None:
                raise _NotFillable("it has no partitions")
            named = (c.name for c in table.columns if re.search(rf"(?<!\w){re.escape(c.name)}(?!\w)", row[0]))
            rules.append(_Rule(row[0], frozenset(named)))
        generated = {c.name for c in table.columns if c.generated}
        return [r for r in rules if r.columns and not r.columns & generated]

    def _satisfying(
        self,
        group: Sequence[_Rule],
        kinds: Mapping[str, str],
        choices: Mapping[Row, Mapping[str, list[str | None]]],
        *,
        best_only: bool = False,
    ) -> dict[Row, list[tuple[str | None, ...]]]:
        """Which of the values to choose from satisfy some rules, for each row, the best first.

        :param kinds: the types of columns by name.
        :returns: values of the rules' columns, sorted by name; rows without any are left out.
        """
        names = sorted(frozenset(chain.from_iterable(r.columns for r in group)))
        if not names or any(name not in each for each in choices.values() for name in names):
            return {}
        few = {row: _few([each[name] for name in names]) for row, each in choices.items()}
        source: sql.Composable = sql.SQL("")
        for n, name in enumerate(names):
            rows = sql.SQL(", ").join(
                sql.SQL("({}, {}, {}::text)").format(row, place, value)
                for row, tried in few.items()
                for place, value in enumerate(tried[n])
            )
            source += sql.SQL(
                "{join}(select _row, _p{n}, _v::{kind} as {name} from (values {rows}) as v (_row, _p{n}, _v))"
                " as s{n}{on}"
            ).format(
                join=sql.SQL(" join " if n else ""),
                on=sql.SQL(" using (_row)" if n else ""),
                n=sql.SQL(str(n)),
                kind=sql.SQL(kinds[name]),  # as the server has written it
                name=sql.Identifier(name),
                rows=rows,
            )
        query = sql.SQL("select {} _row, {} from {} where {} order by _row, {}").format(
            sql.SQL("distinct on (_row)" if best_only else ""),
            sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(n)) for n in names),
            source,
            sql.SQL(" and ".join(f"coalesce(({r.expression}), true)" for r in group)),
            sql.SQL(" + ".join(f"_p{n}" for n in range(len(names)))),
        )
        found: dict[Row, list[tuple[str | None, ...]]] = {}
        try:
            with self._conn.transaction():
                self._conn.execute(f"set local statement_timeout = '{_PATIENCE}'")
                self._conn.execute("set local search_path = ''")
                for row, *values in self._conn.execute(query):
                    found.setdefault(row, []).append(tuple(values))
        except psycopg.Error:
            return {}  # an expression that cannot bear one of the values: the INSERT will tell
        return found

    def _insert(self, table: Table, chosen: Mapping[Row, Values]) -> dict[Row, Values]:
        """Insert rows, and read what has become of them; those that the server refuses are left out.

        :raises psycopg.Error: it refuses all of them.
        """
        made: dict[Row, Values] = {}
        refused: psycopg.Error | None = None
        into = sql.Identifier(table.schema, table.name)
        names = sql.SQL(", ").join(sql.Identifier(c.name) for c in table.columns)
        back = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(c.name)) for c in table.columns)
        with self._conn.transaction():
            for row, values in chosen.items():
                items = (_literal(values[c.name]) if c.name in values else sql.SQL("default") for c in table.columns)
                statement = sql.SQL("insert into {} ({}) values ({}) returning {}").format(
                    into, names, sql.SQL(", ").join(items), back
                )
                try:
                    with self._conn.transaction():
                        got = self._conn.execute(statement).fetchone()
                except psycopg.Error as error:
                    refused = error
                    continue
                if got is not None:
                    made[row] = dict(zip((c.name for c in table.columns), got, strict=True))
        if not made:
            raise refused or _NotFillable("a trigger lets no row in")
        return made


def _literal(value: str | None) -> sql.Composable:
    return sql.Literal(value)


def _equations(values: Values, between: str) -> sql.Composable:
    """``a = 1, b = 2``; ``a = 1 and b = 2``."""
    return sql.SQL(between).join(sql.SQL("{} = {}").format(sql.Identifier(n), _literal(v)) for n, v in values.items())


def _few(values: Sequence[Sequence[str | None]]) -> list[list[str | None]]:
    """The first values of each column, so many that there are not too many combinations; NULL where it is possible."""
    counts = [min(2, len(each)) for each in values]
    for place in sorted(range(len(values)), key=lambda n: len(values[n])):
        others = prod(count for n, count in enumerate(counts) if n != place)
        counts[place] = max(counts[place], min(len(values[place]), _COMBINATIONS // max(others, 1)))
    chosen = [list(each[:count]) for each, count in zip(values, counts, strict=True)]
    for each, few in zip(values, chosen, strict=True):
        if None in each and None not in few:
            few[-1] = None
    return chosen


def _mirror(table: Table, chosen: dict[Row, Values]) -> None:
    """A row that refers to its own table refers to itself; nothing if it does not know its number yet."""
    nullable = {c.name: not c.not_null for c in table.columns}
    for key in _keys(table):
        if key.references != table.path:
            continue
        for values in chosen.values():
            for own, target in zip(key.columns, key.referenced_columns, strict=True):
                if own == target:
                    continue
                if target in values:
                    values[own] = values[target]
                elif nullable[own]:
                    values[own] = None


def _numbered(column: Column) -> bool:
    """Whether a sequence gives the value: what a migration inserts later must find its numbers free."""
    return bool(column.identity) or (column.default or "").startswith("nextval(")


def _below_domains(type_name: str, types: Mapping[str, Type]) -> str:
    while (made := types.get(type_name)) is not None and made.kind == "domain" and made.base:
        type_name = made.base
    return type_name


def _keys(table: Table) -> list[Constraint]:
    return [c for c in table.constraints if c.kind == "foreign key"]


def _form(table: Table, there: Snapshot) -> object:
    """What decides which rows a table can hold: another form, and it gets new rows."""
    types = {t.path: t for t in there.types}
    used = [types.get(c.type.removesuffix("[]")) for c in table.columns]
    columns = [(c.name, c.type, c.not_null, c.generated) for c in table.columns]
    parts = [(t.path, t.partition_bound) for t in there.tables if table.path in t.parents and t.partition_bound]
    return columns, [(c.kind, c.definition) for c in table.constraints], used, parts


def _in_order(tables: Mapping[str, Table], wanted: Iterable[str]) -> Iterator[Table]:
    """Some tables and all that they refer to, those first that others refer to. A circle is cut somewhere."""
    done: set[str] = set()

    def visit(path: str) -> Iterator[Table]:
        if path in done or path not in tables:
            return
        done.add(path)
        for key in _keys(tables[path]):
            yield from visit(str(key.references))
        yield tables[path]

    for path in sorted(wanted):
        yield from visit(path)


def _groups(rules: Sequence[_Rule]) -> list[list[_Rule]]:
    """Rules that share columns belong together."""
    groups: list[tuple[set[str], list[_Rule]]] = []
    for rule in rules:
        touching = [g for g in groups if g[0] & rule.columns]
        rest = [g for g in groups if not g[0] & rule.columns]
        columns = set(rule.columns).union(*(g[0] for g in touching))
        groups = [*rest, (columns, [*chain.from_iterable(g[1] for g in touching), rule])]
    return [rules for _, rules in groups]
