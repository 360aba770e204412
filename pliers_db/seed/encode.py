"""Values in the text form of COPY: what PostgreSQL's input functions read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from pliers_db.seed.schema import VECTORS, Column

_INTEGERS = frozenset({"int2", "int4", "int8", "oid"})
_NUMBERS = frozenset({"float4", "float8", "numeric", "money"})


def encode(value: Any, column: Column, *, raw: bool = False) -> str | None:
    """A value as text for a column; None is NULL.

    :param raw: the value is already in PostgreSQL's input form.
    :raises ValueError: the value is of another kind than the column.
    """
    if value is None:
        return None
    if raw and isinstance(value, str):
        return _text(value)
    if column.is_json:
        return _text(json.dumps(value, ensure_ascii=False, default=_in_json))
    if column.base in VECTORS:
        return _vector(value, column)
    if column.category == "A":
        return _array(value, column)
    return _scalar(value, column.base, column.category)


def _scalar(value: Any, base: str, category: str) -> str:
    if isinstance(value, bool):
        if category != "B":
            raise ValueError(_wrong("true or false", base))
        return "t" if value else "f"
    if base == "bytea":
        if isinstance(value, bytes):
            return "\\x" + value.hex()
    elif isinstance(value, int | float | Decimal):
        if base in _INTEGERS and not isinstance(value, int):
            raise ValueError(_wrong(f"the fraction {value}", base))
        if category == "N":
            return repr(value) if isinstance(value, float) else str(value)
    elif isinstance(value, datetime | date | time):
        if category in "DT":
            return value.isoformat()
    elif isinstance(value, UUID) and (base == "uuid" or category == "S"):
        return str(value)
    if isinstance(value, str) and (category != "N" or base == "money") and category != "B":
        return _text(value)
    raise ValueError(_wrong(_kind(value), base))


def _vector(value: Any, column: Column) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
        raise ValueError(_wrong(_kind(value), column.base))
    if column.dimensions and len(value) != column.dimensions:
        raise ValueError(f"the vector has {len(value)} components, the column takes {column.dimensions}")
    return "[" + ",".join(repr(item) for item in value) + "]"


def _array(value: Any, column: Column) -> str:
    if isinstance(value, str) and value.startswith("{"):
        return _text(value)
    if not isinstance(value, list):
        raise ValueError(_wrong(_kind(value), column.type))
    element = column.element or "text"
    return "{" + ",".join(_element(item, element) for item in value) + "}"


def _element(item: Any, base: str) -> str:
    if isinstance(item, list):
        return "{" + ",".join(_element(inner, base) for inner in item) + "}"
    if item is None:
        return "NULL"
    if base in ("json", "jsonb"):
        text = json.dumps(item, ensure_ascii=False, default=_in_json)
    else:
        text = _scalar(item, base, _CATEGORIES.get(base, "S" if isinstance(item, str) else "N"))
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_CATEGORIES = {
    **dict.fromkeys(_INTEGERS | _NUMBERS, "N"),
    "bool": "B",
    **dict.fromkeys(("timestamptz", "timestamp", "date", "time", "timetz"), "D"),
}


def _text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("PostgreSQL stores no zero byte (\\u0000) in a text")
    return value


def _in_json(value: Any) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    raise ValueError(f"{_kind(value)} cannot stand in JSON")


def _kind(value: Any) -> str:
    """A value's kind in words, for an error."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, datetime | date | time):
        return "a time"
    if isinstance(value, bytes):
        return "bytes"
    return f"the number {value}" if isinstance(value, int | float | Decimal) else type(value).__name__


def _wrong(kind: str, type_name: str) -> str:
    return f"{kind} does not go into a column of type {type_name}"
