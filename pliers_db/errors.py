"""Every error that a user can meet, in one tree.

An error says WHAT failed (the message), WHY (classified, one or two lines) and what to type next (``fix``).
``code`` is stable: scripts and tests may match it. The exit code follows the branch of the tree, the same for
every command (DESIGN.md, "Exit codes"). A class whose docstring is a sentence uses it as its default message.
"""

from __future__ import annotations

from typing import Any, ClassVar


class PliersError(Exception):
    """Something failed in a way that pliers-db did not foresee."""

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 70

    def __init__(self, message: str = "", *, why: str = "", fix: str = "", **details: Any) -> None:
        """:param message: what failed, one line, without a final full stop; default: the class's first line.
        :param why: the cause, classified; may have several lines.
        :param fix: the command or setting that mends it.
        :param details: further facts for ``--json`` (never a secret).
        """
        self.message = message or (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]
        self.why = why
        self.fix = fix
        self.details = details
        super().__init__(self.message)

    def as_dict(self) -> dict[str, Any]:
        """The ``error`` object of ``--json``."""
        body: dict[str, Any] = {"code": self.code, "message": self.message, "why": self.why, "fix": self.fix}
        if self.details:
            body["details"] = self.details
        return body


# ── one branch per exit code ────────────────────────────────────────────────────────────────────────────────
class InputError(PliersError):
    """Bad usage or bad input; nothing was touched."""

    code = "input"
    exit_code = 2


class ServerError(PliersError):
    """The server cannot be reached or used."""

    code = "server"
    exit_code = 3


class RefusedError(PliersError):
    """Refused for safety; nothing was touched."""

    code = "refused"
    exit_code = 4


class LockedError(PliersError):
    """Another run holds the lock."""

    code = "locked"
    exit_code = 5


class RolledBackError(PliersError):
    """Failed, and everything is as it was before."""

    code = "rolled-back"
    exit_code = 6


class PartialError(PliersError):
    """Failed part-way; the message says what is done and how to go on."""

    code = "partial"
    exit_code = 7


class InterruptedByUser(PliersError):
    """Interrupted; what was under way has been rolled back."""

    code = "interrupted"
    exit_code = 130


# ── config ──────────────────────────────────────────────────────────────────────────────────────────────────
class UnknownEnvironment(InputError):
    """The environment has a name that pliers-db does not know."""

    code = "config.unknown-environment"


class BadSetting(InputError):
    """A setting has a value that cannot be used."""

    code = "config.bad-setting"


class BadDatabaseUrl(InputError):
    """The database URL cannot be read."""

    code = "config.bad-url"


class TwoSources(InputError):
    """One secret is given in two ways."""

    code = "config.two-sources"


class NoDatabase(InputError):
    """No database is configured for this environment."""

    code = "config.no-database"


class NoProject(InputError):
    """This folder does not belong to a project."""

    code = "config.no-project"


# ── db ──────────────────────────────────────────────────────────────────────────────────────────────────────
class ConnectFailed(ServerError):
    """The database does not let us in."""

    code = "db.connect"

    @property
    def kind(self) -> str:
        """Why: password, database, role, host, tls, slots, starting, timeout, settings or unreachable."""
        return str(self.details.get("kind", "unreachable"))

    def again(self) -> ConnectFailed:
        """The same news for another thread."""
        return ConnectFailed(self.message, why=self.why, fix=self.fix, **self.details)


class PoolExhausted(ServerError):
    """Every connection of the pool is in use."""

    code = "db.pool-exhausted"


class PoolerInTheWay(InputError):
    """A connection pooler stands before the server."""

    code = "db.pooler"


class CircuitOpen(ServerError):
    """Calls to the database are suspended: it did not answer the last ones."""

    code = "db.circuit-open"


class PoolClosing(ServerError):
    """The pool is shutting down."""

    code = "db.pool-closing"


class DeadlinePassed(ServerError):
    """The server did not answer in time."""

    code = "db.deadline"


class CommitUnknown(PartialError):
    """It is not known whether the transaction was committed."""

    code = "db.commit-unknown"


class TransactionAborted(RolledBackError):
    """The transaction had failed before its end."""

    code = "db.transaction-aborted"


class ProtectedDatabase(RefusedError):
    """The database is stamped as a protected environment."""

    code = "db.protected"


# ── postgres ────────────────────────────────────────────────────────────────────────────────────────────────
class BinariesMissing(ServerError):
    """No PostgreSQL programs were found."""

    code = "postgres.no-binaries"


class ServerStartFailed(ServerError):
    """The PostgreSQL server did not start."""

    code = "postgres.start-failed"


class ServerStopFailed(ServerError):
    """The PostgreSQL server does not end."""

    code = "postgres.stop-failed"


class ServerNotRunning(ServerError):
    """The embedded server does not run."""

    code = "postgres.not-running"


class PortTaken(ServerError):
    """Somebody else listens on that port."""

    code = "postgres.port-taken"


class ForeignDataFolder(RefusedError):
    """The data folder was not made by pliers-db."""

    code = "postgres.foreign-folder"


class OtherMajorVersion(ServerError):
    """The data folder was made by another major version of PostgreSQL."""

    code = "postgres.other-major"


class WrongOwner(ServerError):
    """A folder of the server belongs to another account."""

    code = "postgres.wrong-owner"


class NoServerAccount(ServerError):
    """There is no account to run the server as."""

    code = "postgres.no-account"


class ProgramFailed(ServerError):
    """A PostgreSQL program failed."""

    code = "postgres.program-failed"


class ProgramTimeout(ProgramFailed):
    """A PostgreSQL program took too long and was stopped."""

    code = "postgres.program-timeout"


# ── catalog ─────────────────────────────────────────────────────────────────────────────────────────────────
class NoSuchTable(InputError):
    """There is no such table."""

    code = "catalog.unknown-table"


class TableUnreadable(ServerError):
    """The role may not read all of a table."""

    code = "catalog.unreadable"


class CatalogChanging(ServerError):
    """The schema is being changed while it is read."""

    code = "catalog.changing"


class BadSnapshot(InputError):
    """A stored snapshot cannot be read."""

    code = "catalog.bad-snapshot"


# ── migrate ─────────────────────────────────────────────────────────────────────────────────────────────────
class NoMigrations(InputError):
    """There are no migrations here."""

    code = "migrate.none"


class BadMigrationName(InputError):
    """A file of the migrations folder has a name that cannot be used."""

    code = "migrate.bad-name"


class DuplicateMigration(InputError):
    """Two migrations have the same number."""

    code = "migrate.duplicate"


class UnreadableMigration(InputError):
    """A migration is not a UTF-8 text."""

    code = "migrate.unreadable"


class BadDirective(InputError):
    """A directive at the top of a migration cannot be used."""

    code = "migrate.bad-directive"


class BadDependency(InputError):
    """The dependencies of the migrations do not resolve."""

    code = "migrate.bad-dependency"


class BadMigration(InputError):
    """A migration holds something that cannot be run; nothing was touched."""

    code = "migrate.bad-sql"


class UnknownMigration(InputError):
    """No migration has this id."""

    code = "migrate.unknown-id"


class UnknownStatement(InputError):
    """The migration has no statement of that number."""

    code = "migrate.unknown-statement"


class UnknownRule(InputError):
    """There is no such lint rule."""

    code = "migrate.unknown-rule"


class BadLintComment(InputError):
    """A comment for lint that says something else."""

    code = "migrate.bad-lint-comment"


class LintToolFailed(ServerError):
    """squawk is missing or has crashed: the migrations were not examined."""

    code = "migrate.squawk"


class NoGitRef(InputError):
    """git cannot tell what has changed."""

    code = "migrate.git"


class ScratchUnusable(ServerError):
    """The server named for trying migrations out cannot be used for it."""

    code = "migrate.scratch"


class ScratchProtected(RefusedError):
    """The server named for trying migrations out is a protected one."""

    code = "migrate.scratch-protected"


class BadSquash(InputError):
    """The migrations cannot become one; nothing was written."""

    code = "migrate.squash"


class NoDraftTool(InputError):
    """What writes drafts is not installed."""

    code = "migrate.no-draft-tool"


class CannotCompare(ServerError):
    """What the migrations build could not be made, so there is nothing to compare with."""

    code = "migrate.cannot-compare"


class SchemaDiffers(RefusedError):
    """Two databases that must be equal are not; nothing was changed."""

    code = "migrate.schema-differs"


class ImportUnclear(InputError):
    """It is not clear what is to be imported."""

    code = "migrate.import-source"


class NotImportable(InputError):
    """Another tool's migrations hold what cannot come along; nothing was written."""

    code = "migrate.import"


class ImportConflict(RefusedError):
    """Another tool's migrations, its history and ours tell different stories; nothing was written."""

    code = "migrate.import-history"


class SizesUnreadable(ServerError):
    """The sizes of the tables cannot be read."""

    code = "migrate.sizes"


class ImportUnwritten(RolledBackError):
    """The imported files could not be written."""

    code = "migrate.import-unwritten"


class NoSchemas(InputError):
    """No schema has such a name."""

    code = "migrate.no-schemas"


class SharedObject(InputError):
    """A migration that runs in many schemas reaches out of its own."""

    code = "migrate.shared-object"


class ReadOnlyDatabase(ServerError):
    """The database takes no writes."""

    code = "migrate.read-only"


class MissingPrivilege(ServerError):
    """The role lacks a privilege that migrating needs."""

    code = "migrate.privilege"


class ConnectionLost(ServerError):
    """The connection was lost while a migration ran."""

    code = "migrate.connection-lost"


class NoRollback(RefusedError):
    """A migration cannot be rolled back; nothing was changed."""

    code = "migrate.no-rollback"


class DataLoss(RefusedError):
    """A rollback would drop tables or columns that hold rows; nothing was changed."""

    code = "migrate.data-loss"


class HistoryConflict(RefusedError):
    """The folder and the database tell different stories; nothing was changed."""

    code = "migrate.history"


class PartlyDone(RefusedError):
    """A migration without a transaction stands part-way, and where to go on is not known."""

    code = "migrate.partly-done"


class LockAlive(RefusedError):
    """The lock cannot be shown to be left behind; nothing was changed."""

    code = "migrate.lock-alive"


class MigrationLocked(LockedError):
    """Another run is migrating this database."""

    code = "migrate.locked"


class MigrationFailed(RolledBackError):
    """A migration failed and was rolled back whole."""

    code = "migrate.failed"


class MigrationPartial(PartialError):
    """A migration without a transaction failed part-way."""

    code = "migrate.partial"


# ── seed ────────────────────────────────────────────────────────────────────────────────────────────────────
class NoSeeds(InputError):
    """There are no seeds for this environment."""

    code = "seed.none"


class BadSeedFile(InputError):
    """A seed file cannot be understood."""

    code = "seed.bad-file"


class UnknownTable(InputError):
    """A seed names a table that the database does not have."""

    code = "seed.unknown-table"


class UnknownColumn(InputError):
    """A seed names a column that the table does not have."""

    code = "seed.unknown-column"


class BadSeedValue(InputError):
    """A seed's value does not fit its column."""

    code = "seed.bad-value"


class MissingSeedValue(InputError):
    """A column that must have a value has none."""

    code = "seed.missing-value"


class DanglingReference(InputError):
    """A seed refers to a row that is not there."""

    code = "seed.dangling-reference"


class ReferenceCycle(InputError):
    """Tables or values refer to each other in a circle."""

    code = "seed.cycle"


class CannotFill(InputError):
    """Rows that meet a table's keys and CHECKs cannot be made; nothing was written."""

    code = "seed.cannot-fill"


class SeedTargetUnfit(ServerError):
    """The database cannot be written by this role."""

    code = "seed.unfit-target"


class SeedRejected(RolledBackError):
    """The database rejected a seeded row; nothing was written."""

    code = "seed.rejected"


# ── backup and restore ──────────────────────────────────────────────────────────────────────────────────────
class BackupNotFound(InputError):
    """There is no such backup."""

    code = "backup.not-found"


class BackupCorrupt(InputError):
    """A backup is damaged; nothing was touched."""

    code = "backup.corrupt"


class BackupTooNew(InputError):
    """A backup was written by a newer pliers-db; nothing was touched."""

    code = "backup.too-new"


class NoIdentity(InputError):
    """A backup is encrypted, and no key that was given opens it; nothing was touched."""

    code = "backup.no-identity"


class BackupRunning(LockedError):
    """Another backup run works in this folder."""

    code = "backup.locked"


class BackupRefused(RefusedError):
    """This database cannot be backed up as things stand; nothing was touched."""

    code = "backup.refused"


class BackupFailed(RolledBackError):
    """The backup failed; no partial backup is left."""

    code = "backup.failed"


class BackupDiskFull(BackupFailed):
    """The backup does not fit on the disk; no partial backup is left."""

    code = "backup.disk-full"


class BackupServerGone(ServerError):
    """The server went away during the backup; no partial backup is left."""

    code = "backup.server-gone"


class RemoteFailed(ServerError):
    """The object store does not answer, or refuses."""

    code = "backup.remote"


class BackupNotPushed(PartialError):
    """The backup is made, but the object store does not have it."""

    code = "backup.not-pushed"


class HookFailed(PartialError):
    """The backup is made, but a hook after it failed."""

    code = "backup.hook"


class NotScheduled(InputError):
    """What would run at night lacks something; nothing was installed."""

    code = "backup.not-scheduled"


class ScheduleFailed(RolledBackError):
    """Neither cron nor systemd was changed."""

    code = "backup.schedule"


class BadDatabaseName(InputError):
    """A database cannot have that name."""

    code = "restore.bad-name"


class RestoreRefused(RefusedError):
    """This backup cannot be restored here as things stand; nothing was touched."""

    code = "restore.refused"


class DatabaseInUse(RefusedError):
    """Others are connected to the database that would be replaced."""

    code = "restore.in-use"


class RestoreRunning(LockedError):
    """Another restore of this database is running."""

    code = "restore.locked"


class RestoreFailed(RolledBackError):
    """The restore failed; the database is as it was."""

    code = "restore.failed"


class RestoreInterrupted(RestoreFailed):
    """A program or the server ended, or lacked room, in the middle: that says nothing about the backup."""

    code = "restore.interrupted"


class RestoreMismatch(RestoreFailed):
    """What was restored is not what was backed up; the database is as it was."""

    code = "restore.mismatch"


class NothingToUndo(InputError):
    """There is no earlier database to go back to."""

    code = "restore.nothing-to-undo"


# ── health ──────────────────────────────────────────────────────────────────────────────────────────────────
class UnknownCheck(InputError):
    """No health check has that name."""

    code = "health.unknown-check"


class PortInUse(ServerError):
    """The port cannot be listened on."""

    code = "health.port-in-use"


class SessionLost(ServerError):
    """The connection was lost during the health run."""

    code = "health.session-lost"
