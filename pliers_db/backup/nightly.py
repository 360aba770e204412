"""What cron runs: a backup, then retention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pliers_db.backup.create import DEFAULTS, Options, back_up
from pliers_db.backup.repository import Backup, Repository
from pliers_db.backup.retention import Candidate, Retention, Verdict, decide
from pliers_db.db import Database
from pliers_db.progress import SILENT, Reporter


@dataclass(frozen=True, slots=True)
class Nightly:
    """What one night did."""

    backup: Backup
    removed: tuple[Verdict, ...]
    broken: tuple[Backup, ...]
    """Damaged backups of the same database; retention neither counts nor removes them."""


def nightly_backup(
    database: Database,
    repository: Repository,
    rules: Retention,
    options: Options = DEFAULTS,
    reporter: Reporter = SILENT,
    prove: Callable[[Backup], Backup] | None = None,
) -> Nightly:
    """Back up one database, then remove what the retention rules no longer keep; nothing is removed if it fails.

    :param prove: restores the new backup somewhere and returns it with its proof; if it finds anything, nothing is
        removed.
    :raises BackupRunning: another run works in the folder.
    :raises BackupFailed: nothing is left of it.
    """
    with repository.locked("backup nightly"):
        made = back_up(database, repository, options, reporter)
        if prove is not None:
            made = prove(made)
        every = repository.backups(made.database)
        if not made.good:
            return Nightly(made, (), tuple(b for b in every if not b.good))
        by_id = {backup.id: backup for backup in every}
        removed = []
        for verdict in plan_retention(every, rules, made):
            if not verdict.keep and repository.remove(by_id[verdict.id]):
                reporter.info(f"Removed {verdict.id}: {verdict.reason}")
                removed.append(verdict)
        return Nightly(made, tuple(removed), tuple(b for b in every if not b.good))


def plan_retention(backups: list[Backup], rules: Retention, made: Backup) -> list[Verdict]:
    """What stays and what goes of one database's backups."""
    return decide([Candidate(b.id, b.taken_at, b.proved) for b in backups if b.good], rules, protect={made.id})
