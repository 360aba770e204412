"""Looking after seeded rows: what was made, is it still there, take it away, write it to a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from pliers_db.config import Settings
from pliers_db.db import Connection, Database
from pliers_db.errors import UnknownTable
from pliers_db.progress import SILENT, Reporter
from pliers_db.seed import ledger, load
from pliers_db.seed.ledger import Entry, Finding
from pliers_db.seed.plan import Plan, make_plan
from pliers_db.seed.run import Options, delete_seeded, entered, run, spec_of
from pliers_db.seed.schema import read_schema

FORMATS = ("csv", "copy", "sql")


@dataclass(frozen=True)
class Verified:
    """Seeded rows, compared with the seeds and the ledger."""

    written: Sequence[load.TableOutcome]
    """Rows of the files."""
    made: Sequence[Finding]

    @property
    def good(self) -> bool:
        """Every seeded row is there, as the seeds have it."""
        whole = all(t.present == t.planned and not t.differing for t in self.written)
        return whole and all(finding.good for finding in self.made)

    def as_dict(self) -> dict[str, Any]:
        return {
            "good": self.good,
            "written": [
                {"table": t.table, "planned": t.planned, "present": t.present, "differing": len(t.differing)}
                for t in self.written
            ],
            "made": [finding.as_dict() for finding in self.made],
        }


def status(database: Database) -> list[Entry]:
    """What was made in this database. Reads only the ledger; asks for no environment."""
    with database.connection() as conn:
        return list(ledger.read(conn).values())


def verify(database: Database, settings: Settings, *, reporter: Reporter = SILENT) -> Verified:
    """Compare every seeded row with what is there now. Writes nothing."""
    spec = spec_of(settings, Options())
    with entered(database, spec, reporter, spec.beyond_reference, writes=False) as (conn, schema):
        plan = make_plan(spec, schema)
        written = [load.load_table(conn, data, update=False, write=False) for data in plan.tables]
        entries = ledger.read(conn)
        with ledger.settled(conn):
            made = [ledger.compare(conn, schema.tables[name]) for name in entries if name in schema.tables]
    return Verified(written, made)


def clean(
    database: Database, settings: Settings, *, dry_run: bool = False, reporter: Reporter = SILENT
) -> dict[str, int]:
    """Delete the seeded rows, and no other.

    :param dry_run: count them, delete nothing.
    :returns: how many, by full name of the table.
    :raises SeedRejected: rows of others refer to them; nothing was deleted.
    """
    spec = spec_of(settings, Options())
    gone: dict[str, int] = {}
    with entered(database, spec, reporter, "clean") as (conn, schema):
        gone = delete_seeded(conn, make_plan(spec, schema))
        if dry_run:
            raise psycopg.Rollback
    return gone


def export(
    database: Database,
    settings: Settings,
    table: str,
    write: Callable[[bytes], object],
    *,
    form: str = "csv",
    options: Options | None = None,
    reporter: Reporter = SILENT,
) -> None:
    """Write the seeded rows of a table, as a run would make them; the database stays as it is.

    :param write: takes the text, piece by piece, as UTF-8.
    :param form: ``csv``, ``copy`` (PostgreSQL's text format) or ``sql``.
    """

    def dump(conn: Connection, plan: Plan) -> None:
        _dump(conn, plan, table, write, form)

    trial = replace(options or Options(), trial=True)
    run(database, settings, options=trial, then=dump, reporter=reporter)


def _dump(conn: Connection, plan: Plan, name: str, write: Callable[[bytes], object], form: str) -> None:
    table = read_schema(conn).table(name, "export")
    data = next((data for data in plan.tables if data.table.name == table.name), None)
    made = ledger.read(conn)
    if data is None and table.name not in made:
        raise UnknownTable(
            f"The seeds have no rows of {table.label}",
            why="Neither [rows] nor [fill] name it.",
            fix=f"Another table, or: --rows {table.label}=20",
            table=table.label,
        )
    ledger.open_ledger(conn)
    columns = [c for c in table.columns.values() if not c.generated]
    names = sql.SQL(", ").join(sql.Identifier(c.name) for c in columns)
    what: sql.Composable = sql.SQL(", ").join(sql.Identifier("t", c.name) for c in columns)
    order = sql.SQL(", ").join(sql.Identifier("t", c) for c in table.primary_key) or sql.SQL("1")
    where = sql.Identifier(table.schema, table.table)
    if form == "sql":
        cells = sql.SQL(" || ', ' || ").join(
            sql.SQL("quote_nullable({}::text)").format(sql.Identifier("t", c.name)) for c in columns
        )
        start = sql.SQL("insert into {} ({}) overriding system value values (").format(where, names).as_string(conn)
        what = sql.SQL("{} || {} || ');'").format(sql.Literal(start), cells)
    with ledger.settled(conn):
        query = load.export_query(conn, data, table, what, order, ledger.key_of_row(table))
        if form == "sql":
            for (line,) in conn.execute(query):
                write(f"{line}\n".encode())
            return
        ending = sql.SQL("with (format csv, header)" if form == "csv" else "")
        with conn.cursor() as cursor, cursor.copy(sql.SQL("copy ({}) to stdout {}").format(query, ending)) as copy:
            for piece in copy:
                write(bytes(piece))
