"""The project beside its database: settings, files, the environment stamp.

`config` and `files` need no connection: they say what still works when the server is away.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from pliers_db.config import Environment
from pliers_db.db import Stamp, read_stamp
from pliers_db.health.check import Finding, Judgement, Privilege, check
from pliers_db.health.outcome import Level
from pliers_db.health.session import load
from pliers_db.health.situation import Situation, environment_and_source
from pliers_db.units import format_count, format_size

_FULL = 16 << 20  # bytes; less does not hold the smallest cluster's backup and its temporary files


@check(
    "config",
    "The settings can be read, and no secret lies open",
    group="project",
    worst=Level.WARN,
    fix="pliers-db config show",
    needs=Privilege.LOCAL,
    probe=lambda at: [f for f in sorted(at.settings.project.root.glob(".env*")) if f.is_file()],
)
def config(files: list[os.PathLike[str]], at: Situation) -> Judgement:
    settings = at.settings
    findings = [
        Finding(
            Level.WARN,
            os.path.basename(file),
            f"{os.path.basename(file)} holds a secret and everybody on this machine can read it",
            f"chmod 600 '{os.fspath(file)}'",
        )
        for file in files
        if (settings.environment.protected or "prod" in os.path.basename(file) or "stag" in os.path.basename(file))
        and not os.fspath(file).endswith(".example")
        and _open_secret(file)
    ]
    where = str(settings.target) if settings.target else "the embedded server"
    return Judgement(f"{environment_and_source(settings)}; {where}", findings, examined=len(files))


def _open_secret(file: os.PathLike[str]) -> bool:
    """Whether others may read a file that has a password in it."""
    if not os.stat(file).st_mode & 0o004:
        return False
    with open(file, encoding="utf-8", errors="replace") as text:
        return any(
            line.split("=", 1)[0].strip().removeprefix("export ").strip() in ("DB_PASSWORD", "DATABASE_URL")
            and line.split("=", 1)[1].strip()
            for line in text
            if "=" in line
        )


@dataclass(frozen=True, slots=True)
class _Files:
    """What lies in the project's folders."""

    migrations: int | None
    seeds: bool
    backups_writable: bool
    backups_free: int
    """Bytes."""


def _look_at_files(at: Situation) -> _Files:
    project = at.settings.project
    migrations = None
    if project.migrations.is_dir():
        names = [f.name for f in project.migrations.iterdir() if f.suffix == ".sql" and not f.name.startswith(".")]
        migrations = sum(not name.endswith(".rollback.sql") for name in names)
    place = project.backups
    while not place.exists():
        place = place.parent
    return _Files(migrations, project.seeds.is_dir(), os.access(place, os.W_OK), shutil.disk_usage(place).free)


@check(
    "files",
    "The project's folders are there",
    group="project",
    worst=Level.WARN,
    fix="pliers-db migrate new NAME",
    needs=Privilege.LOCAL,
    probe=_look_at_files,
)
def files(found: _Files, at: Situation) -> Judgement:
    project = at.settings.project
    findings = []
    if not found.migrations:
        findings.append(
            Finding(Level.WARN, "migrations", f"no migrations in {project.migrations}", "pliers-db migrate new NAME")
        )
    if not found.backups_writable:
        findings.append(
            Finding(Level.WARN, "backups", f"{project.backups} cannot be written to", "Correct its owner or mode.")
        )
    elif found.backups_free < _FULL:
        free = f"the disk of {project.backups} is full: {format_size(found.backups_free)} left"
        findings.append(Finding(Level.WARN, "backups", free, "Make room there."))
    seeds = "seeds" if found.seeds else "no seeds"
    return Judgement(f"{format_count(found.migrations or 0, 'migration')}, {seeds}, backups writable", findings)


@dataclass(frozen=True, slots=True)
class _Mark:
    """What the database says about itself."""

    stamp: Stamp | None
    has_tables: bool


def _read_mark(at: Situation) -> _Mark:
    assert at.session is not None
    has_tables = bool(at.session.fetch(load("server.environment"))[0]["has_tables"])
    with at.session.as_others_see_it() as conn:
        return _Mark(read_stamp(conn), has_tables)


@check(
    "env_mark",
    "The database is stamped as the environment that this run is for",
    group="project",
    worst=Level.FAIL,
    fix="pliers-db env show",
    probe=_read_mark,
)
def env_mark(mark: _Mark, at: Situation) -> Judgement:
    environment = at.settings.environment
    stamp = mark.stamp
    if stamp is None:
        if not mark.has_tables:
            return Judgement("an empty database, not stamped; the first migration stamps it")
        message = "the database has tables and no stamp: commands that destroy will refuse"
        return Judgement("", [Finding(Level.WARN, "stamp", message, f"pliers-db env set {environment}")])
    if stamp.foreign:
        message = f"stamped {stamp.environment} by another cluster: a copy, and of what is not known"
        return Judgement("", [Finding(Level.FAIL, "stamp", message, f"pliers-db env set {environment}")])
    if stamp.environment is not environment:
        level = Level.FAIL if Environment.PRODUCTION in (stamp.environment, environment) else Level.WARN
        message = f"stamped {stamp.environment}, but this run is for {environment}"
        fix = f"Run with --env {stamp.environment} if this database is meant, else correct DATABASE_URL."
        return Judgement("", [Finding(level, "stamp", message, fix)])
    return Judgement(f"stamped {stamp.environment}")
