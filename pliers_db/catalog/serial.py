"""Frozen dataclasses as JSON and back; fields that have their default are left out."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints


def plain(value: Any) -> Any:
    """Dataclasses and tuples as dicts and lists."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if is_dataclass(value):
        return {f.name: plain(item) for f in fields(value) if (item := getattr(value, f.name)) != f.default}
    return value


def build(kind: Any, body: dict[str, Any]) -> Any:
    """Make a ``kind`` of what `plain` gave."""
    return kind(**{name: _read(_hints(kind)[name], value) for name, value in body.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(hint: Any, value: Any) -> Any:
    if get_origin(hint) is not tuple:
        return value
    item = get_args(hint)[0]
    return tuple(build(item, v) if is_dataclass(item) else v for v in value)
