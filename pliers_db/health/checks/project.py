"""The project beside its database: settings, files, migrations, backups, the environment stamp.

`config`, `files` and `backup_age` need no connection: they say what still works when the server is away.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from statistics import median

from pliers_db.backup import Backup, Repository
from pliers_db.config import Environment
from pliers_db.db import Stamp, read_stamp
from pliers_db.errors import NoMigrations
from pliers_db.health.check import Finding, Judgement, Privilege, Skip, check
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.session import load
from pliers_db.health.situation import Situation
from pliers_db.migrate import State, Status, look, read_folder
from pliers_db.units import format_count, format_duration, format_size


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
    source = settings.sources.get("environment", "default")
    return Judgement(f"{settings.environment} ({source}), {where}", findings, examined=len(files))


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


def _look_at_files(at: Situation) -> _Files:
    project = at.settings.project
    migrations = None
    if project.migrations.is_dir():
        names = [f.name for f in project.migrations.iterdir() if f.suffix == ".sql" and not f.name.startswith(".")]
        migrations = sum(not name.endswith(".rollback.sql") for name in names)
    place = project.backups
    while not place.exists():
        place = place.parent
    return _Files(migrations, project.seeds.is_dir(), os.access(place, os.W_OK))


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
    seeds = "seeds" if found.seeds else "no seeds"
    return Judgement(f"{format_count(found.migrations or 0, 'migration')}, {seeds}, backups writable", findings)


def _read_migrations(at: Situation) -> Status:
    assert at.session is not None
    folder = at.settings.project.migrations
    if not folder.is_dir():
        raise Skip(f"there is no {folder}")
    try:
        files = read_folder(folder)
    except NoMigrations as none:
        raise Skip(none.message) from none
    with at.session.as_others_see_it() as conn:
        return look(conn, files)


@check(
    "migrations",
    "Every migration is applied, and none is unknown here",
    group="project",
    worst=Level.FAIL,
    fix="pliers-db migrate up",
    probe=_read_migrations,
    limits={
        "migrations_pending": Limit(
            "count", 1, None, per={Environment.STAGING: (None, 1), Environment.PRODUCTION: (None, 1)}
        )
    },
)
def migrations(status: Status, at: Situation) -> Judgement:
    findings = []
    pending = status.pending
    if level := at.level("migrations_pending", len(pending)):
        names = ", ".join(m.id for m in pending[:3]) + (", …" if len(pending) > 3 else "")
        message = f"{format_count(len(pending), 'migration')} pending: {names}"
        findings.append(Finding(level, "pending", message, "pliers-db migrate up"))
    findings += [
        Finding(
            Level.WARN,
            entry.id,
            f"{entry.id} is applied, but its file is not here: another branch, or a deleted file",
            "pliers-db migrate status",
        )
        for entry in status.of(State.MISSING)
    ]
    findings += [
        Finding(Level.WARN, entry.id, f"{entry.id} was edited after it was applied", "pliers-db migrate status")
        for entry in status.of(State.EDITED)
    ]
    applied = len(status.applied)
    return Judgement(
        f"{format_count(applied, 'migration')} applied, none pending",
        findings,
        [at.measure("migrations_pending", len(pending))],
        len(status.entries),
    )


def _read_backups(at: Situation) -> list[Backup]:
    settings = at.settings
    database = settings.target.dbname if settings.target else settings.embedded_database
    return Repository(settings.project.backups).backups(database)


_SMALL = 0.5  # of the median size: a dump that lacks half its rows is smaller than that
_HOUR = 3600.0


@check(
    "backup_age",
    "There is a recent, whole backup",
    group="project",
    worst=Level.FAIL,
    fix="pliers-db backup nightly",
    needs=Privilege.LOCAL,
    probe=_read_backups,
    limits={
        "backup_age": Limit(
            "seconds",
            26 * _HOUR,
            50 * _HOUR,
            per={Environment.DEVELOPMENT: (None, None), Environment.TEST: (None, None)},
        )
    },
)
def backup_age(backups: list[Backup], at: Situation) -> Judgement:
    """Of this database, in the project's folder. Broken ones do not count, and are told."""
    findings = [
        Finding(Level.WARN, b.id, f"backup {b.id} is damaged: {b.problem}", "pliers-db backup create")
        for b in backups
        if not b.good
    ]
    good = [b for b in backups if b.good]
    if not good:
        none = Level.INFO if at.limits["backup_age"].warn is None else Level.FAIL
        return Judgement("no backup", [*findings, Finding(none, "none", "there is no whole backup")])
    age = (at.started_at - good[0].taken_at).total_seconds()
    summary = f"{good[0].id} is {format_duration(max(age, 0.0))} old"
    if level := at.level("backup_age", age):
        findings.append(Finding(level, "age", summary))
    if age < -300:
        message = f"{good[0].id} is from the future: the clock here or there is wrong"
        findings.append(Finding(Level.WARN, "clock", message, "Compare the clocks: timedatectl"))
    sizes = [b.manifest.size_bytes for b in good if b.manifest]
    if len(sizes) > 3 and sizes[0] < _SMALL * median(sizes[1:]):
        message = f"{good[0].id} has {format_size(sizes[0])}, those before had {format_size(median(sizes[1:]))}"
        findings.append(
            Finding(Level.WARN, "size", message, f"Look at what is gone: pliers-db backup list, {good[1].id}")
        )
    return Judgement(summary, findings, [at.measure("backup_age", round(age, 1))], len(backups))


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
