"""A JSON Schema of the seed files, made of the same tables that read them: editors complete and check by it."""

from __future__ import annotations

import json
from typing import Any

from pliers_db.seed import fields  # noqa: F401 - registers its generator
from pliers_db.seed.generators import GENERATORS
from pliers_db.seed.spec import SCALES

FILE = "seeds.schema.json"
DIRECTIVE = f"#:schema ../{FILE}"
"""The line by which editors of TOML (Taplo, Even Better TOML) find it."""


def schema() -> dict[str, Any]:
    """The schema of ``seed.toml`` and of the files of an environment."""
    rule = {"anyOf": [{"type": ["string", "number", "integer", "boolean", "array"]}, {"$ref": "#/$defs/generator"}]}
    columns = {"type": "object", "additionalProperties": {"$ref": "#/$defs/rule"}}
    row = {"type": "object"}
    count = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+ per \S"}]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Seeds of pliers-db",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "seed": {"type": "integer", "description": "Another number gives other ids and values."},
            "as_of": {"description": "The present of the seeds."},
            "locale": {"type": "string"},
            "fields": {"type": "object"},
            "pools": {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}},
            "defaults": row,
            "tables": _by_name(
                {"columns": columns, "key": {"type": "array", "items": {"type": "string"}, "minItems": 1}}
            ),
            "rows": {
                "type": "object",
                "additionalProperties": {
                    "anyOf": [
                        {"type": "array", "items": row},
                        {"type": "object", "additionalProperties": row},
                    ]
                },
            },
            "repeat": {
                "type": "object",
                "additionalProperties": _by_name(
                    {
                        "rows": {"type": "integer", "minimum": 0},
                        "each": {"type": "string"},
                        "where": row,
                        "columns": columns,
                    }
                ),
            },
            "fill": _by_name(
                {
                    "rows": {
                        "anyOf": [
                            *count["anyOf"],
                            {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": dict.fromkeys(SCALES, count),
                            },
                        ]
                    },
                    "columns": columns,
                },
                required=["rows"],
            ),
        },
        "$defs": {"rule": rule, "generator": {"anyOf": [_generator(word) for word in sorted(GENERATORS)]}},
    }


def text() -> str:
    """The schema as a file."""
    return json.dumps(schema(), indent=2) + "\n"


def _by_name(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    one = {"type": "object", "additionalProperties": False, "properties": properties, "required": required or []}
    return {"type": "object", "additionalProperties": one}


def _generator(word: str) -> dict[str, Any]:
    options: dict[str, Any] = {option: {} for option in sorted(GENERATORS[word].options)}
    doc = (GENERATORS[word].make.__doc__ or "").strip().partition("\n")[0]
    said = {"description": doc} if doc else {}
    return {
        "type": "object",
        "required": [word],
        "additionalProperties": False,
        "properties": {word: said, **options},
    }
