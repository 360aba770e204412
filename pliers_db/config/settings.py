"""The settings of one run: every value with the place it came from.

Precedence, highest first: command-line flag, process environment, ``.env.<env>.local``, ``.env.<env>``,
``.env.local`` (not in test), ``.env``, the environment's defaults. The files lie in the project's root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pliers_db.config.environment import Environment
from pliers_db.config.pool import PoolSettings, read_pool
from pliers_db.config.project import Project, find_project
from pliers_db.config.resolve import read_targets
from pliers_db.config.sources import Layer, find_environment, read_layers
from pliers_db.config.target import Target
from pliers_db.errors import NoDatabase

# PostgreSQL cuts a name after 63 bytes, which would cut off the environment.
_LONGEST_SLUG = 50


@dataclass(frozen=True, slots=True)
class Settings:
    """What one run works with. Make it with `load_settings`."""

    environment: Environment
    project: Project
    target: Target | None
    """None: the embedded server of this project."""
    pool: PoolSettings
    sources: Mapping[str, str] = field(default_factory=dict)
    """For each setting, where its value came from."""
    direct: Target | None = None
    """The way around a connection pooler (``DIRECT_DATABASE_URL``), if one is configured."""

    @property
    def embedded(self) -> bool:
        """Whether the database is the embedded server's."""
        return self.target is None

    @property
    def embedded_database(self) -> str:
        """The name of the database on the embedded server: ``pliers_dev``, ``pliers_test``."""
        slug = re.sub(r"[^a-z0-9]+", "_", self.project.name.lower())[:_LONGEST_SLUG].strip("_") or "app"
        return f"{slug}_{'dev' if self.environment is Environment.DEVELOPMENT else self.environment.value}"

    @property
    def direct_target(self) -> Target | None:
        """Where work that needs a session of its own connects: ``direct``, else ``target``."""
        return self.direct or self.target

    def with_target(self, target: Target) -> Settings:
        """The same settings for another database."""
        return replace(self, target=target, direct=None)


def load_settings(
    *,
    env: str | None = None,
    database_url: str | None = None,
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings for a run.

    :param env: the ``--env`` flag.
    :param database_url: the ``--database-url`` flag.
    :param start: the folder to look for the project from; default: the current one.
    :param environ: the process environment; default: ``os.environ``.
    :raises InputError: anything that cannot be used, with the setting's name and source.
    """
    environ = os.environ if environ is None else environ
    project = find_project(start)
    environment, source = find_environment(env, environ, project.root)
    layers = read_layers(database_url, environ, project.root, environment, start)
    sources = {"PLIERS_ENV": source}
    pool = read_pool(layers, environment, sources)
    target, direct = read_targets(layers, environ, environment, sources)
    if target is None and environment.protected:
        raise NoDatabase(
            f"No database is configured for {environment}",
            why="Only development and test fall back to the embedded server.",
            fix="Set DATABASE_URL, or DB_HOST, DB_NAME, DB_USER and DB_PASSWORD.",
            environment=environment.value,
        )
    if target is not None:
        if target.connect_timeout is not None:  # the URL's own; one truth for the pool and for libpq
            pool = replace(pool, connect_timeout=target.connect_timeout)
            sources["DB_CONNECT_TIMEOUT"] = f"connect_timeout in the URL ({sources['DATABASE_URL']})"
        target = replace(target, connect_timeout=pool.connect_timeout)
        direct = direct and replace(direct, connect_timeout=direct.connect_timeout or pool.connect_timeout)
    return Settings(environment, project, target, pool, sources, direct)


def find_variable(settings: Settings, name: str, environ: Mapping[str, str] | None = None) -> tuple[str, str] | None:
    """A variable that is no part of `Settings`, by the same precedence: its value and source; None if it is not set.

    :param environ: the process environment; default: ``os.environ``.
    """
    for layer in _layers(settings, environ):
        if (value := layer.get(name)) is not None:
            return value, layer.name
    return None


def read_variables(settings: Settings, prefixes: tuple[str, ...]) -> dict[str, str]:
    """All variables whose names begin with one of some prefixes, by the same precedence."""
    found: dict[str, str] = {}
    for layer in reversed(_layers(settings, None)):
        found |= {name: value for name, value in layer.values.items() if name.startswith(prefixes) and value}
    return found


def _layers(settings: Settings, environ: Mapping[str, str] | None) -> list[Layer]:
    environ = os.environ if environ is None else environ
    return read_layers(None, environ, settings.project.root, settings.environment)
