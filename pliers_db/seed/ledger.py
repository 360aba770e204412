"""Which rows were made: a table in the database itself, written in the transaction that writes the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from pliers_db.db import Connection, load_queries
from pliers_db.errors import SeedRejected, SeedTargetUnfit
from pliers_db.seed.graph import together
from pliers_db.seed.hashing import GENERATOR_VERSION
from pliers_db.seed.schema import Schema, Table
from pliers_db.seed.spec import Spec

_QUERIES = load_queries("pliers_db.seed", "sql/ledger.sql")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says about a table."""

    table: str
    """``public.orders``"""
    rows: int
    next: int
    """The number that the next row would have."""
    seed: int
    generator_version: int
    as_of: datetime
    spec: str
    """A hash of what the seed files said about the table."""
    made_at: datetime

    def as_dict(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "rows": self.rows,
            "seed": self.seed,
            "generator_version": self.generator_version,
            "as_of": self.as_of.isoformat(),
            "made_at": self.made_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """The made rows of a table, compared with what is there now."""

    table: str
    made: int
    gone: int
    differing: int
    changed: Sequence[str]
    """The keys of rows with other content, the first hundred."""
    digest: str
    """The sum of the hashes of the made rows that are there."""

    @property
    def good(self) -> bool:
        """Every made row is there as it was made."""
        return not self.gone and not self.differing

    def as_dict(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "made": self.made,
            "gone": self.gone,
            "differing": self.differing,
            "changed": list(self.changed),
            "digest": self.digest,
        }


def read(conn: Connection) -> dict[str, Entry]:
    """What was made, by table; empty if nothing ever was."""
    found = conn.execute(_QUERIES["exists"]).fetchone()
    if not found or not found[0]:
        return {}
    with conn.cursor(row_factory=namedtuple_row) as cursor:
        rows: Any = cursor.execute(_QUERIES["read"]).fetchall()
    return {
        r.relation: Entry(r.relation, r.rows, r.next, r.seed, r.generator_version, r.as_of, r.spec, r.made_at)
        for r in rows
    }


def open_ledger(conn: Connection) -> None:
    """Make the ledger if there is none.

    :raises SeedTargetUnfit: the role may not.
    """
    found = conn.execute(_QUERIES["exists"]).fetchone()
    if found and found[0]:
        return
    try:
        conn.execute(_QUERIES["create"])
    except psycopg.errors.InsufficientPrivilege as error:
        raise SeedTargetUnfit(
            "This role may not make the ledger of seeded rows",
            why=error.diag.message_primary or "",
            fix='grant create on database … to it, or once as the owner: create schema pliers_seed authorization "…"',
        ) from error


_SETTINGS = {
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "search_path": "",
}


@contextmanager
def settled(conn: Connection) -> Iterator[None]:
    """Fix what changes how values are written, for hashes that are the same in every session; afterwards as before."""
    names = list(_SETTINGS)
    found = conn.execute(
        "select current_setting(n) from unnest(%s::text[]) with ordinality as u (n, i) order by i", [names]
    )
    before = [value for (value,) in found]
    _set(conn, names, list(_SETTINGS.values()))
    yield
    # Not after an error: the transaction is lost, and takes its settings along.
    _set(conn, names, before)


def _set(conn: Connection, names: Sequence[str], values: Sequence[str]) -> None:
    """Until the end of the transaction."""
    conn.execute(
        "select set_config(n, v, true) from unnest(%s::text[], %s::text[]) as u (n, v)", [list(names), list(values)]
    )


def key_of_row(table: Table) -> sql.Composed:
    """What tells the rows of a table (as ``t``) apart, as text: the primary key, or else the whole row."""
    return key_as(table, "t")


def key_as(table: Table, alias: str) -> sql.Composed:
    """The key of a table's rows under another alias."""
    if not table.primary_key:
        return sql.SQL("md5(({}.*)::text)").format(sql.Identifier(alias))
    columns = sql.SQL(", ").join(sql.Identifier(alias, name) for name in table.primary_key)
    return sql.SQL("row({})::text").format(columns)


def record(conn: Connection, spec: Spec, table: Table, said: str, first: int, keys: Sequence[str]) -> None:
    """Enter rows that were just written.

    :param said: a hash of what the seed files say about the table.
    :param first: the number of the first of them.
    """
    conn.execute(
        _compose(
            "record",
            table,
            first=sql.Literal(first),
            seed=sql.Literal(spec.seed),
            version=sql.Literal(GENERATOR_VERSION),
            as_of=sql.Literal(spec.as_of),
            spec=sql.Literal(said),
            keys=sql.Literal(list(keys)),
        )
    )


def compare(conn: Connection, table: Table) -> Finding:
    """Compare the made rows of a table with what is there."""
    row = conn.execute(_compose("compare", table)).fetchone()
    assert row is not None
    made, gone, changed, differing, digest = row
    return Finding(table.name, made, gone, differing, changed, digest)


def clean(conn: Connection, schema: Schema, only: Iterable[str] | None = None) -> dict[str, int]:
    """Delete the made rows, and no other.

    :param only: full names of tables; default all.
    :returns: how many, by table.
    :raises SeedRejected: rows of others refer to them; nothing was deleted.
    """
    entries = read(conn)
    names = [name for name in entries if (only is None or name in set(only)) and name in schema.tables]
    tables = [schema.tables[name] for name in names]
    for table in tables:
        _check_strangers(conn, schema, table, set(names))
    gone: dict[str, int] = {}
    for group in reversed(together(tables)):
        parts = [
            sql.SQL("{} as ({})").format(sql.Identifier(f"t{n}"), _compose("delete", table))
            for n, table in enumerate(group)
        ]
        counts = [sql.SQL("(select count(*) from {})").format(sql.Identifier(f"t{n}")) for n in range(len(group))]
        query = sql.SQL("with {} select {}").format(sql.SQL(", ").join(parts), sql.SQL(", ").join(counts))
        try:
            row = conn.execute(query).fetchone()
        except psycopg.errors.IntegrityError as error:
            raise SeedRejected(
                f"The seeded rows of {error.diag.table_name or group[0].label} cannot go; nothing was deleted",
                why=error.diag.message_detail or error.diag.message_primary or "",
                fix="Delete the rows that refer to them first.",
                table=group[0].label,
            ) from error
        gone |= dict(zip([table.name for table in group], row or (), strict=True))
    forgotten = [name for name in entries if only is None or name in names]
    if forgotten:
        conn.execute(sql.SQL(_QUERIES["forget"]).format(relations=sql.Literal(forgotten)))
    return {name: gone[name] for name in names}


def _check_strangers(conn: Connection, schema: Schema, table: Table, going: Collection[str]) -> None:
    """No row of others may go along, or lose its reference: ON DELETE CASCADE asks nobody."""
    for child in schema.tables.values():
        for key in child.foreign_keys:
            if key.target != table.name:
                continue
            match = sql.SQL(" and ").join(
                sql.SQL("{} = {}").format(sql.Identifier("c", ours), sql.Identifier("t", theirs))
                for ours, theirs in zip(key.columns, key.target_columns, strict=True)
            )
            row = conn.execute(
                _compose(
                    "strangers",
                    table,
                    child=sql.Identifier(child.schema, child.table),
                    child_relation=sql.Literal(child.name if child.name in going else ""),
                    child_key=key_as(child, "c"),
                    match=match,
                )
            ).fetchone()
            if row and row[0]:
                raise SeedRejected(
                    f"{row[0]} rows of {child.label} refer to seeded rows of {table.label}; nothing was deleted",
                    why=f"They are not among the rows to be deleted, and {key.name} would take them along or refuse.",
                    fix=f"Delete these rows of {child.label} first, or reset both tables.",
                    table=table.label,
                )


def _compose(query: str, table: Table, **parts: sql.Composable) -> sql.Composed:
    given: Mapping[str, sql.Composable] = {
        "table": sql.Identifier(table.schema, table.table),
        "relation": sql.Literal(table.name),
        "key": key_of_row(table),
        **parts,
    }
    return sql.SQL(_QUERIES[query]).format(**given)
