"""Migrations: applied, as they are in the folder, and nobody's dead hand on the lock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import sql

from pliers_db.config import Environment
from pliers_db.db import Connection, LockName, lock_holders
from pliers_db.errors import NoMigrations
from pliers_db.health.check import Finding, Judgement, Skip, check
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.migrate import History, State, Status, compare, read_folder, read_history
from pliers_db.units import format_count, format_duration

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class _Found:
    """How the migrations stand, and since when stock yoyo's lock row has been there without one of us behind it."""

    status: Status
    locked_seconds: float | None


def _read_migrations(at: Situation) -> _Found:
    assert at.session is not None
    folder = at.settings.project.migrations
    if not folder.is_dir():
        raise Skip(f"there is no {folder}")
    try:
        files = read_folder(folder)
    except NoMigrations as none:
        raise Skip(none.message) from none
    with at.session.as_others_see_it() as conn:
        history = read_history(conn)
        return _Found(compare(files, history), _locked(conn, history))


def _locked(conn: Connection, history: History) -> float | None:
    """Seconds since the row in ``yoyo_lock`` was made, if no run of ours is at work; None: there is none to see."""
    table = sql.Identifier(history.schema, "yoyo_lock")
    readable = conn.execute(
        "select has_table_privilege(to_regclass(format('%%I.yoyo_lock', %s::text)), 'select')", [history.schema]
    ).fetchone()
    if readable != (True,) or lock_holders(conn, LockName.SCHEMA):
        return None
    row = conn.execute(sql.SQL("select min(ctime) from {}").format(table)).fetchone()
    if row is None or row[0] is None:
        return None
    since: datetime = row[0].replace(tzinfo=UTC)
    return (datetime.now(UTC) - since).total_seconds()


@check(
    "migrations",
    "Every migration is applied, as its file is, and none is unknown here",
    group="project",
    worst=Level.FAIL,
    fix="pliers-db migrate up",
    probe=_read_migrations,
    limits={
        "migrations_pending": Limit(
            "count", 1, None, per={Environment.STAGING: (None, 1), Environment.PRODUCTION: (None, 1)}
        ),
        "migrations_lock": Limit("seconds", _HOUR),
    },
)
def migrations(found: _Found, at: Situation) -> Judgement:
    """An edited file fails where the data counts: a new database would be another one than this."""
    status = found.status
    findings = []
    pending = status.pending
    if level := at.level("migrations_pending", len(pending)):
        names = ", ".join(m.id for m in pending[:3]) + (", …" if len(pending) > 3 else "")
        message = f"{format_count(len(pending), 'migration')} pending: {names}"
        findings.append(Finding(level, "pending", message, "pliers-db migrate up"))
    findings += [
        Finding(
            Level.FAIL,
            e.id,
            f"{e.id} replaces migrations of which only some are applied: up refuses it",
            "pliers-db migrate up",
        )
        for e in status.of(State.SPLIT)
    ]
    edited = Level.FAIL if at.settings.environment.protected else Level.WARN
    findings += [
        Finding(edited, e.id, f"{e.id} was edited after it was applied", "pliers-db migrate status")
        for e in status.of(State.EDITED)
    ]
    findings += [
        Finding(
            Level.WARN,
            e.id,
            f"{e.id} is applied, but its file is not here: another branch, or a deleted file",
            "pliers-db migrate status",
        )
        for e in status.of(State.MISSING)
    ]
    if found.locked_seconds is not None and at.level("migrations_lock", found.locked_seconds):
        message = f"yoyo's lock has been there for {format_duration(found.locked_seconds)}: its holder is probably dead"
        findings.append(Finding(Level.WARN, "lock", message, "pliers-db migrate unlock"))
    return Judgement(
        f"{format_count(len(status.applied), 'migration')} applied, none pending",
        findings,
        [at.measure("migrations_pending", len(pending))],
        len(status.entries),
    )
