"""Fill the tables of any database with rows that nobody wrote. The caller owns the connection."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import psycopg
from psycopg import sql

from pliers_db.config import Environment
from pliers_db.db import Connection, load_queries
from pliers_db.progress import SILENT, Reporter
from pliers_db.seed import ledger
from pliers_db.seed.graph import together
from pliers_db.seed.lifetimes import birth_of
from pliers_db.seed.load import advance_sequences
from pliers_db.seed.maker import Maker
from pliers_db.seed.overrides import Overrides
from pliers_db.seed.schema import Table
from pliers_db.seed.spec import Spec
from pliers_db.seed.survey import Survey, Surveyed, survey
from pliers_db.seed.units import Impossible, Population

_QUERIES = load_queries("pliers_db.seed", "sql/fill.sql")
Cells = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class FilledTable:
    """What a table got."""

    table: str
    """Its name with its schema, ``public.orders``."""
    present: int
    """Rows that were there before (10,000 at most are looked at)."""
    added: int
    notes: tuple[str, ...] = ()
    """What is not as one might expect: fewer rows than asked for, columns left to their default."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A table that got no rows."""

    table: str
    column: str
    """Where one column stands in the way."""
    reason: str


@dataclass(frozen=True)
class Filled:
    """What `fill` did."""

    tables: Sequence[FilledTable] = ()
    skipped: Sequence[Skipped] = ()

    @property
    def added(self) -> int:
        """Rows in all tables."""
        return sum(table.added for table in self.tables)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "added": self.added,
            "tables": [
                {"table": t.table, "present": t.present, "added": t.added, "notes": list(t.notes)} for t in self.tables
            ],
            "skipped": [{"table": s.table, "column": s.column, "reason": s.reason} for s in self.skipped],
        }


@dataclass
class Made:
    """The rows of a table, ready to be loaded."""

    table: Surveyed
    columns: list[str]
    rows: list[Cells]
    notes: list[str] = field(default_factory=list)


def fill(
    conn: Connection,
    rows: int | Mapping[str, int] = 3,
    *,
    seed: int = 1,
    exclude: Collection[str] = (),
    spec: Spec | None = None,
    reporter: Reporter = SILENT,
) -> Filled:
    """Bring every table up to a number of rows that its keys, references and CHECKs allow.

    Same seed, same schema and same rows before: same rows. A table that can't be filled is named under `skipped`, with
    the column and the reason; what refers to it and may be NULL is NULL. Nothing is committed if the caller has a
    transaction open. Triggers fire. Deferred constraints are checked before it returns.

    :param conn: of a role that may write to the tables; views, foreign tables and yoyo's own tables are left alone.
    :param rows: of each table, or of single tables by name (``public.orders``, ``orders``); others get none.
    :param exclude: patterns over the names of tables (``audit.*``) to leave alone.
    :param spec: the project's seed files, for their locale and pools.
    """
    spec = spec or Spec(Environment.TEST, seed=seed)
    with conn.transaction(), reporter.task("Filling", unit="tables") as task:
        conn.execute("set local row_security = off")
        found = survey(conn)
        wanted = _wanted(found, rows, exclude)
        filler = _Filler(conn, spec, found, wanted)
        for group in together(table.table for table in found.tables.values()):
            task.note(group[0].label)
            filler.group([table for table in group if table.name in found.tables])
            task.advance()
    return Filled(filler.filled, filler.skipped)


def _wanted(found: Survey, rows: int | Mapping[str, int], exclude: Collection[str]) -> dict[str, int]:
    if isinstance(rows, int):
        given = dict.fromkeys(found.tables, rows)
    else:
        given = {found.schema.table(name, "rows").name: count for name, count in rows.items()}
    return {name: n for name, n in given.items() if not any(fnmatchcase(name, pattern) for pattern in exclude)}


class _Filler:
    """Fills one group of tables after the other, and remembers their keys."""

    def __init__(self, conn: Connection, spec: Spec, found: Survey, wanted: Mapping[str, int]) -> None:
        self.conn, self.spec, self.survey, self.wanted = conn, spec, found, wanted
        self.populations: dict[str, Population] = {}
        self.filled: list[FilledTable] = []
        self.skipped: list[Skipped] = []
        self._keys = keys_of(found)

    def group(self, tables: Sequence[Table]) -> None:
        """Fill tables that refer to each other, in one statement: foreign keys are checked at its end."""
        left = list(tables)
        for table in tables:
            self.populations[table.name] = self._present(table)
        while left:
            before = {table.name: list(self.populations[table.name].rows) for table in left}
            try:
                with self.conn.transaction():
                    made = make_group(self.conn, self.spec, self.survey, left, self.populations, self.wanted)
                    insert(self.conn, made)
                    advance_sequences(self.conn, [one.table.table for one in made])
            except Failed as failed:
                for name, rows in before.items():
                    self.populations[name].rows = rows
                self.skipped.append(Skipped(failed.table.name, failed.column, failed.reason))
                left = [table for table in left if table.name != failed.table.name]
                continue
            for one in made:
                name = one.table.table.name
                self.filled.append(FilledTable(name, self.populations[name].present, len(one.rows), tuple(one.notes)))
            return

    def _present(self, table: Table) -> Population:
        """The rows that are there: others may refer to them."""
        only = self.survey.tables[table.name].listed.kind == "table"
        return present(self.conn, table, self._keys.get(table.name, []), only=only)


class Failed(Exception):
    """A table of a group can't be filled."""

    def __init__(self, table: Table, column: str, reason: str) -> None:
        super().__init__(reason)
        self.table, self.column, self.reason = table, column, reason


def keys_of(found: Survey) -> dict[str, list[str]]:
    """The columns of each table that others refer to, that must differ, or that say when a row was made."""
    keys: dict[str, dict[str, None]] = {}
    for name, table in found.tables.items():
        own = keys.setdefault(name, {})
        for unique in table.uniques:
            own |= dict.fromkeys(unique.columns)
        for key in table.table.foreign_keys:
            own |= dict.fromkeys(key.columns)
            keys.setdefault(key.target, {}).update(dict.fromkeys(key.target_columns))
        own |= dict.fromkeys(name for name in [birth_of(table.table.columns)] if name)
    return {name: list(columns) for name, columns in keys.items()}


def present(conn: Connection, table: Table, columns: Sequence[str], *, only: bool) -> Population:
    """The rows of a table, as far as other rows may refer to them.

    :param only: without those of tables that inherit from it: foreign keys do not see them.
    """
    where = sql.SQL("only {}" if only else "{}").format(sql.Identifier(table.schema, table.table))
    names = [sql.Identifier(name) for name in columns]
    cells: list[sql.Composable] = [sql.SQL("{}::text").format(name) for name in names] or [sql.SQL("1::text")]
    order = sql.SQL(", ").join(sql.SQL(str(n + 1)) for n in range(len(cells)))
    query = sql.SQL(_QUERIES["present"]).format(columns=sql.SQL(", ").join(cells), table=where, order=order)
    rows = conn.execute(query).fetchall()
    numbers = [column.name for column in table.columns.values() if column.numbered]
    highest: dict[str, int] = {}
    if rows and numbers:
        tops = [sql.SQL("coalesce(max({}), 0)").format(sql.Identifier(name)) for name in numbers]
        top = conn.execute(
            sql.SQL(_QUERIES["highest"]).format(columns=sql.SQL(", ").join(tops), table=where)
        ).fetchone()
        highest = dict(zip(numbers, top or (), strict=True))
    return Population([dict(zip(columns, row, strict=False)) for row in rows], len(rows), len(rows), highest)


def make_group(
    conn: Connection,
    spec: Spec,
    found: Survey,
    tables: Sequence[Table],
    populations: Mapping[str, Population],
    wanted: Mapping[str, int],
    overrides: Mapping[str, Overrides] | None = None,
) -> list[Made]:
    """Make the rows of tables that refer to each other.

    :param populations: of all tables before them, and their own; gets their rows.
    :param wanted: how many rows each table is to have, by its full name.
    :param overrides: what is said about single columns.
    :raises Failed: one of them can't be filled.
    """
    done: list[tuple[Maker, Made]] = []
    left = [table for table in tables if wanted.get(table.name, 0) > populations[table.name].present]
    while left:
        waiting = {table.name for table in left}
        table = min(left, key=lambda t: (len(_firm(t, found, waiting - {t.name})), t.name))
        left.remove(table)
        late = frozenset(k.name for k in table.foreign_keys if k.target in waiting - {table.name})
        surveyed = found.tables[table.name]
        count = wanted[table.name] - populations[table.name].present
        with _naming(table):
            said = (overrides or {}).get(table.name)
            maker = Maker(conn, spec, surveyed, populations, count, late, said)
            done.append((maker, Made(surveyed, maker.columns, maker.make(count), maker.notes)))
    for maker, made in done:
        for key in made.table.table.foreign_keys:
            if key.name in maker.late_keys:
                with _naming(made.table.table):
                    maker.tie(key, made.rows)
    return [made for _, made in done]


def _firm(table: Table, found: Survey, among: Collection[str]) -> list[str]:
    """The tables among some that it refers to by keys that may not be NULL."""
    not_null = found.tables[table.name].not_null
    return [k.target for k in table.foreign_keys if k.target in among and not_null.issuperset(k.columns)]


@contextmanager
def _naming(table: Table) -> Iterator[None]:
    """Say which table it is that can't be filled."""
    try:
        yield
    except Impossible as error:
        raise Failed(table, error.column, error.reason) from error


def insert(conn: Connection, made: Sequence[Made]) -> list[list[str]]:
    """Write the rows of tables that refer to each other: staged, then inserted by one statement.

    :returns: for each table the keys of its rows, as the ledger writes them.
    :raises Failed: the database takes a row of one of them not.
    """
    parts: list[sql.Composable] = []
    counts: list[sql.Composable] = []
    for number, one in enumerate(made):
        if one.rows:
            stage, part = sql.Identifier("pg_temp", f"pliers_seed_{number}"), sql.Identifier(f"t{number}")
            parts.append(sql.SQL("{} as ({})").format(part, _staged(conn, one, stage, number)))
            counts.append(sql.SQL("(select array_agg(key) from {})").format(part))
    if not parts:
        return [[] for _ in made]
    query = sql.SQL("with {} select {}").format(sql.SQL(", ").join(parts), sql.SQL(", ").join(counts))
    table = next(one.table.table for one in made if one.rows)
    with _rejections([one.table.table for one in made], table):
        added = conn.execute(query).fetchone()
        conn.execute("set constraints all immediate")
    conn.execute("set constraints all deferred")
    keys = iter(added or ())
    found = [next(keys) or [] if one.rows else [] for one in made]
    for one, its in zip(made, found, strict=True):
        if len(its) != len(one.rows):
            raise Failed(one.table.table, "", f"a trigger or rule took {len(its)} of {len(one.rows)} rows")
    for number, one in enumerate(made):
        if one.rows:
            conn.execute(sql.SQL("drop table {}").format(sql.Identifier("pg_temp", f"pliers_seed_{number}")))
    return found


def _staged(conn: Connection, one: Made, stage: sql.Identifier, number: int) -> sql.Composed:
    """Bring rows into a temporary table. :returns: the statement that takes them from there."""
    table = one.table.table
    where = sql.Identifier(table.schema, table.table)
    names = [sql.Identifier(name) for name in one.columns]
    listed = sql.SQL("").join(sql.SQL(", {}").format(name) for name in names)
    local = sql.Identifier(f"pliers_seed_{number}")
    with _rejections([table], table):
        conn.execute(sql.SQL(_QUERIES["stage"]).format(stage=local, columns=listed, table=where))
        with (
            conn.cursor() as cursor,
            cursor.copy(sql.SQL(_QUERIES["copy"]).format(stage=stage, columns=listed)) as copy,
        ):
            for place, row in enumerate(one.rows):
                copy.write_row((place, *[row.get(name) for name in one.columns]))
    return sql.SQL(_QUERIES["insert"]).format(
        table=where, columns=sql.SQL(", ").join(names), stage=stage, key=ledger.key_of_row(table)
    )


@contextmanager
def _rejections(tables: Sequence[Table], fallback: Table) -> Iterator[None]:
    """Name the table that the database speaks of."""
    try:
        yield
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        diag = error.diag
        named = [t for t in tables if t.table == diag.table_name and t.schema == diag.schema_name]
        table = (named or [fallback])[0]
        detail = f" ({diag.message_detail})" if diag.message_detail else ""
        raise Failed(table, diag.column_name or "", f"{diag.message_primary or error}{detail}") from error
