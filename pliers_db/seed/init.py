"""A first spec for a database that nobody has described: one commented line per column."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pliers_db.config import Settings
from pliers_db.db import Connection, Database
from pliers_db.errors import BadSeedFile
from pliers_db.seed import editors
from pliers_db.seed.fill import Failed, keys_of, make_group, present
from pliers_db.seed.graph import together
from pliers_db.seed.maker import Maker
from pliers_db.seed.schema import Table
from pliers_db.seed.spec import SHARED_FILE, Spec, folder_of, read_spec
from pliers_db.seed.survey import Survey, Surveyed, survey
from pliers_db.seed.units import Population, Unit

FILE = "50-fill.toml"
_SHARED = """# What all environments share. The format: docs/seeds.md
seed = 1
# The present of the seeds: every time is relative to it, so that a second run finds what the first wrote.
as_of = {as_of}
"""


@dataclass(frozen=True)
class Written:
    """What `init` wrote."""

    files: tuple[Path, ...]
    tables: int
    problems: tuple[str, ...]
    """Tables that can't be filled, with the reason; they stand in the file as comments."""


def init(database: Database, settings: Settings, *, rows: int = 20) -> Written:
    """Write a spec that fills every table of the database.

    :param rows: of each table.
    :raises BadSeedFile: there is one already.
    """
    environment = settings.environment
    folder = folder_of(settings.project.seeds, environment) or settings.project.seeds / environment.value
    file = folder / FILE
    if file.exists():
        raise BadSeedFile(
            f"{file.name} is there already", why="Somebody may have changed it.", fix=f"Remove it first: rm {file}"
        )
    spec = read_spec(settings.project.seeds, environment) if any(_specs(folder)) else Spec(environment)
    shared = settings.project.seeds / SHARED_FILE
    with database.connection() as conn:
        text, tables, problems = spec_text(conn, spec, rows)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    files = [file, settings.project.seeds / editors.FILE]
    files[1].write_text(editors.text(), encoding="utf-8")
    if not shared.exists():
        shared.write_text(_SHARED.format(as_of=f"{spec.as_of:%Y-%m-%dT%H:%M:%SZ}"), encoding="utf-8")
        files.append(shared)
    return Written(tuple(files), tables, tuple(problems))


def _specs(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.suffix in (".toml", ".csv", ".sql")] if folder.is_dir() else []


def spec_text(conn: Connection, spec: Spec, rows: int) -> tuple[str, int, list[str]]:
    """The text of a spec. :returns: it, how many tables it fills, and which it cannot fill."""
    found = survey(conn)
    keys = keys_of(found)
    taken = {found.schema.table(row.table, row.at).name for row in spec.rows}
    taken |= {found.schema.table(group.table, group.at).name for group in spec.groups}
    lines = [
        editors.DIRECTIVE,
        "# Rows that nobody wrote, for each table. The lines below a table say what its columns get: to have one",
        "# otherwise, take its # away and give it a generator (docs/seeds.md). Instead of a number, rows may be",
        '# "3 per orders", or have one for each scale: {small = 20, medium = 2000, large = 100000}.',
    ]
    problems: list[str] = []
    count = 0
    populations: dict[str, Population] = {}
    for group in together(table.table for table in found.tables.values()):
        for table in group:
            only = found.tables[table.name].listed.kind == "table"
            populations[table.name] = present(conn, table, keys.get(table.name, []), only=only)
        made, failed = _tried(conn, spec, found, group, populations, rows)
        for table in group:
            label = json.dumps(table.label, ensure_ascii=False)
            if table.name in failed:
                where, reason = failed[table.name]
                problems.append(f"{where}: {reason}")
                lines += ["", f"# [fill.{label}]", f"# cannot be filled: {where}: {reason}".replace("\n", " ")]
                continue
            if table.name in taken:
                lines += ["", f"# [fill.{label}]  # has rows in the files already", f"# rows = {rows}"]
            else:
                count += 1
                lines += ["", f"[fill.{label}]", f"rows = {made[table.name]}"]
            lines += _described(conn, spec, found, found.tables[table.name], populations, rows)
    return "\n".join(lines) + "\n", count, problems


def _tried(
    conn: Connection,
    spec: Spec,
    found: Survey,
    group: list[Table],
    populations: dict[str, Population],
    rows: int,
) -> tuple[dict[str, int], dict[str, tuple[str, str]]]:
    """Make the rows of tables without writing them. :returns: how many there are, and which tables can have none."""
    failed: dict[str, tuple[str, str]] = {}
    left = list(group)
    while left:
        before = {table.name: list(populations[table.name].rows) for table in left}
        wanted = {table.name: populations[table.name].present + rows for table in left}
        try:
            made = make_group(conn, spec, found, left, populations, wanted)
        except Failed as error:
            for name, known in before.items():
                populations[name].rows = known
            table = error.table
            failed[table.name] = (f"{table.label}.{error.column}" if error.column else table.label, error.reason)
            left = [table for table in left if table.name not in failed]
            continue
        return {one.table.table.name: len(one.rows) for one in made}, failed
    return {}, failed


def _described(
    conn: Connection, spec: Spec, found: Survey, table: Surveyed, populations: dict[str, Population], rows: int
) -> list[str]:
    maker = Maker(conn, spec, table, populations, rows)
    units = {column: unit for unit in maker.units for column in unit.columns}
    wide = max(map(len, table.table.columns), default=0)
    lines = []
    for name, column in table.table.columns.items():
        if column.generated:
            what = "the database computes it"
        elif name in maker.left_out:
            what = next(note.partition(": ")[2] for note in maker.notes if note.startswith(f"{name}: "))
        elif name in maker.linked and column not in found.schema.own_key(table.table):
            key = min((k for k in table.table.foreign_keys if name in k.columns), key=lambda k: len(k.columns))
            theirs = dict(zip(key.columns, key.target_columns, strict=True))[name]
            target = found.schema.tables.get(key.target)
            what = f"{theirs} of a row of {target.label if target else key.target}"
        elif name in units and units[name].link is None:
            what = _what(units[name], maker)
        else:
            what = "a key of its own"
        line = f"# columns.{json.dumps(name, ensure_ascii=False) if not name.isidentifier() else name}"
        lines.append(f"{line:<{wide + 12}}  # {column.type}: {what}".replace("\n", " "))
    return lines


def _what(unit: Unit, maker: Maker) -> str:
    choices = unit.choices
    assert choices is not None
    text = choices.what
    if unit.name in maker.distinct:
        text += ", all different"
    elif unit.nullable:
        text += ", or NULL"
    return text
