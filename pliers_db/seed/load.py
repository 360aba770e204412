"""Bring a plan into the database: stage by COPY, compare, insert what is missing. The caller owns the transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from pliers_db.db import Connection, load_queries
from pliers_db.errors import SeedRejected, SeedTargetUnfit
from pliers_db.seed.plan import Plan, Record, TableData
from pliers_db.seed.schema import ForeignKey, Table
from pliers_db.seed.spec import Script

_QUERIES = load_queries("pliers_db.seed", "sql/load.sql")
_COPY_PLACE = re.compile(r"\D(\d+)(?:, \S+ ([^:]+))?")


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is there with other content than the seeds say."""

    row: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class TableOutcome:
    """What happened to one table."""

    table: str
    planned: int
    present: int
    """Rows that were there already, the same or not."""
    added: int
    changed: int
    """Rows brought back to what the seeds say (only when asked)."""
    differing: Sequence[Difference] = ()
    """Rows that were there with other content, before any change."""
    digest: str = ""
    """Of rows that were made: the sum of their hashes."""

    @property
    def kept(self) -> int:
        """Rows with other content that were left alone."""
        return len(self.differing) - self.changed


@dataclass(frozen=True)
class ScriptOutcome:
    """What an SQL file wrote, by table."""

    file: str
    written: Mapping[str, int] = field(default_factory=dict)


def load_table(conn: Connection, data: TableData, *, update: bool, write: bool) -> TableOutcome:
    """Stage the rows of one table and add what is missing.

    :param update: bring rows that differ back to what the seeds say.
    :param write: false only compares.
    :raises SeedRejected: the database did not take a row; the transaction must be rolled back.
    """
    names = _Names(data)
    conn.execute(_compose("stage", table=names.table, columns=names.list(data.columns)))
    _copy(conn, data, names)
    rows = conn.execute(
        _compose("compare", table=names.table, match=names.match(), differences=names.differences())
    ).fetchall()
    found = {number: tuple(columns) for number, columns in rows}
    differing = {number: columns for number, columns in found.items() if columns}
    missing = len(data.records) - len(found)
    changed = 0
    if write and missing:
        _insert(conn, data, names, missing)
    if write and update and differing:
        changed = _update(conn, data, names, differing)
    conn.execute(_QUERIES["unstage"])
    return TableOutcome(
        table=data.table.label,
        planned=len(data.records),
        present=len(found),
        added=missing,
        changed=changed,
        differing=[Difference(data.records[number - 1].name, columns) for number, columns in sorted(differing.items())],
    )


def delete_table(conn: Connection, data: TableData, referring: Iterable[tuple[Table, ForeignKey]] = ()) -> int:
    """Delete the rows of a table whose keys the seeds name.

    :param referring: foreign keys of tables whose seeded rows are gone already: what still refers is of others, and ON
        DELETE CASCADE would take it along.
    :returns: how many there were.
    :raises SeedRejected: other rows refer to them.
    """
    names = _Names(data)
    conn.execute(_compose("stage", table=names.table, columns=names.list(data.columns)))
    _copy(conn, data, names)
    for child, key in referring:
        links = sql.SQL(" and ").join(
            sql.SQL("c.{} = t.{}").format(sql.Identifier(ours), sql.Identifier(theirs))
            for ours, theirs in zip(key.columns, key.target_columns, strict=True)
        )
        query = _compose("referring", table=names.table, child=_identifier(child), links=links, match=names.match())
        row = conn.execute(query).fetchone()
        if row and row[0]:
            raise SeedRejected(
                f"{row[0]} rows of {child.label} refer to seeded rows of {data.table.label}; nothing was deleted",
                why=f"They are not of the seeds; {key.name} would take them along or refuse.",
                fix=f"Delete these rows of {child.label} first, or keep the seeds.",
                table=data.table.label,
            )
    try:
        with conn.transaction():
            gone = conn.execute(_compose("delete", table=names.table, match=names.match())).rowcount
    except psycopg.errors.IntegrityError as error:
        raise SeedRejected(
            f"The seeded rows of {data.table.label} cannot go; nothing was deleted",
            why=_why(error),
            fix="Delete the rows that refer to them first.",
            table=data.table.label,
        ) from error
    conn.execute(_QUERIES["unstage"])
    return gone


def export_query(
    conn: Connection,
    data: TableData | None,
    table: Table,
    what: sql.Composable,
    order: sql.Composable,
    key: sql.Composable,
) -> sql.Composed:
    """The query for the seeded rows of a table; stages the keys of those that the files name."""
    match: sql.Composable = sql.SQL("false")
    if data is not None:
        names = _Names(data)
        conn.execute(_compose("stage", table=names.table, columns=names.list(data.columns)))
        _copy(conn, data, names)
        match = names.match()
    else:
        conn.execute("create temp table pliers_seed_stage (n int) on commit drop")
    relation = sql.Literal(table.name)
    return _compose("export", what=what, table=_identifier(table), match=match, key=key, relation=relation, order=order)


def advance_sequences(conn: Connection, tables: Iterable[Table]) -> None:
    """Let the next row that the application adds get a free number.

    :raises SeedTargetUnfit: the role may not move a sequence.
    """
    for table in tables:
        for column in table.columns.values():
            if column.sequence:
                query = _compose(
                    "advance",
                    table=_identifier(table),
                    column=sql.Identifier(column.name),
                    sequence=sql.Literal(column.sequence),
                )
                try:
                    conn.execute(query)
                except psycopg.errors.InsufficientPrivilege as error:
                    raise unfit(table.label, error) from error


def check_deferred(conn: Connection) -> None:
    """Check what the schema defers to the end of the transaction, while its failure can still be explained.

    :raises SeedRejected: a deferred constraint does not hold.
    """
    try:
        conn.execute("set constraints all immediate")
    except psycopg.Error as error:
        raise _rejected(error, error.diag.table_name or "", None) from error


def run_script(conn: Connection, script: Script, plan: Plan) -> ScriptOutcome:
    """Run an SQL file inside our transaction.

    It goes through PL/pgSQL's EXECUTE, which refuses BEGIN, COMMIT and ROLLBACK: a file that ended the transaction
    would leave half a seed behind. ``current_setting('pliers_seed.as_of')`` gives it the seeds' present.

    :raises SeedRejected: it failed.
    """
    conn.execute("select set_config('pliers_seed.as_of', %s, true)", [plan.spec.as_of.isoformat()])
    before = _written(conn)
    body = sql.Literal(f"begin execute {sql.Literal(script.text).as_string(conn)}; end")
    try:
        conn.execute(sql.SQL("do {}").format(body))
    except psycopg.Error as error:
        position = error.diag.internal_position
        line = script.text.count("\n", 0, int(position)) + 1 if position else None
        raise SeedRejected(
            f"{script.name}{f' line {line}' if line else ''} failed; nothing was written",
            why=_why(error),
            fix="Correct the file and run it again.",
            at=script.name,
        ) from error
    after = _written(conn)
    written = {table: count - before.get(table, 0) for table, count in after.items() if count > before.get(table, 0)}
    return ScriptOutcome(script.name, written)


def _written(conn: Connection) -> dict[str, int]:
    rows = conn.execute(_QUERIES["counters"]).fetchall()
    return {table: inserted + updated + deleted for table, inserted, updated, deleted in rows}


class _Names:
    """The SQL fragments of one table."""

    def __init__(self, data: TableData) -> None:
        self.data = data
        self.table = _identifier(data.table)

    @staticmethod
    def list(names: Iterable[str]) -> sql.Composed:
        return sql.SQL(", ").join(map(sql.Identifier, names))

    def match(self) -> sql.Composed:
        """The same key in the table (t) and the stage (s)."""
        return sql.SQL(" and ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in self.data.key)

    def differences(self) -> sql.Composed:
        """For each given column its name where it differs."""
        return sql.SQL(", ").join(
            sql.SQL("case when {given} and t.{0}::text is distinct from s.{0}::text then {name} end").format(
                sql.Identifier(name), given=self._given(name), name=sql.Literal(name)
            )
            for name in self.data.columns
            if name not in self.data.key
        )

    def values(self) -> sql.Composed:
        """What to insert: the staged value, or the default for rows that give none."""
        return sql.SQL(", ").join(self._value(name) for name in self.data.columns)

    def assignments(self) -> sql.Composed:
        return sql.SQL(", ").join(
            sql.SQL("{0} = case when {given} then s.{0} else t.{0} end").format(
                sql.Identifier(name), given=self._given(name)
            )
            for name in self.data.columns
            if name not in self.data.key and not self.data.table.columns[name].identity
        )

    def _value(self, name: str) -> sql.Composed:
        column = self.data.table.columns[name]
        if len(self.data.shapes_with(name)) == len(self.data.shapes):
            return sql.SQL("s.{}").format(sql.Identifier(name))
        default: sql.Composable = sql.SQL(column.default or "null")
        if column.identity:
            default = sql.SQL("nextval({})").format(sql.Literal(column.sequence))
        return sql.SQL("case when {given} then s.{name} else {default} end").format(
            given=self._given(name), name=sql.Identifier(name), default=default
        )

    def _given(self, name: str) -> sql.Composed:
        return sql.SQL('s."@shape" = any({})').format(sql.Literal(self.data.shapes_with(name)))


def _identifier(table: Table) -> sql.Identifier:
    return sql.Identifier(table.schema, table.table)


def _compose(query: str, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(_QUERIES[query]).format(**parts)


def _copy(conn: Connection, data: TableData, names: _Names) -> None:
    try:
        with conn.cursor() as cursor, cursor.copy(_compose("copy", columns=names.list(data.columns))) as copy:
            for number, record in enumerate(data.records, start=1):
                copy.write_row((number, record.shape, *record.values))
    except psycopg.OperationalError:
        raise  # the server's trouble, not the row's
    except psycopg.Error as error:
        place, column = _copy_place(error, data)
        raise _rejected(error, data.table.label, place, column) from error


def _copy_place(error: psycopg.Error, data: TableData) -> tuple[Record | None, str | None]:
    """The row and column of which COPY speaks in ``COPY pliers_seed_stage, line 3, column price: "x"``."""
    found = _COPY_PLACE.search(error.diag.context or "")
    if found is None or not 0 < int(found[1]) <= len(data.records):
        return None, None
    column = (found[2] or "").strip().strip('"')
    return data.records[int(found[1]) - 1], column if column in data.columns else None


def _insert(conn: Connection, data: TableData, names: _Names, missing: int) -> None:

    def first(count: int) -> sql.Composed:
        """Insert of the first ``count`` rows. Without parameters: a column may be called ``%``."""
        return _compose(
            "insert",
            table=names.table,
            columns=names.list(data.columns),
            values=names.values(),
            match=names.match(),
            last=sql.Literal(count),
        )

    try:
        with conn.transaction():
            added = conn.execute(first(len(data.records))).rowcount
    except psycopg.errors.InsufficientPrivilege as error:
        raise unfit(data.table.label, error) from error
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise _rejected(error, data.table.label, _first_rejected(conn, data, first, error)) from error
    if added != missing:
        raise SeedRejected(
            f"{data.table.label} took {added} of {missing} rows; nothing was written",
            why="A trigger, a rule or a row-level security policy dropped the others.",
            fix=f"Look at the triggers of {data.table.label}.",
            table=data.table.label,
        )


def _first_rejected(
    conn: Connection, data: TableData, first: Callable[[int], sql.Composed], error: psycopg.Error
) -> Record | None:
    """Find the row that the database does not take, by trying shorter and shorter beginnings."""
    good, bad = 0, len(data.records)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            with conn.transaction(force_rollback=True):
                conn.execute(first(middle))
            good = middle
        except psycopg.Error as other:
            if (other.sqlstate, other.diag.constraint_name) != (error.sqlstate, error.diag.constraint_name):
                return None
            bad = middle
    return data.records[bad - 1]


def _update(conn: Connection, data: TableData, names: _Names, differing: Mapping[int, Sequence[str]]) -> int:
    query = _compose(
        "update",
        table=names.table,
        assignments=names.assignments(),
        match=names.match(),
        rows=sql.Literal(list(differing)),
    )
    try:
        return conn.execute(query).rowcount
    except psycopg.errors.InsufficientPrivilege as error:
        raise unfit(data.table.label, error) from error
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise _rejected(error, data.table.label, None) from error


def unfit(table: str, error: psycopg.Error) -> SeedTargetUnfit:
    """The error for a privilege that the role lacks."""
    return SeedTargetUnfit(
        f"This role may not fill {table}",
        why=_why(error),
        fix="Use the tables' owner, or grant what is missing (BYPASSRLS where row-level security is on).",
        table=table,
    )


def _rejected(error: psycopg.Error, table: str, record: Record | None, column: str | None = None) -> SeedRejected:
    diag = error.diag
    column = column or diag.column_name
    where = f"{table}.{column}" if column else table
    return SeedRejected(
        f"{record.at if record else where}: {where} was rejected; nothing was written"
        if record
        else f"{where} was rejected; nothing was written",
        why=_why(error),
        fix="Correct that row and run it again.",
        table=table,
        column=column or "",
        constraint=diag.constraint_name or "",
        row=record.name if record else "",
        at=record.at if record else "",
    )


def _why(error: psycopg.Error) -> str:
    diag = error.diag
    parts = [diag.message_primary or str(error), diag.message_detail or ""]
    return "\n".join(part for part in parts if part)
