"""What `up` would do to a database, and what that would hold up: files and facts in, preview out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pliers_db.errors import RefusedError
from pliers_db.migrate.files import MigrationFile
from pliers_db.migrate.lint import Finding
from pliers_db.migrate.lint.source import Source
from pliers_db.migrate.sqltree import joined, name_of
from pliers_db.migrate.tablelocks import Lock, table_locks
from pliers_db.units import format_count, format_size


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or index of the target."""

    name: str
    """With its schema."""
    kind: str
    """pg_class.relkind."""
    bytes: int
    """By relpages, with its partitions and TOAST, without indexes; as of the last VACUUM or ANALYZE."""
    rows: int | None
    """The planner's estimate; None: never analyzed."""
    table: str | None = None
    """For an index: its table."""
    leaves: int = 1
    """How many tables hold its rows: the partitions of a partitioned one."""

    @property
    def size(self) -> str:
        """For people: ``12 MB, about 10,000 rows``."""
        if self.rows is None:
            return "never analyzed: size unknown"
        parts = f", {format_count(self.leaves, 'partition')}" if self.kind == "p" else ""
        return f"{format_size(self.bytes)}, about {format_count(self.rows, 'row')}{parts}"


@dataclass(frozen=True, slots=True)
class Session:
    """A session of the target that `up` would meet."""

    pid: int
    name: str
    since: datetime | None
    """None: hidden from this role."""

    def sentence(self, now: datetime) -> str:
        """``pg_dump (pid 4711) is running since 03:00``."""
        if self.since is None:
            return f"{self.name} (pid {self.pid}) is running (since when is hidden: grant pg_read_all_stats)"
        local = self.since.astimezone(now.tzinfo)
        day = "%H:%M" if now - self.since < timedelta(hours=20) else "%Y-%m-%d %H:%M"
        return f"{self.name} (pid {self.pid}) is running since {local:{day}}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the target says."""

    relations: Mapping[str, Relation]
    """By the name that a statement uses."""
    settings: tuple[str, ...]
    """The statements with which each transaction of `up` begins."""
    dumps: tuple[Session, ...] = ()
    holders: tuple[str, ...] = ()
    """Who holds the lock that `up` waits for: a backup, another run."""
    standby: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """A lock on something that is there."""

    relation: Relation
    mode: Lock

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "relation": self.relation.name,
            "table": self.relation.table or self.relation.name,
            "mode": str(self.mode),
            "stops": self.mode.stops,
            "bytes": None if self.relation.rows is None else self.relation.bytes,
            "rows": self.relation.rows,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One statement."""

    sql: str
    line: int
    locks: tuple[Held, ...] = ()
    destroys: tuple[str, ...] = ()
    """What it drops or empties."""
    done: bool = False
    """Whether an earlier run has done it, which stopped part-way."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One migration that `up` would apply."""

    id: str
    path: Path
    transactional: bool
    settings: tuple[str, ...]
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """Everything that `up` would do."""

    migrations: tuple[Planned, ...]
    dumps: tuple[Session, ...]
    holders: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What could not be seen."""
    refusal: RefusedError | None = None
    """Why `up` would not do it."""
    hooks: tuple[str, ...] = field(default=())
    """The ``post-apply`` files that would run afterwards."""

    @property
    def tables(self) -> dict[str, tuple[Relation, Lock]]:
        """The strongest lock on each relation, of all migrations."""
        strongest: dict[str, tuple[Relation, Lock]] = {}
        for migration in self.migrations:
            for held in (lock for step in migration.steps for lock in step.locks):
                known = strongest.get(held.relation.name)
                if known is None or held.mode > known[1]:
                    strongest[held.relation.name] = held.relation, held.mode
        return strongest


def sources_of(planned: Sequence[MigrationFile]) -> tuple[Source, ...]:
    """The files with their statements."""
    return tuple(Source(m.path, m.text, m.transactional, m.id) for m in planned)


def wanted_relations(sources: Iterable[Source]) -> tuple[str, ...]:
    """The names that the statements lock, each once: what the target is to be asked about."""
    names = (lock.relation for source in sources for s in source.statements for lock in table_locks(s.tree))
    return tuple(dict.fromkeys(names))


def preview(
    sources: Sequence[Source],
    facts: Facts,
    *,
    findings: Iterable[Finding] = (),
    done: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
    refusal: RefusedError | None = None,
    hooks: Sequence[str] = (),
) -> Preview:
    """Lay the pending files beside what the target says.

    :param sources: in the order in which `up` runs them.
    :param findings: of lint.
    :param done: how many statements of a migration have run already, by id.
    :param notes: what could not be seen.
    """
    by_migration: dict[str | None, list[Finding]] = {}
    for finding in findings:
        by_migration.setdefault(finding.migration, []).append(finding)
    made: set[str] = set()
    migrations = []
    for source in sources:
        finished = (done or {}).get(source.migration or "", 0)
        steps = tuple(_step(source, number, finished, facts, made) for number in range(len(source.statements)))
        migrations.append(
            Planned(
                source.migration or source.path.stem,
                source.path,
                source.transactional,
                settings_of(facts.settings, transactional=source.transactional),
                steps,
                tuple(by_migration.get(source.migration, ())),
            )
        )
    return Preview(tuple(migrations), facts.dumps, facts.holders, tuple(notes), refusal, tuple(hooks))


def settings_of(settings: Sequence[str], *, transactional: bool) -> tuple[str, ...]:
    """What a migration begins with: in its transaction, or for its session and without timeouts, which would leave an
    INVALID index behind CONCURRENTLY.
    """
    if transactional:
        return tuple(settings)
    kept = tuple(s.replace("set local", "set") for s in settings if "timeout" not in s)
    return (*kept, "set lock_timeout = 0", "set statement_timeout = 0")


def _step(source: Source, number: int, finished: int, facts: Facts, made: set[str]) -> Step:
    statement = source.statements[number]
    made.update(_created(statement.tree))
    locks = tuple(
        Held(relation, lock.mode)
        for lock in table_locks(statement.tree)
        if lock.relation not in made and (relation := facts.relations.get(lock.relation)) is not None
    )
    return Step(
        statement.sql.strip(),
        source.at(statement.start).line,
        locks,
        tuple(destroyed_by(statement.tree)),
        done=number < finished,
    )


def _created(tree: Any) -> Iterator[str]:
    from pglast import ast

    if isinstance(tree, ast.CreateStmt) and tree.relation is not None and not tree.if_not_exists:
        yield name_of(tree.relation)


def destroyed_by(tree: Any) -> Iterator[str]:
    """What a statement drops or empties, in words."""
    from pglast import ast, enums

    kinds = enums.ObjectType
    words = {
        kinds.OBJECT_TABLE: "table",
        kinds.OBJECT_SCHEMA: "schema",
        kinds.OBJECT_MATVIEW: "materialized view",
        kinds.OBJECT_SEQUENCE: "sequence",
        kinds.OBJECT_TYPE: "type",
        kinds.OBJECT_DOMAIN: "domain",
        kinds.OBJECT_EXTENSION: "extension",
    }
    match tree:
        case ast.DropStmt(removeType=kind, objects=objects) if kind in words:
            cascade = " and what depends on it" if tree.behavior == enums.DropBehavior.DROP_CASCADE else ""
            for each in objects or ():
                yield f"drops {words[kind]} {_object(each)}{cascade}"
        case ast.AlterTableStmt(relation=relation, cmds=commands):
            for command in commands or ():
                if command.subtype == enums.AlterTableType.AT_DropColumn:
                    yield f"drops column {name_of(relation)}.{command.name}"
        case ast.TruncateStmt(relations=relations):
            yield from (f"empties table {name_of(r)}" for r in relations or ())
        case ast.DeleteStmt(relation=relation, whereClause=None):
            yield f"deletes all rows of {name_of(relation)}"
        case ast.DropdbStmt(dbname=name):
            yield f"drops database {name}"


def _object(node: Any) -> str:
    if isinstance(node, tuple):
        return joined(node)
    names = getattr(node, "names", None)
    return joined(names) if names else str(node.sval)


def now() -> datetime:
    """The local time, with its zone: what people compare "since 03:00" with."""
    return datetime.now(UTC).astimezone()
