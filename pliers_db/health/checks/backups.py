"""Backups: recent, whole, not suddenly small, and proved by a restore. No connection is needed."""

from __future__ import annotations

from statistics import median

from pliers_db.backup import Backup, Repository
from pliers_db.config import Environment
from pliers_db.health.check import Finding, Judgement, Privilege, Skip, check
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_duration, format_size


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


@check(
    "backup_proof",
    "A recent backup was proved by restoring it",
    group="project",
    worst=Level.WARN,
    fix="pliers-db backup verify",
    needs=Privilege.LOCAL,
    probe=_read_backups,
    limits={
        "backup_proof": Limit(
            "seconds",
            8 * 24 * _HOUR,
            per={Environment.DEVELOPMENT: (None, None), Environment.TEST: (None, None)},
        )
    },
)
def backup_proof(backups: list[Backup], at: Situation) -> Judgement:
    """Age is that of the backup, not of its proof: what was proved is the state of that day."""
    if not backups:
        raise Skip("there is no backup to prove")
    expected = at.limits["backup_proof"].warn is not None
    proved = next((b for b in backups if b.proved), None)
    if proved is None:
        message = f"none of {len(backups)} backups was ever restored to see whether it works"
        return Judgement("none proved", [Finding(Level.WARN if expected else Level.INFO, "none", message)])
    age = (at.started_at - proved.taken_at).total_seconds()
    summary = f"{proved.id} was proved and is {format_duration(max(age, 0.0))} old"
    level = at.level("backup_proof", age)
    findings = [Finding(level, "age", f"the newest proved backup, {summary}")] if level else []
    return Judgement(summary, findings, [at.measure("backup_proof", round(age, 1))], len(backups))
