"""Schemas that nobody designed: tables, keys, references and CHECKs put together by chance. All can be filled."""

from __future__ import annotations

from pathlib import Path
from random import Random

SCHEMAS = Path(__file__).parent / "schemas"

TYPES = {
    "int": ["@ > 0", "@ between 10 and 5000", "@ % 2 = 0", "@ <> 7 and @ < 100000"],
    "bigint": ["@ >= 1000000000"],
    "smallint": ["@ < 100"],
    "numeric(8,2)": ["@ >= 0", "@ > 0.5 and @ < 900"],
    "double precision": ["@ < 10"],
    "text": ["length(@) between 3 and 40", "@ ~ '^[a-z]+-[0-9]{2,6}$'", "@ = lower(@)", "@ <> ''"],
    "varchar(12)": ["@ ~ '^[A-Z]'", "char_length(@) > 4"],
    "char(3)": ["@ ~ '^[A-Z]{3}$'"],
    "boolean": [],
    "uuid": [],
    "date": ["@ >= date '2001-01-01'", "@ < '2030-01-01' and extract(dow from @) <> 0"],
    "timestamptz": ["@ > '1999-12-31'"],
    "time": [],
    "interval": ["@ > interval '0'"],
    "jsonb": ["jsonb_typeof(@) = 'object'"],
    "bytea": ["octet_length(@) >= 4"],
    "inet": [],
    "text[]": ["cardinality(@) between 1 and 9"],
    "int[]": ["@[1] > 0"],
    "int4range": ["not isempty(@)"],
    "tstzrange": [],
    "mood": ["@ <> 'bad'"],
    "score": [],
    "point": [],
}
PREAMBLE = """
create type mood as enum ('good', 'fair', 'bad', 'none');
create domain score as int check (value between 0 and 1000) check (value <> 13);
"""
NAMES = ["alpha", "Beta", "gamma delta", "select", "eps%ilon", "zeta"]


def random_schema(seed: int) -> str:
    """The SQL of a schema, the same for the same seed."""
    chance = Random(seed)
    names = NAMES[: chance.randint(1, len(NAMES))]
    made: dict[str, tuple[list[str], list[str]]] = {}  # columns of the primary key with their types
    statements = [PREAMBLE]
    late: list[str] = []
    for table in names:
        parts: list[str] = []
        key = _key(chance, parts)
        for number in range(chance.randint(1, 7)):
            _column(chance, parts, f"c{number}")
        for number in range(chance.randint(0, 2)):
            if made and chance.random() < 0.8:
                _reference(chance, parts, chance.choice(sorted(made)), made, f"r{number}")
        if chance.random() < 0.3:
            kinds = ", ".join(kind for _, kind in key)
            columns = [f"up{place}" for place in range(len(key))]
            parts += [f"{name} {kind}" for name, (_, kind) in zip(columns, key, strict=True)]
            assert kinds
            parts.append(f'foreign key ({", ".join(columns)}) references "{table}"')
        if chance.random() < 0.4:
            parts += ["low int not null", "high int not null", "check (low < high)"]
        if chance.random() < 0.2:
            parts += ["one text", "two int", "check (num_nonnulls(one, two) = 1)"]
        if chance.random() < 0.2:
            parts += ["net int not null check (net > 0)", "twice int not null check (twice = net * 2)"]
        if chance.random() < 0.2:
            parts.append("shown text generated always as ('x') stored")
        statements.append(f'create table "{table}" ({", ".join(parts)});')
        if chance.random() < 0.3:
            statements.append(f'create unique index on "{table}" ({key[0][0]}) where {key[0][0]} is not null;')
        made[table] = ([name for name, _ in key], [kind for _, kind in key])
        if len(made) > 1 and chance.random() < 0.3:  # a circle: an older table refers to this one
            other = chance.choice([name for name in made if name != table])
            columns = [f"back{len(late)}_{place}" for place in range(len(key))]
            adds = ", ".join(f"add column {c} {kind}" for c, (_, kind) in zip(columns, key, strict=True))
            late.append(f'alter table "{other}" {adds};')
            late.append(f'alter table "{other}" add foreign key ({", ".join(columns)}) references "{table}";')
    return "\n".join([*statements, *late])


def _key(chance: Random, parts: list[str]) -> list[tuple[str, str]]:
    kind = chance.choice(["identity", "serial", "uuid", "int", "text", "pair", "date"])
    if kind == "identity":
        parts.append("id int generated always as identity primary key")
        return [("id", "int")]
    if kind == "serial":
        parts.append("id bigserial primary key")
        return [("id", "bigint")]
    if kind == "pair":
        parts += ["tenant smallint not null", "no text not null", "primary key (tenant, no)"]
        return [("tenant", "smallint"), ("no", "text")]
    parts.append(f"id {kind} primary key")
    return [("id", kind)]


def _column(chance: Random, parts: list[str], name: str) -> None:
    kind = "int" if name == "c0" else chance.choice(sorted(TYPES))
    text = f"{name} {kind}"
    not_null = chance.random() < 0.6
    if not_null:
        text += " not null"
    checks = TYPES[kind]
    if checks and chance.random() < 0.5:
        text += " check (" + chance.choice(checks).replace("@", name) + ")"
    many = kind in ("int", "bigint", "text", "uuid", "date", "timestamptz", "int4range", "text[]", "bytea")
    if many and chance.random() < 0.25:
        text += " unique" + (" nulls not distinct" if chance.random() < 0.3 else "")
    parts.append(text)
    if kind == "text" and name != "c0" and chance.random() < 0.2:
        parts.append(f"unique ({name}, c0)")


def _reference(
    chance: Random, parts: list[str], target: str, made: dict[str, tuple[list[str], list[str]]], prefix: str
) -> None:
    columns, kinds = made[target]
    ours = [f"{prefix}_{column}" for column in columns]
    must = " not null" if chance.random() < 0.5 else ""
    parts += [f"{name} {kind}{must}" for name, kind in zip(ours, kinds, strict=True)]
    later = " deferrable initially deferred" if chance.random() < 0.2 else ""
    parts.append(f'foreign key ({", ".join(ours)}) references "{target}" ({", ".join(columns)}){later}')
    if chance.random() < 0.2:
        parts.append(f"unique ({', '.join(ours)})")
