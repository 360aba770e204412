"""The ``[fill]`` part of a run: rows that nobody wrote, made once, remembered in the ledger, and proved on each run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pliers_db.db import Connection
from pliers_db.errors import BadSeedFile, CannotFill, SeedRejected
from pliers_db.progress import Reporter
from pliers_db.seed import ledger
from pliers_db.seed.book import Book
from pliers_db.seed.fill import Failed, Made, insert, keys_of, make_group, present
from pliers_db.seed.graph import together
from pliers_db.seed.hashing import GENERATOR_VERSION
from pliers_db.seed.load import Difference, TableOutcome, advance_sequences
from pliers_db.seed.overrides import Overrides
from pliers_db.seed.schema import Schema
from pliers_db.seed.spec import PER, SCALES, FillSpec, Spec
from pliers_db.seed.survey import survey
from pliers_db.seed.units import Population


@dataclass(frozen=True, slots=True)
class Wish:
    """How many rows a table is to get."""

    said: FillSpec
    table: str
    """Its full name."""
    rows: int
    spec: str
    """A hash of all that its values depend on."""


def wishes(
    spec: Spec, schema: Schema, book: Book, *, scale: str = "small", rows: Mapping[str, int] | None = None
) -> list[Wish]:
    """How many rows each table of ``[fill]`` is to get.

    :param scale: ``small``, ``medium``, ``large``, or a number to multiply with.
    :param rows: numbers for single tables that go before those of the files; also of tables that no file names.
    :raises BadSeedFile: a table is named twice, or a number depends on itself.
    """
    asked = {schema.table(name, "--rows").name: number for name, number in (rows or {}).items()}
    said: dict[str, FillSpec] = {}
    for fill in spec.fills:
        name = schema.table(fill.table, fill.at).name
        if name in said:
            raise BadSeedFile(
                f"{fill.at} and {said[name].at} are about the same table",
                why="One of them would win, by the order of the files.",
                fix="Keep one of them.",
            )
        said[name] = fill
    for name, number in asked.items():
        said.setdefault(name, FillSpec(name, number, {}, "--rows"))
    counted: dict[str, int] = {}

    def count(name: str, path: tuple[str, ...] = ()) -> int:
        if name in asked:
            return asked[name]
        if name not in said:
            return 0
        if name in path:
            raise BadSeedFile(f"{said[name].at}: its number of rows depends on itself", fix="Write a number there.")
        if name not in counted:
            counted[name] = _count(said[name], (*path, name))
        return counted[name]

    def _count(fill: FillSpec, path: tuple[str, ...]) -> int:
        amount = fill.rows
        factor = _factor(scale)
        if isinstance(amount, Mapping):
            if scale not in amount:
                raise BadSeedFile(
                    f"{fill.at}: no number of rows for the scale {scale}",
                    why="It has: " + ", ".join(amount),
                    fix=f"rows = {{{scale} = 100}}",
                )
            amount, factor = amount[scale], 1.0
        if isinstance(amount, int):
            return round(amount * factor)
        found = PER.fullmatch(amount)
        assert found is not None
        parent = schema.table(found[2], fill.at).name
        return int(found[1]) * (len(book.rows.get(parent, ())) + count(parent, path))

    return [Wish(fill, name, count(name), _hash(spec, fill)) for name, fill in said.items()]


def _factor(scale: str) -> float:
    if scale in SCALES:
        return SCALES[scale]
    try:
        found = float(scale)
    except ValueError:
        found = -1
    if not 0 <= found < 1e9:
        raise BadSeedFile(
            f"There is no scale {scale!r}", why="Scales are small, medium, large, or a number.", fix="--scale medium"
        )
    return found


def _hash(spec: Spec, fill: FillSpec) -> str:
    parts = [GENERATOR_VERSION, spec.seed, spec.as_of, spec.locale, fill.columns, spec.pools, spec.fields]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def compare(conn: Connection, schema: Schema, wanted: Sequence[Wish]) -> list[TableOutcome]:
    """What a run would do, without doing it."""
    entries = ledger.read(conn)
    return [_stand(conn, schema, wish, entries.get(wish.table), 0) for wish in wanted]


def bring(
    conn: Connection, spec: Spec, book: Book, wanted: Sequence[Wish], *, append: bool, reporter: Reporter
) -> list[TableOutcome]:
    """Make the rows that are missing, all before the first is written; then write them.

    :param append: so many more, whatever is there.
    :raises CannotFill: a table can't be filled; nothing was written.
    :raises SeedRejected: the database does not take a row.
    """
    schema = book.schema
    entries = ledger.read(conn)
    needs = {w.table: w.rows if append else max(0, w.rows - _made(entries, w.table)) for w in wanted}
    added: dict[str, int] = {}
    if any(needs.values()):
        ledger.open_ledger(conn)
        made, firsts = _make(conn, spec, book, wanted, needs, entries)
        _write(conn, spec, {w.table: w.spec for w in wanted}, made, firsts, reporter)
        added = {one.table.table.name: len(one.rows) for group in made for one in group}
        entries = ledger.read(conn)
    return [_stand(conn, schema, wish, entries.get(wish.table), added.get(wish.table)) for wish in wanted]


def _made(entries: Mapping[str, ledger.Entry], name: str) -> int:
    return entries[name].rows if name in entries else 0


def _make(
    conn: Connection,
    spec: Spec,
    book: Book,
    wanted: Sequence[Wish],
    needs: Mapping[str, int],
    entries: Mapping[str, ledger.Entry],
) -> tuple[list[list[Made]], dict[str, int]]:
    found = survey(conn)
    keys = keys_of(found)
    said = {wish.table: wish.said for wish in wanted}
    populations: dict[str, Population] = {}
    counts: dict[str, int] = {}
    firsts: dict[str, int] = {}
    groups: list[list[Made]] = []
    problems: list[Failed] = []
    # Of tables that get no rows only the keys are asked for, and only if others refer to them.
    meant = {name for name, count in needs.items() if count}
    meant |= {key.target for name in meant for key in found.schema.tables[name].foreign_keys}
    for group in together(table.table for name, table in found.tables.items() if name in meant):
        for table in group:
            only = found.tables[table.name].listed.kind == "table"
            here = populations[table.name] = present(conn, table, keys.get(table.name, []), only=only)
            here.start = firsts[table.name] = entries[table.name].next if table.name in entries else 0
            counts[table.name] = here.present + needs.get(table.name, 0)
        overrides = {
            table.name: Overrides(spec, book, table, said[table.name])
            for table in group
            if table.name in said and said[table.name].columns
        }
        try:
            groups.append(make_group(conn, spec, found, group, populations, counts, overrides))
        except Failed as failed:
            problems.append(failed)
    short = [(one, note) for group_ in groups for one in group_ for note in one.notes if " of " in note.split(":")[0]]
    if problems or short:
        lines = [f"{f.table.label}{f'.{f.column}' if f.column else ''}: {f.reason}" for f in problems]
        lines += [f"{one.table.table.label}: {note}" for one, note in short]
        raise CannotFill(
            f"{lines[0]}; nothing was written",
            why="\n".join(lines[1:]),
            fix="Say something about that column, or other numbers, under [fill]; or leave the table out: --skip",
            problems=lines,
        )
    return groups, firsts


def _write(
    conn: Connection,
    spec: Spec,
    said: Mapping[str, str],
    groups: Sequence[Sequence[Made]],
    firsts: Mapping[str, int],
    reporter: Reporter,
) -> None:
    total = sum(len(one.rows) for group in groups for one in group)
    written: list[tuple[Made, list[str]]] = []
    with reporter.task("Filling", total=total, unit="rows") as task:
        for group in groups:
            rows = [one for one in group if one.rows]
            if not rows:
                continue
            task.note(rows[0].table.table.label)
            try:
                written += zip(rows, insert(conn, rows), strict=True)
            except Failed as failed:
                raise SeedRejected(
                    f"{failed.table.label}{f'.{failed.column}' if failed.column else ''}: a made row was rejected;"
                    " nothing was written",
                    why=failed.reason,
                    fix=f"Say something about it under [fill.{failed.table.label}.columns], or leave it out: --skip",
                    table=failed.table.label,
                    column=failed.column,
                ) from failed
            advance_sequences(conn, [one.table.table for one in rows])
            task.advance(sum(len(one.rows) for one in rows))
    with ledger.settled(conn):
        for one, keys in written:
            table = one.table.table
            ledger.record(conn, spec, table, said[table.name], firsts[table.name], keys)


def _stand(conn: Connection, schema: Schema, wish: Wish, entry: ledger.Entry | None, added: int | None) -> TableOutcome:
    """How a table stands: what was made is compared, row by row, by its hash."""
    table = schema.tables[wish.table]
    added = added or 0
    if entry is None:
        return TableOutcome(table.label, wish.rows, 0, wish.rows if added == 0 else added, 0)
    with ledger.settled(conn):
        finding = ledger.compare(conn, table)
    differing = [Difference(key, ()) for key in finding.changed]
    differing += [Difference(f"{finding.gone} rows are gone", ())] if finding.gone else []
    if entry.spec != wish.spec:
        differing.append(Difference("made by other rules than those of today (--mode reset)", ()))
    here = finding.made - finding.gone
    return TableOutcome(
        table.label,
        max(wish.rows, here),
        here - added,
        added or max(0, wish.rows - finding.made),
        0,
        differing,
        finding.digest,
    )
