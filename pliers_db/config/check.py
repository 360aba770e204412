"""What is wrong with the settings, found without a database: what ``config check`` prints."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from pliers_db.config.ambient import STEERING
from pliers_db.config.environment import ALIASES, Environment, parse_environment
from pliers_db.config.project import FILE, Project, find_project
from pliers_db.config.settings import Settings, load_settings
from pliers_db.config.sources import (
    PROCESS,
    Entry,
    Layer,
    file_names,
    find_environment,
    is_shell_file,
    read_env_file,
    read_layers,
)
from pliers_db.config.variables import KNOWN, SYNONYMS, VARIABLES
from pliers_db.errors import InputError, PliersError, UnknownEnvironment

_OURS = ("DB_", "PLIERS_", "DATABASE_", "DIRECT_")


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """No command would run."""
    WARNING = "warning"
    NOTE = "note"
    """Worth knowing; nothing to mend."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    level: Level
    message: str
    why: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found."""

    environment: Environment | None
    """None: it could not be told."""
    findings: tuple[Finding, ...]

    def count(self, level: Level) -> int:
        """How many findings of a level there are."""
        return sum(finding.level is level for finding in self.findings)


def check_settings(
    *,
    env: str | None = None,
    database_url: str | None = None,
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Report:
    """Check the settings of a run; the parameters are those of `load_settings`. Raises nothing that it can report."""
    environ = os.environ if environ is None else environ
    try:
        project = find_project(start)
        environment, _ = find_environment(env, environ, project.root)
        layers = read_layers(database_url, environ, project.root, environment, start)
    except InputError as error:
        return Report(None, (_error(error),))
    found = [
        *_environment_names(env, environ, project.root),
        *_files(project, environment),
        *_unknown_names(layers),
        *_written_values(layers),
        *_shadowed_parts(layers),
        *_ambient(environ),
    ]
    try:
        settings = load_settings(env=env, database_url=database_url, start=start, environ=environ)
    except InputError as error:
        found.append(_error(error))
    else:
        found += [*_tls(settings), *_pool(settings), *_shared_source(settings), *_passfile(settings, environ)]
    order = list(Level)
    return Report(environment, tuple(sorted(found, key=lambda finding: order.index(finding.level))))


def _error(error: PliersError) -> Finding:
    return Finding(Level.ERROR, error.message, error.why, error.fix)


def _environment_names(flag: str | None, environ: Mapping[str, str], root: Path) -> Iterator[Finding]:
    """PLIERS_ENV and ENV that say different things, in the process environment and in .env."""
    base = read_env_file(root / ".env").values
    said: dict[str, Environment] = {}
    for name in ("PLIERS_ENV", "ENV"):
        for values, source in ((environ, PROCESS), (base, ".env")):
            value = values.get(name, "").strip()
            if not value or (name == "ENV" and is_shell_file(value)):
                continue
            try:
                said[f"{name} ({source})"] = parse_environment(value, name)
            except UnknownEnvironment as error:
                yield Finding(Level.WARNING, f"{error.message}, {source}", error.why, error.fix)
    if flag is not None or len(set(said.values())) < 2:
        return
    used = next(iter(said))
    others = [f"{name} says {environment}" for name, environment in said.items() if environment is not said[used]]
    yield Finding(
        Level.WARNING,
        f"{used} says {said[used]}, but {', '.join(others)}",
        f"{said[used]} is used: PLIERS_ENV goes before ENV, the process environment before .env.",
        "Unset the one that is wrong.",
    )


def _files(project: Project, environment: Environment) -> Iterator[Finding]:
    """Files that are not read, or by too many."""
    read = file_names(environment)
    known = {name for e in Environment for name in file_names(e)}
    for file in sorted(project.root.glob(".env*")):
        if file.name in (".env.example", ".env.sample", ".env.template"):
            continue
        if file.name in known and not file.is_file():
            yield Finding(
                Level.WARNING, f"{file.name} is not read", "It is no file, but a folder, a pipe or a dead link."
            )
        elif file.name not in known:
            yield from _misnamed(file)
        elif file.name in read:
            yield from _exposed(file)
        if file.is_file() and file.name != ".env" and (names := _environment_settings(file)):
            yield Finding(
                Level.WARNING,
                f"{names[0]} in {file.name} has no effect",
                "Which files are read depends on the environment; it is looked up in the process environment and .env.",
                "Set it there.",
            )
    pyproject = project.root / "pyproject.toml"
    if project.config_file == project.root / FILE and pyproject.is_file():
        text = pyproject.read_text(encoding="utf-8", errors="replace")
        if "[tool.pliers-db" in text:
            yield Finding(
                Level.WARNING,
                f"{FILE} and [tool.pliers-db] of pyproject.toml both hold settings",
                f"Only {FILE} is read.",
                "Move them into one of the two.",
            )


def _environment_settings(file: Path) -> list[str]:
    try:
        return [name for name in ("PLIERS_ENV", "ENV") if read_env_file(file).values.get(name)]
    except InputError:
        return []


def _misnamed(file: Path) -> Iterator[Finding]:
    middle = file.name.removeprefix(".env.").removesuffix(".local")
    names = {**ALIASES, **{e.value: e for e in Environment}}
    near = get_close_matches(middle, names, n=1)
    if not near:
        return
    meant = file.name.replace(middle, names[near[0]].value)
    yield Finding(
        Level.WARNING,
        f"{file.name} is not read",
        "The files are called after the environment's full name.",
        f"mv {file.name} {meant}",
    )


def _exposed(file: Path) -> Iterator[Finding]:
    """A file with secrets in it that others may read."""
    mode = file.stat().st_mode
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return
    values = read_env_file(file).values
    secrets = [
        name
        for name, variable in VARIABLES.items()
        if variable.secret and values.get(name) and (name == "DB_PASSWORD" or "@" in values[name])
    ]
    if secrets:
        yield Finding(
            Level.WARNING,
            f"{file.name} can be read by others (mode {stat.S_IMODE(mode):04o})",
            f"It holds {', '.join(secrets)}.",
            f"chmod 600 {file.name}",
        )


def _unknown_names(layers: list[Layer]) -> Iterator[Finding]:
    """Names that look like ours and that nobody reads."""
    for layer in layers:
        for name in layer.values:
            if not name.startswith(_OURS) or name in KNOWN:
                continue
            # Other programs have DB_ variables in the process environment, too: there only what is nearly ours.
            cutoff = 0.8 if layer.name == PROCESS else 0.6
            near = SYNONYMS.get(name) or next(iter(get_close_matches(name, KNOWN, n=1, cutoff=cutoff)), None)
            if near is None and layer.name == PROCESS:
                continue
            yield Finding(
                Level.WARNING,
                f"{name} ({layer.name}) is not known",
                "It has no effect.",
                f"Did you mean {near}?" if near else "Known names: .env.example.",
            )


def _written_values(layers: list[Layer]) -> Iterator[Finding]:
    """Lines of .env files that do not say what their author may believe."""
    for layer in layers:
        lines: dict[str, Entry] = {}
        for entry in layer.entries:
            if entry.name not in KNOWN:
                continue
            if entry.name in lines:
                yield Finding(
                    Level.WARNING,
                    f"{entry.name} is set twice in {layer.name}, lines {lines[entry.name].line} and {entry.line}",
                    "The last one is used.",
                    "Remove one.",
                )
            lines[entry.name] = entry
            yield from _written_value(entry, layer.name)


def _written_value(entry: Entry, source: str) -> Iterator[Finding]:
    where = f"{entry.name} ({source}, line {entry.line})"
    written = entry.text.partition("=")[2].strip()
    value = entry.value
    if value is None:
        yield Finding(Level.WARNING, f"{where} has no value", "There is no '=' in the line.", f"{entry.name}=…")
        return
    if written[:1] not in ("'", '"') and value and "#" in written[len(value) :]:
        yield Finding(
            Level.WARNING if entry.name in VARIABLES and VARIABLES[entry.name].secret else Level.NOTE,
            f"{where} ends at a '#'",
            "Without quotes, what follows a blank and '#' is a comment.",
            f"If it belongs to the value: {entry.name}='…'",
        )
    if "${" in value:
        yield Finding(
            Level.WARNING,
            f"{where} holds '${{'",
            "Values are taken as they stand, nothing is expanded.",
            "Write it out.",
        )
    if any(not c.isprintable() for c in value):
        yield Finding(
            Level.WARNING,
            f"{where} holds a control character",
            "Within double quotes \\n is a new line, \\t a tabulator.",
            f"Use single quotes: {entry.name}='…'",
        )


def _shadowed_parts(layers: list[Layer]) -> Iterator[Finding]:
    """Parts beside a URL in one source: the URL is used."""
    for layer in layers:
        url = next((name for name in ("DATABASE_URL", "DATABASE_URL_FILE") if layer.get(name)), None)
        parts = [name for name in ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER") if layer.get(name)]
        if url and parts:
            yield Finding(
                Level.WARNING,
                f"{', '.join(parts)} beside {url} ({layer.name})",
                f"They have no effect: {url} names the whole database.",
                "Remove one of the two.",
            )


def _ambient(environ: Mapping[str, str]) -> Iterator[Finding]:
    if found := sorted(STEERING & {name for name, value in environ.items() if value}):
        yield Finding(
            Level.NOTE,
            f"{', '.join(found)} ({PROCESS}) {'has' if len(found) == 1 else 'have'} no effect",
            "Only psql and its like read them; here the target comes from DATABASE_URL or DB_….",
        )


def _tls(settings: Settings) -> Iterator[Finding]:
    target = settings.target
    if target is None or target.local:
        return
    mode, source = target.sslmode, settings.sources.get("DB_SSLMODE", "default")
    if settings.environment is Environment.PRODUCTION and mode != "verify-full":
        why = {
            "verify-ca": "Any server with a certificate of that authority can pretend to be this one.",
            "require": "It encrypts, but does not check who the server is.",
        }.get(mode or "", "The connection may be in clear, and nobody checks who the server is.")
        yield Finding(
            Level.WARNING, f"Production connects with sslmode={mode} ({source})", why, "Set DB_SSLMODE=verify-full."
        )
    if target.sslrootcert and mode in ("disable", "allow", "prefer", None):
        yield Finding(
            Level.WARNING,
            f"DB_SSLROOTCERT is set, but DB_SSLMODE is {mode or 'prefer'}",
            "The certificate is not looked at.",
            "Set DB_SSLMODE=verify-full.",
        )


def _pool(settings: Settings) -> Iterator[Finding]:
    pool, sources = settings.pool, settings.sources
    if pool.connect_timeout > pool.checkout_timeout:
        yield Finding(
            Level.WARNING,
            f"DB_CONNECT_TIMEOUT is {pool.connect_timeout:g} s ({sources['DB_CONNECT_TIMEOUT']}), longer than "
            f"DB_POOL_TIMEOUT, {pool.checkout_timeout:g} s ({sources['DB_POOL_TIMEOUT']})",
            "Who waits for a connection gives up before the connecting does.",
            "Set DB_CONNECT_TIMEOUT lower.",
        )
    if pool.idle_timeout > pool.max_lifetime:
        yield Finding(
            Level.WARNING,
            f"DB_IDLE_TIMEOUT is {pool.idle_timeout:g} s, longer than DB_MAX_LIFETIME, {pool.max_lifetime:g} s",
            "It never takes effect.",
            "Set DB_IDLE_TIMEOUT lower.",
        )


def _shared_source(settings: Settings) -> Iterator[Finding]:
    """A protected environment whose database stands in a file that every environment reads."""
    for name in ("DATABASE_URL", "DB_HOST", "DB_NAME"):
        source = settings.sources.get(name, "")
        if settings.environment.protected and source.removeprefix(f"{name}_FILE (").rstrip(")") in (
            ".env",
            ".env.local",
        ):
            yield Finding(
                Level.WARNING,
                f"{settings.environment} takes {name} from {source}",
                "Every environment reads that file: it may name a development database.",
                f"Set it in the process environment or in .env.{settings.environment}.",
            )


def _passfile(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """A password file that libpq will not read because others can."""
    target = settings.target
    if target is None or target.password is not None:
        return
    given = target.params.get("passfile") or environ.get("PGPASSFILE")
    home = environ.get("HOME")
    file = Path(given) if given else Path(home) / ".pgpass" if home else None
    if file is None or not file.is_file():
        if given:
            yield Finding(Level.WARNING, f"The password file {given} is not there", "libpq goes on without it.")
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        yield Finding(
            Level.WARNING,
            f"{file} can be read by others (mode {mode:04o})",
            "libpq ignores such a password file; the server will say that no password was supplied.",
            f"chmod 600 {file}",
        )
