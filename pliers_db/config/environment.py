"""The four environments, and how people spell them."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum

from pliers_db.errors import UnknownEnvironment


class Environment(StrEnum):
    """Where a database stands. Protected ones ask before anything is destroyed."""

    DEVELOPMENT = "development"
    TEST = "test"
    STAGING = "staging"
    PRODUCTION = "production"

    @property
    def protected(self) -> bool:
        """Whether destructive commands need the typed database name."""
        return self in (Environment.STAGING, Environment.PRODUCTION)


ALIASES = {
    "dev": Environment.DEVELOPMENT,
    "local": Environment.DEVELOPMENT,
    "testing": Environment.TEST,
    "ci": Environment.TEST,
    "stage": Environment.STAGING,
    "prod": Environment.PRODUCTION,
}


def parse_environment(name: str, source: str = "--env") -> Environment:
    """Read an environment's name or alias, in any case.

    :param source: where the name came from, for the error.
    :raises UnknownEnvironment: with the nearest known name.
    """
    key = name.strip().lower()
    names = {**{e.value: e for e in Environment}, **ALIASES}
    if key in names:
        return names[key]
    near = get_close_matches(key, names, n=1)
    raise UnknownEnvironment(
        f"Unknown environment {name!r} (from {source})",
        why="The environments are development (dev, local), test (ci), staging (stage), production (prod).",
        fix=f"Did you mean {near[0]!r}?" if near else "Set PLIERS_ENV to one of them.",
    )
