"""Every setting of a run with its value and its source, secrets masked: what ``config show`` prints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from pliers_db.config.pool import POOL_FIELDS
from pliers_db.config.project import FOLDERS
from pliers_db.config.settings import Settings, find_variable
from pliers_db.config.sources import PROCESS
from pliers_db.config.url import format_url
from pliers_db.config.variables import VARIABLES
from pliers_db.redaction import MASK

_FIELDS = {
    "DB_HOST": "host",
    "DB_PORT": "port",
    "DB_NAME": "dbname",
    "DB_USER": "user",
    "DB_PASSWORD": "password",
    "DB_SSLMODE": "sslmode",
    "DB_SSLROOTCERT": "sslrootcert",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the description."""

    name: str
    value: str | None
    """None: not set."""
    source: str


def describe(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Setting]:
    """Each setting of the project and of the environment, in the order of ``.env.example``.

    :param environ: the process environment; default: ``os.environ``.
    """
    environ = os.environ if environ is None else environ
    return [*_project(settings), *(_variable(settings, name, environ) for name in VARIABLES if name != "ENV")]


def _project(settings: Settings) -> list[Setting]:
    project = settings.project
    file = project.config_file.name if project.config_file else ""
    found = [
        Setting("project", str(project.root), file or "the nearest folder with migrations, pyproject.toml or .git")
    ]
    for name in ("name", *FOLDERS):
        found.append(Setting(name, str(getattr(project, name)), file if name in project.table else "default"))
    return found


def _variable(settings: Settings, name: str, environ: Mapping[str, str]) -> Setting:
    source = settings.sources.get(name, "not set")
    target = settings.target
    value: str | None = None
    if name == "PLIERS_ENV":
        value = settings.environment.value
    elif VARIABLES[name].process_only:
        value = environ.get(name) or None
        source = PROCESS if value else source
    elif name == "PLIERS_HEARTBEAT":
        if found := find_variable(settings, name, environ):
            # Who knows the path can say that all is well.
            value, source = f"{urlsplit(found[0]).scheme}://{urlsplit(found[0]).hostname}/{MASK}", found[1]
    elif name in POOL_FIELDS:
        value = _pool_value(getattr(settings.pool, POOL_FIELDS[name]))
    elif name == "DIRECT_DATABASE_URL":
        value = format_url(settings.direct) if settings.direct else None
    elif target is None:
        if name == "DATABASE_URL":
            value, source = f"embedded server, database {settings.embedded_database}", "no database is configured"
    elif name == "DATABASE_URL":
        value = format_url(replace(target, connect_timeout=None)) if name in settings.sources else None
    else:
        given = getattr(target, _FIELDS[name])
        value = None if given is None else str(given)
        if name not in settings.sources:
            source = "the URL" if "DATABASE_URL" in settings.sources else "default"
        if name == "DB_SSLMODE" and value is None and not target.local:
            value, source = target.parameters()["sslmode"], "default"
    return Setting(name, value, source if value is not None else "not set")


def _pool_value(value: float | int) -> str:
    if isinstance(value, int):
        return str(value)
    if value == 0:
        return "0"
    return f"{value:g}s" if value >= 1 else f"{value * 1000:g}ms"
