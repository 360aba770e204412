"""Thresholds: when a value is worth a warning, and when it is a failure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pliers_db.config import Environment
from pliers_db.errors import BadSetting
from pliers_db.units import format_duration, format_size

Unit = Literal["percent", "seconds", "bytes", "count"]
Pair = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Limit:
    """From ``warn`` on a warning, from ``fail`` on a failure; None is never.

    ``below`` turns it round: the smaller, the worse. ``per`` holds the pairs of environments that differ.
    """

    unit: Unit
    warn: float | None
    fail: float | None = None
    below: bool = False
    per: Mapping[Environment, Pair] = field(default_factory=dict)

    def exceeded(self, value: float) -> Literal["warn", "fail"] | None:
        """Which of the two the value has reached."""
        for name, bound in (("fail", self.fail), ("warn", self.warn)):
            if bound is not None and (value <= bound if self.below else value >= bound):
                return name  # type: ignore[return-value]
        return None

    def within(self, environment: Environment) -> Limit:
        """The limit as it holds in one environment."""
        warn, fail = self.per.get(environment, (self.warn, self.fail))
        return replace(self, warn=warn, fail=fail, per={})

    def show(self, value: float | None) -> str:
        """A value of this unit as people write it."""
        if value is None:
            return "never"
        match self.unit:
            case "percent":
                return f"{value:g} %"
            case "seconds":
                return format_duration(value)
            case "bytes":
                return format_size(value)
            case "count":
                return f"{value:,.0f}"

    def __str__(self) -> str:
        def pair(warn: float | None, fail: float | None) -> str:
            sign = "at most " if self.below else ""
            bounds = (("warn", warn), ("fail", fail))
            return ", ".join(f"{word} {sign}{self.show(bound)}" for word, bound in bounds if bound is not None)

        own = "".join(f" ({environment}: {pair(*bounds)})" for environment, bounds in self.per.items())
        return (pair(self.warn, self.fail) or "never") + own


_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1.0, "kB": 1024.0, "MB": 1024.0**2, "GB": 1024.0**3, "TB": 1024.0**4}


def override(name: str, limit: Limit, given: Any, where: str) -> Limit:
    """A limit with the project's own bounds, ``{ warn = "26h", fail = false }``.

    :param where: the table it stands in, for the error.
    :raises BadSetting: it cannot be read.
    """
    if not isinstance(given, Mapping) or not given.keys() <= {"warn", "fail"}:
        raise BadSetting(
            f"{name} in {where} is not a threshold",
            why="A threshold is a table with warn, fail or both.",
            fix=f"{name} = {{ warn = {_example(limit)}, fail = false }}",
        )
    return replace(
        limit,
        warn=_bound(name, limit, given["warn"], where) if "warn" in given else limit.warn,
        fail=_bound(name, limit, given["fail"], where) if "fail" in given else limit.fail,
    )


def _bound(name: str, limit: Limit, value: Any, where: str) -> float | None:
    if value is False:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and limit.unit in ("percent", "count"):
        return float(value)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z%]*)", value.strip()) if isinstance(value, str) else None
    if found:
        units = {"percent": {"%": 1.0, "": 1.0}, "count": {"": 1.0}, "seconds": _SECONDS, "bytes": _BYTES}[limit.unit]
        if found[2] in units:
            return float(found[1]) * units[found[2]]
    raise BadSetting(
        f"{name} in {where} has the bound {value!r}",
        why={
            "percent": "A percentage is a number or a text such as '80%'.",
            "count": "A whole number is expected.",
            "seconds": "A time needs a unit: ms, s, min, h or d.",
            "bytes": "A size needs a unit: B, kB, MB, GB or TB.",
        }[limit.unit],
        fix=f"For example {_example(limit)}, or false for never.",
    )


def _example(limit: Limit) -> str:
    return {"percent": "80", "count": "10", "seconds": '"26h"', "bytes": '"1GB"'}[limit.unit]
