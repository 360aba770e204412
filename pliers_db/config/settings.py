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

from pliers_db.config.environment import Environment, parse_environment
from pliers_db.config.project import Project, find_project
from pliers_db.config.secret import Secret
from pliers_db.config.target import Target
from pliers_db.config.url import parse_url
from pliers_db.errors import BadSetting, NoDatabase, TwoSources

DEFAULT = "default"


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


POOL_DEFAULTS: Mapping[Environment, PoolSettings] = {
    Environment.DEVELOPMENT: PoolSettings(),
    Environment.TEST: PoolSettings(min_size=1, max_size=4),
    Environment.STAGING: PoolSettings(statement_timeout=60.0),
    Environment.PRODUCTION: PoolSettings(min_size=4, max_size=20, statement_timeout=30.0),
}


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

    @property
    def embedded(self) -> bool:
        """Whether the database is the embedded server's."""
        return self.target is None

    @property
    def embedded_database(self) -> str:
        """The name of the database on the embedded server: ``pliers_dev``, ``pliers_test``."""
        slug = re.sub(r"[^a-z0-9]+", "_", self.project.name.lower()).strip("_") or "app"
        return f"{slug}_{'dev' if self.environment is Environment.DEVELOPMENT else self.environment.value}"

    def with_target(self, target: Target) -> Settings:
        """The same settings for another database."""
        return replace(self, target=target)


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of settings."""

    name: str
    values: Mapping[str, str]


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
    project = find_project(start or Path.cwd())
    environment, environment_source = _environment(env, environ, project)
    layers = _layers(environ, project, environment)
    sources = {"environment": environment_source}
    target = _target(database_url, layers, sources)
    if target is None and environment.protected:
        raise NoDatabase(
            f"No database is configured for {environment}",
            why="Only development and test fall back to the embedded server.",
            fix="Set DATABASE_URL, or DB_HOST, DB_NAME, DB_USER and DB_PASSWORD.",
        )
    pool = _pool(layers, environment, sources)
    if target is not None:
        if environment is Environment.PRODUCTION and target.sslmode is None and not (target.host or "").startswith("/"):
            target = replace(target, sslmode="verify-full", sslrootcert=target.sslrootcert or "system")
            sources["DB_SSLMODE"] = f"{DEFAULT} of production"
        target = replace(target, connect_timeout=target.connect_timeout or pool.connect_timeout)
    return Settings(environment, project, target, pool, sources)


def _environment(flag: str | None, environ: Mapping[str, str], project: Project) -> tuple[Environment, str]:
    if flag is not None:
        return parse_environment(flag, "--env"), "--env"
    for name in ("PLIERS_ENV", "ENV"):
        if value := environ.get(name):
            return parse_environment(value, name), f"{name} in the process environment"
    base = _read_dotenv(project.root / ".env")
    for name in ("PLIERS_ENV", "ENV"):
        if value := base.get(name):
            return parse_environment(value, f"{name} in .env"), f"{name} in .env"
    return Environment.DEVELOPMENT, DEFAULT


def _layers(environ: Mapping[str, str], project: Project, environment: Environment) -> list[Layer]:
    """The sources, highest first."""
    names = [f".env.{environment}.local", f".env.{environment}", ".env.local", ".env"]
    if environment is Environment.TEST:
        names.remove(".env.local")
    files = [Layer(name, _read_dotenv(project.root / name)) for name in names if (project.root / name).is_file()]
    return [Layer("process environment", environ), *files]


def _read_dotenv(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    from dotenv import dotenv_values

    # interpolate=False: python-dotenv would expand ${X} even inside single quotes.
    found = dotenv_values(file, interpolate=False, encoding="utf-8")
    return {key: value for key, value in found.items() if value is not None}


def _secret(name: str, layer: Layer) -> str | None:
    """The value of NAME, or the content of the file that NAME_FILE names."""
    direct, file = layer.values.get(name), layer.values.get(f"{name}_FILE")
    if direct and file:
        raise TwoSources(
            f"{name} and {name}_FILE are both set ({layer.name})",
            why="Nobody could tell which of the two is used.",
            fix=f"Unset {name} or {name}_FILE.",
        )
    if not file:
        return direct or None
    try:
        return Path(file).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(
            f"{name}_FILE ({layer.name}) cannot be read", why=str(error), fix="Correct the path or its permissions."
        ) from error


_PARTS = {
    "DB_HOST": "host",
    "DB_PORT": "port",
    "DB_NAME": "dbname",
    "DB_USER": "user",
    "DB_SSLMODE": "sslmode",
    "DB_SSLROOTCERT": "sslrootcert",
}


def _target(flag: str | None, layers: list[Layer], sources: dict[str, str]) -> Target | None:
    """Lay the sources over each other, lowest first: a URL replaces all below it, a part replaces that part."""
    target: Target | None = None
    if flag is not None:
        sources["DATABASE_URL"] = "--database-url"
        return parse_url(flag, "--database-url")
    for layer in reversed(layers):
        url = _secret("DATABASE_URL", layer)
        if url:
            target = parse_url(url, f"DATABASE_URL ({layer.name})")
            for name in (*_PARTS, "DB_PASSWORD"):
                sources.pop(name, None)
            sources["DATABASE_URL"] = layer.name
            continue
        parts = {field: layer.values[name] for name, field in _PARTS.items() if layer.values.get(name)}
        password = _secret("DB_PASSWORD", layer)
        if not parts and password is None:
            continue
        for name, value in _PARTS.items():
            if value in parts:
                sources[name] = layer.name
        if password is not None:
            sources["DB_PASSWORD"] = layer.name
        base = target or Target(dbname="", host="localhost", port="5432")
        target = replace(base, **parts)  # type: ignore[arg-type]
        if password is not None:
            target = replace(target, password=Secret(password))
    if target is not None and not target.dbname:
        raise BadSetting(
            "The database's name is missing",
            why="Other DB_ settings are there, but neither DB_NAME nor DATABASE_URL.",
            fix="Set DB_NAME.",
        )
    return target


_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


def _duration(name: str, text: str, source: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h)?", text.strip())
    if match is None or (match[2] is None and float(match[1]) != 0):
        raise BadSetting(
            f"{name} is {text!r} ({source})",
            why="A time needs a number and a unit: ms, s, min or h.",
            fix=f"For example {name}=30s.",
        )
    return float(match[1]) * _UNITS[match[2] or "s"]


def _whole(name: str, text: str, source: str, low: int) -> int:
    if not text.strip().isdigit() or int(text) < low:
        raise BadSetting(
            f"{name} is {text!r} ({source})",
            why=f"A whole number of at least {low} is expected.",
            fix=f"Set {name}=10.",
        )
    return int(text)


def _pool(layers: list[Layer], environment: Environment, sources: dict[str, str]) -> PoolSettings:
    defaults = POOL_DEFAULTS[environment]

    def value(name: str) -> tuple[str, str] | None:
        for layer in layers:
            if text := layer.values.get(name):
                sources[name] = layer.name
                return text, layer.name
        sources[name] = f"{DEFAULT} of {environment}"
        return None

    def whole(name: str, default: int, low: int) -> int:
        found = value(name)
        return default if found is None else _whole(name, *found, low)

    def duration(name: str, default: float) -> float:
        found = value(name)
        return default if found is None else _duration(name, *found)

    pool = PoolSettings(
        min_size=whole("DB_POOL_MIN", defaults.min_size, 0),
        max_size=whole("DB_POOL_MAX", defaults.max_size, 1),
        connect_timeout=duration("DB_CONNECT_TIMEOUT", defaults.connect_timeout),
        checkout_timeout=duration("DB_POOL_TIMEOUT", defaults.checkout_timeout),
        idle_timeout=duration("DB_IDLE_TIMEOUT", defaults.idle_timeout),
        statement_timeout=duration("DB_STATEMENT_TIMEOUT", defaults.statement_timeout),
    )
    if pool.min_size > pool.max_size:
        raise BadSetting(
            f"DB_POOL_MIN is {pool.min_size} ({sources['DB_POOL_MIN']}), more than DB_POOL_MAX, {pool.max_size} "
            f"({sources['DB_POOL_MAX']})",
            why="The pool cannot keep more connections open than it may have.",
            fix=f"Set DB_POOL_MAX to {pool.min_size} or more.",
        )
    return pool
