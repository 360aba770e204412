"""What cron runs: a backup, then retention; and retention by itself."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from pliers_db.backup.create import DEFAULTS, Options, back_up
from pliers_db.backup.hooks import NONE, Hooks, announced
from pliers_db.backup.remote import Remote
from pliers_db.backup.repository import Backup, Repository
from pliers_db.backup.retention import Candidate, Retention, Verdict, decide
from pliers_db.db import Database
from pliers_db.errors import BackupCorrupt, BackupNotPushed, RemoteFailed
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
    hooks: Hooks = NONE,
    remote: Remote | None = None,
) -> Nightly:
    """Back up one database, then remove what the retention rules no longer keep; nothing is removed if it fails.

    :param prove: restores the new backup somewhere and returns it with its proof; if it finds anything, nothing is
        removed.
    :param hooks: who is told.
    :param remote: where it is pushed to, before anything is removed here.
    :raises BackupRunning: another run works in the folder; nobody is told.
    :raises BackupFailed: nothing is left of it.
    :raises BackupNotPushed: the backup is made, but only here; nothing is removed.
    :raises HookFailed: the backup is made.
    """
    with repository.locked("backup nightly"), announced(hooks, database.target.dbname, reporter) as outcome:
        outcome.backup = made = back_up(database, repository, options, reporter)
        if prove is not None:
            outcome.backup = made = prove(made)
            outcome.failure = made.problem
        broken = tuple(b for b in repository.backups(made.database) if not b.good)
        if not made.good:
            return Nightly(made, (), broken)
        if remote is not None:
            _push(remote, repository, made, reporter)
        verdicts = plan_prune(repository, rules, made.database, protect={made.id})
        return Nightly(made, tuple(_apply(repository, verdicts, reporter)), broken)


def _push(remote: Remote, repository: Repository, made: Backup, reporter: Reporter) -> None:
    try:
        remote.push_new(repository, made.database, reporter)
    except (RemoteFailed, BackupCorrupt) as error:
        raise BackupNotPushed(
            f"{made.id} is made, but only here: it could not be pushed",
            why=f"{error.message}. {error.why}",
            fix="pliers-db backup push; the next nightly run tries it again, too.",
        ) from error


def plan_prune(repository: Repository, rules: Retention, database: str, protect: Collection[str] = ()) -> list[Verdict]:
    """What stays and what goes of one database's good backups, newest first. Broken ones neither count nor go.

    :param protect: ids that stay whatever the rules say.
    """
    good = [backup for backup in repository.backups(database) if backup.good]
    return decide([Candidate(b.id, b.taken_at, b.proved) for b in good], rules, protect)


def prune(repository: Repository, rules: Retention, database: str, reporter: Reporter = SILENT) -> list[Verdict]:
    """Remove what the rules no longer keep.

    :returns: the verdicts on those that are gone; one that is being read right now stays until the next time.
    :raises BackupRunning: another run works in the folder.
    """
    with repository.locked("backup prune"):
        repository.sweep()
        return _apply(repository, plan_prune(repository, rules, database), reporter)


def _apply(repository: Repository, verdicts: list[Verdict], reporter: Reporter) -> list[Verdict]:
    removed = []
    for verdict in verdicts:
        if not verdict.keep and repository.remove(repository.find(verdict.id)):
            reporter.info(f"Removed {verdict.id}: {verdict.reason}")
            removed.append(verdict)
    return removed
