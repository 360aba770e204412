"""The seed files of a project, read and checked for their form. Nothing here knows the database.

``seeds/seed.toml`` holds what all environments share; ``seeds/<env>/`` holds ``.toml``, ``.csv`` and ``.sql`` files,
read in the order of their names. docs/seeds.md specifies the format.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pliers_db.config import Environment
from pliers_db.config.environment import ALIASES
from pliers_db.errors import BadSeedFile, NoSeeds

SHARED_FILE = "seed.toml"
SCALES = {"small": 1, "medium": 10, "large": 100}
"""By so much the number of rows is multiplied where a seed file gives only one."""
PER = re.compile(r"(\d+) per (\S.*)")
_NAME = re.compile(r"[\w-]+")
_PREFIX = re.compile(r"^\d+[-_.]")


@dataclass(frozen=True, slots=True)
class RowSpec:
    """One row as written."""

    table: str
    name: str | None
    values: Mapping[str, Any]
    defaults: Mapping[str, Any]
    """The file's ``[defaults]``: for every table of the file that has the column."""
    at: str
    """Where it stands: ``10-shops.toml: rows.shops.corner``."""
    raw: bool = False
    """From a CSV file: every value is text in PostgreSQL's own input form."""


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """Rows that are made by rule: ``rows`` of them, or ``rows`` for each row of the table ``each``."""

    table: str
    name: str
    rows: int
    each: str | None
    where: Mapping[str, Any]
    columns: Mapping[str, Any]
    defaults: Mapping[str, Any]
    at: str


@dataclass(frozen=True, slots=True)
class TableRules:
    """What holds for all rows of a table."""

    columns: Mapping[str, Any]
    key: tuple[str, ...] | None
    at: str


@dataclass(frozen=True, slots=True)
class FillSpec:
    """Rows of a table that nobody wrote: how many, and what is said about single columns."""

    table: str
    rows: int | str | Mapping[str, int | str]
    """A number, ``"3 per orders"``, or one of these for each scale."""
    columns: Mapping[str, Any]
    at: str


@dataclass(frozen=True, slots=True)
class Script:
    """An SQL file, run after the rows, in the same transaction."""

    name: str
    text: str


@dataclass(frozen=True)
class Spec:
    """All that the seed files of an environment say."""

    environment: Environment
    seed: int = 1
    as_of: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    locale: str = "en"
    tables: Mapping[str, TableRules] = field(default_factory=dict)
    rows: Sequence[RowSpec] = ()
    groups: Sequence[GroupSpec] = ()
    fills: Sequence[FillSpec] = ()
    scripts: Sequence[Script] = ()
    pools: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[str] = ()

    @property
    def beyond_reference(self) -> str:
        """The first thing in it that is more than a row of a CSV file; empty if there is none."""
        places = [row.at for row in self.rows if not row.raw]
        places += [group.at for group in self.groups]
        places += [fill.at for fill in self.fills]
        places += [script.name for script in self.scripts]
        return places[0] if places else ""


def folder_of(seeds: Path, environment: Environment) -> Path | None:
    """The folder with an environment's seeds, whatever of its names it bears; None if there is none.

    :raises BadSeedFile: it stands there under two names.
    """
    names = [environment.value, *(alias for alias, meant in ALIASES.items() if meant is environment)]
    found = [seeds / name for name in names if (seeds / name).is_dir()]
    if len(found) > 1:
        raise BadSeedFile(
            f"The seeds of {environment} stand in two folders: {' and '.join(path.name for path in found)}",
            why="Nobody could tell which of the two is meant.",
            fix=f"Move all files to {found[0].parent.name}/{found[0].name}.",
        )
    return found[0] if found else None


def read_spec(seeds: Path, environment: Environment) -> Spec:
    """Read the seed files of an environment.

    :param seeds: the project's folder of seeds.
    :raises NoSeeds: there are none for this environment.
    :raises BadSeedFile: a file can't be read or has an unknown form.
    """
    folder = folder_of(seeds, environment)
    files = sorted(p for p in folder.iterdir() if p.suffix in (".toml", ".csv", ".sql")) if folder else []
    if not files:
        raise NoSeeds(
            f"There are no seeds for {environment}",
            why=f"{folder or seeds / environment.value} has no .toml, .csv or .sql file.",
            fix="Write some (docs/seeds.md), or choose another environment: pliers-db seed --env dev",
        )
    reader = _Reader()
    shared = seeds / SHARED_FILE
    if shared.is_file():
        reader.shared(shared)
    for file in files:
        if file.suffix == ".toml":
            reader.toml(file)
        elif file.suffix == ".csv":
            reader.csv(file)
        else:
            reader.scripts.append(Script(file.name, _text(file)))
    return Spec(
        environment=environment,
        tables=reader.tables,
        rows=reader.rows,
        groups=reader.groups,
        fills=reader.fills,
        scripts=reader.scripts,
        pools=reader.pools,
        files=[file.name for file in files],
        **reader.settings,
    )


class _Reader:
    """Collects what the files say, one after the other."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.tables: dict[str, TableRules] = {}
        self.pools: dict[str, Sequence[Any]] = {}
        self.rows: list[RowSpec] = []
        self.groups: list[GroupSpec] = []
        self.fills: list[FillSpec] = []
        self.scripts: list[Script] = []

    def shared(self, file: Path) -> None:
        document = _parse(file)
        _only(document, ("seed", "as_of", "locale", "pools", "fields", "tables"), file.name)
        seed, as_of = document.get("seed", 1), document.get("as_of")
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise _bad(file.name, "seed", "a whole number", "seed = 1")
        self.settings["seed"] = seed
        if as_of is not None:
            if not isinstance(as_of, date):
                raise _bad(file.name, "as_of", "a point in time", "as_of = 2026-01-31T09:00:00Z")
            moment = as_of if isinstance(as_of, datetime) else datetime.combine(as_of, time())
            self.settings["as_of"] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        for key in ("locale", "fields"):
            if key in document:
                self.settings[key] = document[key]
        self._tables(document, file.name)

    def toml(self, file: Path) -> None:
        document = _parse(file)
        _only(document, ("defaults", "tables", "pools", "rows", "repeat", "fill"), file.name)
        defaults = _table(document, "defaults", file.name)
        self._tables(document, file.name)
        for table, rows in _table(document, "rows", file.name).items():
            self.rows += _rows(table, rows, defaults, file.name)
        for table, groups in _table(document, "repeat", file.name).items():
            for name in _table(groups, None, f"{file.name}: repeat.{table}"):
                self.groups.append(_group(table, name, groups[name], defaults, f"{file.name}: repeat.{table}.{name}"))

        for table, body in _table(document, "fill", file.name).items():
            self.fills.append(_fill(table, body, f"{file.name}: fill.{table}"))

    def csv(self, file: Path) -> None:
        table = _PREFIX.sub("", file.stem)
        try:
            lines = list(csv.reader(_text(file).splitlines(keepends=True), strict=True))
        except csv.Error as error:
            raise BadSeedFile(f"{file.name} cannot be read", why=str(error), fix="Correct that line.") from error
        if not lines or not all(lines[0]):
            raise BadSeedFile(f"{file.name} has no line of column names", fix="Write the columns' names in line 1.")
        for number, line in enumerate(lines[1:], start=2):
            if not line:
                continue
            if len(line) != len(lines[0]):
                raise BadSeedFile(
                    f"{file.name} line {number} has {len(line)} values",
                    why=f"The first line names {len(lines[0])} columns.",
                    fix="Correct that line; a value with a comma stands in double quotes.",
                )
            values = {column: value for column, value in zip(lines[0], line, strict=True) if value != ""}
            self.rows.append(RowSpec(table, None, values, {}, f"{file.name}: line {number}", raw=True))

    def _tables(self, document: Mapping[str, Any], file: str) -> None:
        for name, pool in _table(document, "pools", file).items():
            if not isinstance(pool, list) or not pool:
                raise _bad(file, f"pools.{name}", "a list of values", f'{name} = ["one", "two"]')
            self.pools[name] = pool
        for table, rules in _table(document, "tables", file).items():
            at = f"{file}: tables.{table}"
            _only(_table(rules, None, at), ("columns", "key"), at)
            before = self.tables.get(table)
            columns = dict(_table(rules, "columns", at))
            twice = sorted(set(columns) & set(before.columns)) if before else []
            if before and twice:
                raise BadSeedFile(
                    f"{at} says again what {before.at} says about {twice[0]}",
                    why="The two would depend on the order of the files.",
                    fix="Keep one of them.",
                )
            key = rules.get("key")
            if key is not None and not (isinstance(key, list) and key and all(isinstance(c, str) for c in key)):
                raise _bad(file, f"tables.{table}.key", "a list of columns", 'key = ["code"]')
            self.tables[table] = TableRules(
                {**(before.columns if before else {}), **columns},
                tuple(key) if key else (before.key if before else None),
                at,
            )


def _rows(table: str, rows: Any, defaults: Mapping[str, Any], file: str) -> Iterator[RowSpec]:
    """Rows by name (``[rows.shops.corner]``) or as a list (``[[rows.shops]]``)."""
    if isinstance(rows, list):
        for number, values in enumerate(rows, start=1):
            at = f"{file}: rows.{table} #{number}"
            yield RowSpec(table, None, _table(values, None, at), defaults, at)
        return
    for name, values in _table(rows, None, f"{file}: rows.{table}").items():
        at = f"{file}: rows.{table}.{name}"
        if not isinstance(values, Mapping):
            raise BadSeedFile(
                f"{at} is not a row",
                why=f"A row needs a name of its own below its table ({table}).",
                fix=f"Write [rows.{table}.NAME] above it, or [[rows.{table}]] for rows without a name.",
            )
        _check_name(name, at)
        yield RowSpec(table, name, values, defaults, at)


def _group(table: str, name: str, body: Any, defaults: Mapping[str, Any], at: str) -> GroupSpec:
    body = _table(body, None, at)
    _check_name(name, at)
    _only(body, ("rows", "each", "where", "columns"), at)
    each = body.get("each")
    rows = body.get("rows", 1 if each else None)
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
        raise _bad(at, "rows", "the number of rows", "rows = 20")
    if each is not None and not isinstance(each, str):
        raise _bad(at, "each", "the name of a table", 'each = "orders"')
    return GroupSpec(table, name, rows, each, _table(body, "where", at), _table(body, "columns", at), defaults, at)


def _fill(table: str, body: Any, at: str) -> FillSpec:
    body = _table(body, None, at)
    _only(body, ("rows", "columns"), at)
    rows = body.get("rows")
    counts = rows.values() if isinstance(rows, Mapping) and rows else [rows]
    if isinstance(rows, Mapping):
        _only(rows, tuple(SCALES), f"{at}: rows")
    for count in counts:
        amount = isinstance(count, int) and not isinstance(count, bool) and count >= 0
        if not amount and not (isinstance(count, str) and PER.fullmatch(count)):
            raise _bad(
                at, "rows", "a number of rows", 'rows = 200, rows = "3 per orders" or {small = 20, large = 9000}'
            )
    return FillSpec(table, rows, _table(body, "columns", at), at)


def _check_name(name: str, at: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadSeedFile(f"{at}: {name!r} cannot name a row", fix="Use letters, digits, _ and - only.")


def _parse(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(_text(file))
    except tomllib.TOMLDecodeError as error:
        raise BadSeedFile(f"{file.name} is not TOML", why=str(error), fix="Correct that line.") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSeedFile(f"{file.name} cannot be read", why=str(error), fix="Save it as UTF-8.") from error


def _table(value: Any, key: str | None, at: str) -> Mapping[str, Any]:
    """``value[key]`` (or ``value``) as a TOML table."""
    found = value if key is None else value.get(key, {})
    if not isinstance(found, Mapping):
        raise BadSeedFile(f"{at}{f': {key}' if key else ''} is not a table", fix="docs/seeds.md shows the form.")
    return found


def _only(document: Mapping[str, Any], known: Sequence[str], at: str) -> None:
    for key in document:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise BadSeedFile(
                f"{at} has an unknown entry {key!r}",
                why="Known here: " + ", ".join(known),
                fix=f"Did you mean {near[0]!r}?" if near else "docs/seeds.md shows the form.",
            )


def _bad(at: str, key: str, wanted: str, example: str) -> BadSeedFile:
    return BadSeedFile(f"{at}: {key} is not {wanted}", fix=f"For example: {example}")
