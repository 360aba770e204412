"""What a project has decided about its health checks: ``[tool.pliers-db.health]``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pliers_db.config import Environment, Settings
from pliers_db.errors import BadSetting, UnknownCheck
from pliers_db.health.check import Check
from pliers_db.health.excuse import Ignore, read_ignores
from pliers_db.health.limit import Limit, override

DEADLINE = 20.0
"""Seconds for a whole run. 55 queries take under a second with 5,000 tables (research: health §1.3)."""
_SECTION = "[tool.pliers-db.health]"
BASELINE = "health-baseline.json"
_KEYS = {
    "baseline",
    "deadline",
    "extensions",
    "ignore",
    "ignore_applications",
    "skip",
    "thresholds",
    *Environment,
}


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits that hold in this environment, and what to leave out."""

    limits: Mapping[str, Limit]
    skip: frozenset[str]
    deadline: float
    extensions: tuple[str, ...]
    """Those that must be installed."""
    ignore_applications: tuple[str, ...]
    """Whose statements may run long, by ``application_name``."""
    ignores: tuple[Ignore, ...]
    baseline: Path
    """Where the baseline lies, whether there is one or not."""

    def choose(self, checks: Sequence[Check], only: Collection[str], skip: Collection[str]) -> tuple[Check, ...]:
        """The checks of a run, in the report's order.

        :raises UnknownCheck: no check has that id.
        """
        for wanted, where in ((only, "--only"), (skip, "--skip")):
            _known(wanted, checks, where)
        return tuple(c for c in checks if not only or c.id in only)


def read_rules(settings: Settings, checks: Sequence[Check]) -> Rules:
    """Lay the project's choices over the defaults: first those for all environments, then those for this one.

    :raises BadSetting: a key, limit or check that does not exist, or a value that cannot be read.
    """
    section = settings.project.section("health")
    _only_keys(section, _KEYS, _SECTION)
    environment = settings.environment
    limits = {name: limit.within(environment) for c in checks for name, limit in c.limits.items()}
    skip: set[str] = set()
    extensions: list[str] = []
    applications: list[str] = []
    ignores: list[Ignore] = []
    deadline = DEADLINE
    for table, where in (
        (section, _SECTION),
        (_table(section, environment.value, _SECTION), f"[tool.pliers-db.health.{environment}]"),
    ):
        for name, given in _table(table, "thresholds", where).items():
            if name not in limits:
                raise BadSetting(
                    f"{name} in {where} is no threshold",
                    why=f"The thresholds are {', '.join(limits)}.",
                    fix=_did_you_mean(name, limits),
                )
            limits[name] = override(name, limits[name], given, where)
        given_skip = _names(table, "skip", where)
        _known(given_skip, checks, f"skip in {where}")
        skip |= set(given_skip)
        extensions += _names(table, "extensions", where)
        applications += _names(table, "ignore_applications", where)
        ignores += read_ignores(table.get("ignore", []), where)
        if "deadline" in table:
            read = override("deadline", Limit("seconds", deadline), {"warn": table["deadline"]}, where).warn
            deadline = read or DEADLINE
    baseline = section.get("baseline", BASELINE)
    if not isinstance(baseline, str):
        raise BadSetting(f"baseline in {_SECTION} is not a path", fix=f'baseline = "{BASELINE}"')
    return Rules(
        limits=limits,
        skip=frozenset(skip),
        deadline=deadline,
        extensions=tuple(dict.fromkeys(extensions)),
        ignore_applications=tuple(applications),
        ignores=tuple(ignores),
        baseline=settings.project.root / baseline,
    )


def _known(ids: Collection[str], checks: Sequence[Check], where: str) -> None:
    known = {c.id for c in checks}
    for given in ids:
        if given not in known:
            raise UnknownCheck(
                f"No check is called {given!r} ({where})",
                why=f"The checks are {', '.join(c.id for c in checks)}.",
                fix=_did_you_mean(given, known),
            )


def _did_you_mean(name: str, known: Collection[str]) -> str:
    near = get_close_matches(str(name), known, n=1)
    return f"Did you mean {near[0]!r}?" if near else "Correct the name."


def _table(section: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    found = section.get(key, {})
    if not isinstance(found, Mapping):
        raise BadSetting(f"{key} in {where} is not a table", fix=f"[{where.strip('[]')}.{key}]")
    return found


def _names(table: Mapping[str, Any], key: str, where: str) -> list[str]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise BadSetting(f"{key} in {where} is not a list of names", fix=f'For example {key} = ["NAME"].')
    return found


def _only_keys(section: Mapping[str, Any], known: Collection[str], where: str) -> None:
    for key in section:
        if key not in known:
            raise BadSetting(
                f"{key} in {where} is not a setting",
                why=f"The settings are {', '.join(sorted(known))}.",
                fix=_did_you_mean(key, known),
            )
