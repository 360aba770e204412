"""Deciding, before anything is written, whether and how a backup can be restored here. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pliers_db.backup import Manifest
from pliers_db.catalog import Snapshot, Table
from pliers_db.errors import BadDatabaseName, DatabaseInUse, RestoreRefused
from pliers_db.restore.marks import LONGEST_NAME, Existing, new_name
from pliers_db.restore.scope import Scope, find_tables
from pliers_db.units import format_count

_MEGABYTE = 1 << 20
# pgvector builds an HNSW index several times faster if its graph fits (research, backup §2.3).
_LEAST_MEMORY, _MOST_MEMORY = 256 * _MEGABYTE, 1024 * _MEGABYTE


@dataclass(frozen=True, slots=True)
class Session:
    """Others at a database."""

    application: str
    role: str
    address: str
    count: int

    def __str__(self) -> str:
        times = f"{self.count} x " if self.count > 1 else ""
        return f"{times}{self.application} ({self.role}, {self.address})"


@dataclass(frozen=True, slots=True)
class AvailableExtension:
    """An extension that the server could create."""

    version: str
    needs_superuser: bool


@dataclass(frozen=True, slots=True)
class Place:
    """What the server and the target database are like."""

    database: str
    server_version_num: int
    role: str
    superuser: bool
    may_create: bool
    roles: Mapping[str, bool]
    """The roles of the backup that exist here: whether we may act as them."""
    extensions: Mapping[str, AvailableExtension]
    existing: Existing | None
    """The target database, if there is one."""
    sessions: Sequence[Session]
    prepared: Sequence[str]
    """Transactions prepared in it."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller has said."""

    terminate: bool = False
    no_owner: bool = False
    jobs: int = 2
    """How many tables and indexes at a time."""
    compare_rows: bool = False
    """Hash every restored row and compare; otherwise rows are counted."""
    scope: Scope = field(default_factory=Scope)


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """How it will be done."""

    database: str
    working_name: str
    replaces: bool
    terminate: bool
    no_owner: bool
    arguments: tuple[str, ...]
    """For pg_restore, but for file and database."""
    settings: Mapping[str, str]
    """For its sessions."""
    server_major: int
    scope: Scope
    chosen: tuple[Table, ...]
    """The tables whose rows are restored, if not all are."""
    notes: tuple[str, ...]


def plan_restore(
    manifest: Manifest | None, place: Place, wishes: Wishes, *, catalog: Snapshot | None = None, plain: bool = False
) -> RestorePlan:
    """Decide how a backup is restored.

    :param manifest: None for a dump from elsewhere: then less can be known beforehand.
    :param catalog: the definitions in the backup; needed for single tables.
    :param plain: whether it is plain SQL.
    :raises NoSuchTable: a table was asked for that the backup does not have.
    :raises RestoreRefused: it would fail; says what is missing.
    :raises DatabaseInUse: others are connected, and we were not told to end their sessions.
    """
    if not place.may_create:
        raise RestoreRefused(
            f"{place.role} may not create databases",
            why="A restore goes into a new database, which is then swapped in.",
            fix=f'alter role "{place.role}" createdb',
        )
    chosen = _check_scope(place, wishes.scope, catalog, plain)
    _check_sessions(place, wishes)
    arguments = ["--no-password", f"--jobs={max(1, wishes.jobs)}", "--verbose"]
    notes: list[str] = []
    if wishes.no_owner:
        arguments.append("--no-owner")
        notes.append(f"Everything will belong to {place.role} (--no-owner)")
    if manifest is not None:
        check_version(manifest.source.server_major, place)
        notes += _check_extensions(manifest, place)
        notes += _check_roles(manifest, place, wishes, arguments)
    return RestorePlan(
        database=place.database,
        working_name=new_name(place.database),
        replaces=place.existing is not None,
        terminate=wishes.terminate,
        no_owner=wishes.no_owner,
        arguments=tuple(arguments),
        settings={
            "synchronous_commit": "off",  # the swap at the end waits for the disk, and so for all before it
            "maintenance_work_mem": f"{_memory(manifest) // _MEGABYTE}MB",
            "max_parallel_maintenance_workers": "2",
            "statement_timeout": "0",
            "lock_timeout": "0",
            "idle_in_transaction_session_timeout": "0",
        },
        server_major=place.server_version_num // 10000,
        scope=wishes.scope,
        chosen=tuple(chosen),
        notes=tuple(notes),
    )


def _check_scope(place: Place, scope: Scope, catalog: Snapshot | None, plain: bool) -> list[Table]:
    """:returns: the tables whose rows are restored, if not all are."""
    if scope.whole:
        return []
    if plain:
        raise RestoreRefused(
            "Only all of a plain dump can be restored", why="It is a script.", fix="Edit it, or restore all of it."
        )
    if scope.data_only:
        if place.existing is None:
            raise RestoreRefused(
                f"There is no {place.database} whose tables could take the rows",
                why="--data-only takes the definitions from the database as it is now.",
                fix="Restore all of it: leave --data-only out.",
            )
        return []
    if place.existing is not None:
        raise RestoreRefused(
            f"A part of a backup would take the place of all of {place.database}",
            why="A restore replaces the whole database.",
            fix="Restore the part beside it: --to NEW_NAME",
        )
    if not scope.only:
        return []
    if catalog is None:
        raise RestoreRefused(
            "Single tables can only be restored from a backup of pliers-db",
            why="A dump from elsewhere has no list of its tables and keys.",
            fix="pg_restore --table does it with less care.",
        )
    return find_tables(scope.only, catalog)


def check_name(name: str) -> None:
    """Refuse what would end up under another name, or stand in a template's place.

    :raises BadDatabaseName: it cannot be the name of a restored database.
    """
    if not name:
        raise BadDatabaseName("The name of the database is empty", fix="pliers-db restore latest --to NAME")
    if (length := len(name.encode())) > LONGEST_NAME:
        raise BadDatabaseName(
            f"The name {name} has {length} bytes",
            why=f"PostgreSQL cuts names off after {LONGEST_NAME} bytes.",
            fix="Choose a shorter name.",
        )
    if name in ("template0", "template1"):
        raise BadDatabaseName(
            f"{name} is the template of new databases",
            why="Every new database would begin with this backup.",
            fix="Choose another name.",
        )


def _memory(manifest: Manifest | None) -> int:
    largest = manifest.source.largest_index_bytes if manifest else 0
    return min(max(int(largest * 1.2), _LEAST_MEMORY), _MOST_MEMORY)


def _check_sessions(place: Place, wishes: Wishes) -> None:
    if place.prepared:
        raise DatabaseInUse(
            f"{place.database} holds {format_count(len(place.prepared), 'prepared transaction')}",
            why=f"{', '.join(place.prepared[:5])}: it cannot be renamed while they are open.",
            fix=f"commit prepared '{place.prepared[0]}', or rollback prepared.",
        )
    if place.sessions and not wishes.terminate:
        raise in_use(place.database, place.sessions)


def in_use(database: str, sessions: Sequence[Session]) -> DatabaseInUse:
    """Others are connected to the database that would be replaced."""
    count = sum(session.count for session in sessions)
    return DatabaseInUse(
        f"{format_count(count, 'session')} {'is' if count == 1 else 'are'} connected to {database}",
        why=f"{'; '.join(str(session) for session in sessions[:5])}.",
        fix="Close them, or have the restore end them: --terminate",
    )


def check_version(made_of: int | None, place: Place) -> None:
    """Refuse what was made of a newer server.

    :param made_of: that server's major version, if it is known.
    :raises RestoreRefused: with the way out.
    """
    here = place.server_version_num // 10000
    if made_of is not None and here < made_of:
        raise RestoreRefused(
            f"This backup is of PostgreSQL {made_of}, the server is {here}",
            why="A dump may use what only its own version and later ones know.",
            fix=f"Restore it into a server of PostgreSQL {made_of} or newer.",
        )


def _check_extensions(manifest: Manifest, place: Place) -> list[str]:
    wanted = manifest.source.extensions
    missing = [f"{e.name} {e.version}" for e in wanted if e.name not in place.extensions]
    if missing:
        raise RestoreRefused(
            f"The server has not the {'extension' if len(missing) == 1 else 'extensions'} {', '.join(missing)}",
            why="The backup uses it; the server's package for it is not installed.",
            fix="Install it on the server's machine, or restore into another server.",
        )
    if not place.superuser:
        forbidden = [e.name for e in wanted if place.extensions[e.name].needs_superuser]
        if forbidden:
            raise RestoreRefused(
                f"Only a superuser can create the extension {', '.join(forbidden)}",
                why=f"{place.role} is none.",
                fix="Restore as a superuser.",
            )
    return [
        f"Extension {e.name} will be {place.extensions[e.name].version}; in the backup it was {e.version}"
        for e in wanted
        if place.extensions[e.name].version != e.version
    ]


def _check_roles(manifest: Manifest, place: Place, wishes: Wishes, arguments: list[str]) -> list[str]:
    wanted = manifest.source.roles
    missing = [role for role in wanted if role not in place.roles]
    foreign = [role for role in wanted if role in place.roles and not place.roles[role] and not place.superuser]
    if (missing or foreign) and not wishes.no_owner:
        what = f"The server has no role {', '.join(missing)}" if missing else f"We may not act as {', '.join(foreign)}"
        raise RestoreRefused(
            what,
            why="Tables and grants of the backup name it.",
            fix=f'create role "{missing[0]}" (or take it from the backup\'s globals.sql), '
            f"or have everything belong to {place.role}: --no-owner"
            if missing
            else "Restore as a superuser, or with --no-owner.",
        )
    if missing:
        arguments.append("--no-privileges")
        return [f"Grants are left out: the server has no role {', '.join(missing)}"]
    return []
