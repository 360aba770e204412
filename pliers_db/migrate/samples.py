"""Values to try in a column: for each type a few that differ from row to row and use what the type can hold. Pure.

Long texts, all decimals, all labels of an enum: what a rollback would cut off, round or map together shows only in
values that have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from pliers_db.catalog import Type

_TYPE = re.compile(r"(?P<name>.*?)(?:\((?P<args>[\d, -]+)\))?(?P<zone> with(?:out)? time zone)?")
_STRING = re.compile(r"'((?:[^']|'')*)'")
_NUMBER = re.compile(r"(?<![\w.'])-?\d+(?:\.\d+)?(?![\w.'])")
_EPOCH = datetime(2026, 1, 1, 10, 11, 12, 123456, UTC)
_MAX_LENGTH = 4000

# Which literals of a check may be values of these types: another one would be an error, not an answer.
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?: .*)?")
_FORMS = {
    "json": re.compile(r"\{\}|\[\]"),
    "jsonb": re.compile(r"\{\}|\[\]"),
    "uuid": re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "date": _DATE,
    "timestamp with time zone": _DATE,
    "timestamp without time zone": _DATE,
}

_TEXTS = ("text", "character varying", "character", "citext", "name", "bpchar")
_INTEGERS = ("integer", "bigint", "smallint", "oid")


class NoSample(Exception):
    """No value is known for a type; as text, which."""


def samples(
    type_name: str, row: int, types: Mapping[str, Type], hints: Iterable[str] = (), first: bool = False
) -> list[str]:
    """Values for a column in one row, as text, the best first.

    :param type_name: the column's type as a snapshot gives it (qualified, with its modifiers).
    :param row: number of the row; other rows get other values.
    :param types: the enums, domains and composite types by path.
    :param hints: SQL expressions that a value has to satisfy: their literals are tried, too.
    :param first: only the best is needed.
    :raises NoSample: the type is not known.
    """
    if type_name.endswith("[]"):
        element = samples(type_name.removesuffix("[]"), row, types, first=True)[0]
        other = samples(type_name.removesuffix("[]"), row + 1, types, first=True)[0]
        literals = [lit for hint in hints for lit in _strings(hint) if lit.startswith("{")]
        return [f"{{{_quote(element)},{_quote(other)}}}", f"{{{_quote(element)}}}", *_distinct(literals), "{}"]
    if made := types.get(type_name):
        return _of_made(made, row, types, hints)
    parsed = _TYPE.fullmatch(type_name)
    assert parsed is not None
    name = parsed["name"].rpartition(".")[2].strip('"') if "." in parsed["name"] else parsed["name"]
    arguments = [int(a) for a in (parsed["args"] or "").split(",") if a]
    if parsed["zone"]:
        name += parsed["zone"]
    if name in _TEXTS:
        limit = 63 if name == "name" else arguments[0] if arguments else 1 if name == "character" else None
        return _texts(row, limit, () if first else hints)
    if name in _INTEGERS:
        return _integers(row, () if first else hints, 32767 if name == "smallint" else 2**31 - 1)
    if name == "numeric":
        return _numerics(row, arguments, () if first else hints)
    simple = _simple("interval" if name.startswith("interval") else name, row, arguments)
    if simple is None:
        raise NoSample(f"no value is known for the type {type_name}")
    literals = [] if first else [lit for hint in hints for lit in _strings(hint)]
    wanted = [lit for lit in literals if (form := _FORMS.get(name)) and form.fullmatch(lit)]
    if name in ("json", "jsonb"):
        simple += _documents(literals)
    elif name == "bytea":
        simple += [f"\\x{row % 256:02x}{'ab' * (n - 1)}" for hint in hints for n in _lengths(hint)]
    elif name in ("double precision", "real"):
        simple += [n for hint in hints for n in _NUMBER.findall(hint)]
    return _distinct([*simple, *wanted])


def _of_made(made: Type, row: int, types: Mapping[str, Type], hints: Iterable[str]) -> list[str]:
    match made.kind:
        case "enum" if made.labels:
            # From the last: what a migration adds stands there mostly.
            return [made.labels[-1 - (row + n) % len(made.labels)] for n in range(len(made.labels))]
        case "domain" if made.base:
            checks = [c.definition for c in made.constraints if c.kind == "check"]
            return samples(made.base, row, types, [*checks, *hints])
        case "composite type":
            fields = [samples(a.type, row, types, first=True)[0] for a in made.attributes]
            return [f"({','.join(_quote(f) for f in fields)})"]
        case "range type" if made.base:
            low, high = sorted(samples(made.base, n, types, first=True)[0] for n in (row, row + 1))
            return [f"[{_quote(low)},{_quote(high)}]"]
    raise NoSample(f"no value is known for the {made.kind} {made.path}")


def _texts(row: int, limit: int | None, hints: Iterable[str]) -> list[str]:
    long = f"Row {row}, in Mixed Case, as long as allowed " * 10
    wanted = _distinct(lit for hint in hints for lit in _strings(hint))
    wanted = [*wanted[row % len(wanted) :], *wanted[: row % len(wanted)]] if wanted else []
    lengths = [n for hint in hints for n in _lengths(hint)]
    exact = [_filled(row, n) for n in lengths]
    for length in {n for n in (*lengths, limit or 0) if 0 < n <= 64}:
        exact += [_letters(row, length).upper(), _letters(row, length), f"{row:0{length}}"[-length:]]
    words = ("with", "a", "long", "name", "of", "many", "words")
    likely = [
        "-".join(("row", str(row), *words)), "_".join(("row", str(row), *words)), f"row{row}", f"row-{row}",
        f"row_{row}", f"ROW{row}", f"{_letters(row, 3)}.{_letters(row, 3)}",
        _letters(row, 2), _letters(row, 3), _letters(row, 2).upper(),
        _letters(row, 3).upper(), str(row), f"+49{row:09}", f"ann{row}@example.com", f"https://example.com/{row}",
        f"example{row}.com", f"{row:032x}", f"{row:040x}", f"{row:064x}", f"01900000-0000-7000-8000-{row:012x}",
        f"1.0.{row}", "2026-01-01", "Europe/Berlin", "127.0.0.1", "text/plain", "{}", f"/row/{row}", "en", "",
    ]  # fmt: skip
    best = long[:76].rstrip() if limit is None else _filled(row, min(limit, 400))
    return [v for v in _distinct([best, *wanted, *likely, *exact]) if limit is None or len(v) <= limit]


def _filled(row: int, length: int) -> str:
    """A text of exactly that length, another one for each row."""
    if length < len(str(row)) + 2:
        return _letters(row, length)
    return f"{row} {'abcdefghijklmnopqrstuvwxyz' * (length // 26 + 1)}"[:length]


def _letters(row: int, length: int) -> str:
    text = ""
    for _ in range(length):
        row, digit = divmod(row, 26)
        text += chr(ord("a") + digit)
    return text


def _integers(row: int, hints: Iterable[str], most: int) -> list[str]:
    near = [int(n) + d for hint in hints for n in _NUMBER.findall(hint) if "." not in n for d in (0, 1, -1)]
    return _distinct(str(n) for n in (row, *near, row % 100, 1, 0) if -most <= n <= most)


def _numerics(row: int, arguments: list[int], hints: Iterable[str]) -> list[str]:
    precision, scale = (*arguments, 0)[:2] if arguments else (12, 5)
    whole = precision - scale
    fraction = "123456789123456789"[:scale] if scale > 0 else ""
    number = str(row % 10**whole) if whole > 0 else "0"
    near = [n for hint in hints for n in _NUMBER.findall(hint)]
    return _distinct([f"{number}.{fraction}" if fraction else number, *near, "0.5", "1", "0"])


def _simple(name: str, row: int, arguments: list[int]) -> list[str] | None:
    moment = _EPOCH + timedelta(minutes=row)
    # Microseconds as the precision has them: a timestamp(0) would round.
    digits = arguments[0] if arguments else 6
    second = f"{moment:%H:%M:%S}" + (f".{'123456'[:digits]}" if digits else "")
    length = arguments[0] if arguments else 1
    vector = "[" + ",".join(f"{(row + n) % 97 / 8 + 0.125}" for n in range(min(length, 16000))) + "]"
    bits = f"{row:b}"[-length:].rjust(length, "1")
    found = {
        "boolean": ["true", "false"] if row % 2 else ["false", "true"],
        "double precision": [f"{row}.1234567891", "0.5", "1", "0"],
        "real": [f"{row}.5", "0.5", "1", "0"],
        "money": [f"{row}.25"],
        "uuid": [f"01900000-0000-7000-8000-{row:012x}", f"01900000-0000-4000-8000-{row:012x}"],
        "timestamp with time zone": [f"{moment:%Y-%m-%d} {second}+00", "2026-01-01 00:00:00+00"],
        "timestamp without time zone": [f"{moment:%Y-%m-%d} {second}", "2026-01-01 00:00:00"],
        "date": [f"{_EPOCH + timedelta(days=row % 20000):%Y-%m-%d}", "2026-01-01"],
        "time without time zone": [second],
        "time with time zone": [f"{second}+00"],
        "interval": [f"{row} days 04:05:06", "1 day"],
        "json": [f'{{"n": {row}, "text": "Row {row}", "list": [1, 2]}}', "{}", "[]", '"x"', "1"],
        "jsonb": [f'{{"n": {row}, "text": "Row {row}", "list": [1, 2]}}', "{}", "[]", '"x"', "1"],
        "bytea": [f"\\x{row:016x}"],
        "inet": [f"10.0.{row // 256 % 256}.{row % 256}", f"10.0.{row % 256}.0/24"],
        "cidr": [f"10.{row // 256 % 256}.{row % 256}.0/24"],
        "macaddr": [f"08:00:2b:01:{row // 256 % 256:02x}:{row % 256:02x}"],
        "macaddr8": [f"08:00:2b:01:02:03:{row // 256 % 256:02x}:{row % 256:02x}"],
        "bit": [bits],
        "bit varying": [bits if arguments else f"{row:b}"],
        '"char"': [_letters(row, 1)],
        "xml": [f"<row>{row}</row>"],
        "tsvector": [f"'row':1 'r{row}':2"],
        "tsquery": [f"'row' & 'r{row}'"],
        "point": [f"({row},1)"],
        "line": [f"{{1,2,{row}}}"],
        "lseg": [f"[({row},1),(2,3)]"],
        "box": [f"({row},1),(2,0)"],
        "path": [f"[({row},1),(2,3)]"],
        "polygon": [f"(({row},1),(2,3),(4,5))"],
        "circle": [f"<({row},1),2>"],
        "pg_lsn": [f"0/{row:X}"],
        "vector": [vector],
        "halfvec": [vector],
        "sparsevec": [f"{{1:{row % 97 + 0.5}}}/{length}"],
        "hstore": [f'"row"=>"{row}"'],
        "ltree": [f"top.r{row}"],
        "cube": [f"({row})"],
    }
    ranges = {
        "int4": (str(row * 10), str(row * 10 + 5)),
        "int8": (str(row * 10), str(row * 10 + 5)),
        "num": (f"{row}.1", f"{row}.9"),
        "date": (f"{moment:%Y-%m-%d}", f"{moment + timedelta(days=9):%Y-%m-%d}"),
        "ts": (f'"{moment:%F %T}"', f'"{moment + timedelta(seconds=30):%F %T}"'),
        "tstz": (f'"{moment}"', f'"{moment + timedelta(seconds=30)}"'),
    }
    for kind, (low, high) in ranges.items():
        found[f"{kind}range"] = [f"[{low},{high})"]
        found[f"{kind}multirange"] = [f"{{[{low},{high})}}"]
    return found.get(name)


def _documents(literals: list[str]) -> list[str]:
    """JSON with the keys that a check names."""
    keys = [lit for lit in literals if lit and not lit.startswith(("{", "[", "$"))]
    whole = "{" + ", ".join(f'"{key}": []' for key in keys) + "}"
    return [whole, *(f'{{"{key}": {value}}}' for key in keys for value in ("[]", "{}", '"x"', "1", "true"))]


def _strings(expression: str) -> list[str]:
    return [found.replace("''", "'") for found in _STRING.findall(expression)]


def _lengths(expression: str) -> list[int]:
    return [int(n) for n in _NUMBER.findall(expression) if "." not in n and 0 < int(n) <= _MAX_LENGTH]


def _quote(text: str) -> str:
    """A value inside the text form of an array, range or composite."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
