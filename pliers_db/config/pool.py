"""Limits of the connection pool, by environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from pliers_db.config.environment import Environment
from pliers_db.config.sources import Layer
from pliers_db.errors import BadSetting


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Limits of the connection pool; all times in seconds."""

    min_size: int = 2
    max_size: int = 10
    connect_timeout: float = 5.0
    checkout_timeout: float = 10.0
    idle_timeout: float = 600.0
    statement_timeout: float = 0.0
    """0 means no limit."""
    max_lifetime: float = 3600.0
    max_waiting: int = 0
    """How many may wait for a connection before the next is refused at once; 0: any number."""
    held_warning: float = 60.0
    """A connection that is out for longer is reported with the place that borrowed it; 0: never."""
    slow_query: float = 1.0
    """A statement that takes longer is logged as a warning; 0: never."""


POOL_DEFAULTS: Mapping[Environment, PoolSettings] = MappingProxyType(
    {
        Environment.DEVELOPMENT: PoolSettings(),
        Environment.TEST: PoolSettings(min_size=1, max_size=4),
        Environment.STAGING: PoolSettings(statement_timeout=60.0),
        Environment.PRODUCTION: PoolSettings(min_size=4, max_size=20, statement_timeout=30.0),
    }
)

# variable -> field, least value
_COUNTS = {"DB_POOL_MIN": ("min_size", 0), "DB_POOL_MAX": ("max_size", 1), "DB_POOL_MAX_WAITING": ("max_waiting", 0)}
_TIMES = {
    "DB_POOL_TIMEOUT": ("checkout_timeout", 0.001),
    "DB_CONNECT_TIMEOUT": ("connect_timeout", 1.0),
    "DB_IDLE_TIMEOUT": ("idle_timeout", 1.0),
    "DB_MAX_LIFETIME": ("max_lifetime", 1.0),
    "DB_STATEMENT_TIMEOUT": ("statement_timeout", 0.0),
    "DB_HELD_WARNING": ("held_warning", 0.0),
    "DB_SLOW_QUERY": ("slow_query", 0.0),
}
POOL_FIELDS: Mapping[str, str] = {name: field for name, (field, _) in {**_COUNTS, **_TIMES}.items()}
"""The field of `PoolSettings` that a variable sets."""

_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_LONGEST = 2_147_483.0  # PostgreSQL counts its timeouts in milliseconds of 32 bits
_GREATEST = 10_000


def read_pool(layers: list[Layer], environment: Environment, sources: dict[str, str]) -> PoolSettings:
    """The pool's limits from the sources, over the defaults of the environment.

    :param sources: takes up where each value came from.
    :raises BadSetting: a value that cannot be used.
    """
    given: dict[str, Any] = {}
    for name, (field, least) in _COUNTS.items():
        if found := _find(name, layers, environment, sources):
            given[field] = _whole(name, *found, least)
    for name, (field, shortest) in _TIMES.items():
        if found := _find(name, layers, environment, sources):
            given[field] = _duration(name, *found, shortest)
    pool = replace(POOL_DEFAULTS[environment], **given)
    if pool.min_size > pool.max_size:
        raise BadSetting(
            f"DB_POOL_MIN is {pool.min_size} ({sources['DB_POOL_MIN']}), more than DB_POOL_MAX, {pool.max_size} "
            f"({sources['DB_POOL_MAX']})",
            why="The pool cannot keep more connections open than it may have.",
            fix=f"Set DB_POOL_MAX to {pool.min_size} or more.",
            setting="DB_POOL_MIN",
            source=sources["DB_POOL_MIN"],
        )
    return pool


def _find(name: str, layers: list[Layer], environment: Environment, sources: dict[str, str]) -> tuple[str, str] | None:
    for layer in layers:
        if text := layer.get(name):
            sources[name] = layer.name
            return text.strip(), layer.name
    sources[name] = f"default of {environment}"
    return None


def _whole(name: str, text: str, source: str, least: int) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text) is None or not least <= int(text) <= _GREATEST:
        raise BadSetting(
            f"{name} is {text!r} ({source})",
            why=f"A whole number from {least} to {_GREATEST} is expected.",
            fix=f"Set {name}=10.",
            setting=name,
            source=source,
        )
    return int(text)


def _duration(name: str, text: str, source: str, shortest: float) -> float:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|min|h)?", text)
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if match is None or (match[2] is None and seconds != 0):
        why = "A time needs a number and a unit: ms, s, min or h."
    elif not shortest <= seconds <= _LONGEST:
        why = f"A time from {shortest:g} s to {_LONGEST / 3600:.0f} h is expected."
    else:
        return seconds
    raise BadSetting(
        f"{name} is {text!r} ({source})", why=why, fix=f"For example {name}=30s.", setting=name, source=source
    )
