"""What a database consists of, as plain data in one canonical form.

Two databases that were made in different ways but are the same have equal snapshots: nothing here depends on object
ids, on the order of creation, or on who looks. Names of columns and objects are as they are stored; a ``path`` is
quoted as in SQL. ``grants`` tell how privileges differ from those that a new object of the kind has: ``app=SELECT`` was
granted, ``app=SELECT*`` with grant option, ``-PUBLIC=EXECUTE`` was revoked; ``(owner)`` stands for the object's owner.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

from pliers_db.catalog.serial import build, plain
from pliers_db.errors import BadSnapshot

FORMAT = 1
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")


def quoted(name: str) -> str:
    """A name as it must be written in SQL (keywords aside)."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _children(kind: str) -> Any:
    """A field that holds parts with names of their own, compared one by one; ``kind`` is what one is called."""
    return field(default=(), metadata={"children": kind})


# eq is needed, hash and order are not: the parts are looked up by name.
@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or view, or an attribute of a composite type."""

    name: str
    type: str
    not_null: bool = False
    default: str | None = None
    """The expression; of a generated column too."""
    identity: str = ""
    """``always`` or ``by default``."""
    generated: str = ""
    """``stored`` or ``virtual``."""
    collation: str | None = None
    """Where it is not that of the type."""
    storage: str | None = None
    """Where it is not that of the type."""
    compression: str | None = None
    statistics: int | None = None
    options: tuple[str, ...] = ()
    local: bool = True
    """Declared here, not only inherited."""
    grants: tuple[str, ...] = ()
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint of a table or of a domain."""

    name: str
    kind: str
    """``primary key``, ``unique``, ``foreign key``, ``check``, ``exclusion``, ``trigger``, or ``not null`` (18)."""
    definition: str
    columns: tuple[str, ...] = ()
    references: str | None = None
    """Path of the table that a foreign key points to."""
    referenced_columns: tuple[str, ...] = ()
    deferrable: bool = False
    deferred: bool = False
    valid: bool = True
    enabled: bool = True
    """False when the triggers that enforce a foreign key are disabled."""
    local: bool = True
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """An index, also one that belongs to a constraint."""

    name: str
    definition: str
    unique: bool = False
    primary: bool = False
    valid: bool = True
    clustered: bool = False
    replica_identity: bool = False
    parent: str | None = None
    """Path of the partitioned table's index it is attached to."""
    tablespace: str | None = None
    statistics: tuple[str, ...] = ()
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger, or a rewrite rule."""

    name: str
    definition: str
    enabled: str = "origin"
    """``origin`` (as usual), ``replica``, ``always`` or ``disabled``."""
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of row-level security."""

    name: str
    command: str
    permissive: bool
    roles: tuple[str, ...]
    using: str | None = None
    check: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table, partitioned table, foreign table, view or materialized view with all its parts."""

    schema: str
    name: str
    kind: str
    owner: str
    persistence: str = "permanent"
    access_method: str | None = None
    tablespace: str | None = None
    options: tuple[str, ...] = ()
    row_security: str = "off"
    """``off``, ``on`` or ``forced`` (on the owner too)."""
    replica_identity: str = "default"
    populated: bool = True
    definition: str | None = None
    """The query of a view; server and options of a foreign table."""
    partition_key: str | None = None
    partition_bound: str | None = None
    parents: tuple[str, ...] = ()
    of_type: str | None = None
    grants: tuple[str, ...] = ()
    comment: str | None = None
    columns: tuple[Column, ...] = _children("column")
    constraints: tuple[Constraint, ...] = _children("constraint")
    indexes: tuple[Index, ...] = _children("index")
    triggers: tuple[Trigger, ...] = _children("trigger")
    rules: tuple[Trigger, ...] = _children("rule")
    policies: tuple[Policy, ...] = _children("policy")

    @property
    def path(self) -> str:
        """``public.orders``"""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence, without its current value."""

    kind: ClassVar[str] = "sequence"
    schema: str
    name: str
    owner: str
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycle: bool
    owned_by: str | None = None
    persistence: str = "permanent"
    grants: tuple[str, ...] = ()
    comment: str | None = None

    @property
    def path(self) -> str:
        """``public.orders_id_seq``"""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True, slots=True)
class Type:
    """A type that somebody made: ``enum``, ``composite type``, ``domain``, ``range type`` or ``base type``."""

    schema: str
    name: str
    kind: str
    owner: str
    labels: tuple[str, ...] = ()
    """Of an enum, in their order."""
    base: str | None = None
    """The type under a domain, or the subtype of a range."""
    not_null: bool = False
    default: str | None = None
    collation: str | None = None
    definition: str | None = None
    grants: tuple[str, ...] = ()
    comment: str | None = None
    attributes: tuple[Column, ...] = _children("attribute")
    constraints: tuple[Constraint, ...] = _children("constraint")

    @property
    def path(self) -> str:
        """``public.mood``"""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True, slots=True)
class Routine:
    """A ``function``, ``procedure``, ``aggregate`` or ``window function``."""

    schema: str
    name: str
    arguments: str
    """The types of the arguments, which tell routines of one name apart."""
    kind: str
    owner: str
    definition: str
    grants: tuple[str, ...] = ()
    comment: str | None = None

    @property
    def path(self) -> str:
        """``public.area(integer, integer)``"""
        return f"{quoted(self.schema)}.{quoted(self.name)}({self.arguments})"


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema."""

    kind: ClassVar[str] = "schema"
    name: str
    owner: str
    grants: tuple[str, ...] = ()
    comment: str | None = None

    @property
    def path(self) -> str:
        """``public``"""
        return quoted(self.name)


@dataclass(frozen=True, slots=True)
class Extension:
    """An installed extension; what it brought with it is not listed."""

    kind: ClassVar[str] = "extension"
    name: str
    version: str
    schema: str
    comment: str | None = None

    @property
    def path(self) -> str:
        """``btree_gin``"""
        return quoted(self.name)


@dataclass(frozen=True, slots=True)
class Entry:
    """Anything rarer, told by its kind, its name and a text that says all about it.

    Event triggers, publications, statistics objects, collations, casts, operators and their classes and families, text
    search, languages, foreign data wrappers and servers, default privileges, settings of the database…
    """

    kind: str
    path: str
    definition: str
    owner: str | None = None
    grants: tuple[str, ...] = ()
    comment: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """Everything in a database but its rows. Equal when the databases are; the server's version does not count."""

    server_version_num: int = field(compare=False)
    schemas: tuple[Schema, ...] = ()
    extensions: tuple[Extension, ...] = ()
    types: tuple[Type, ...] = ()
    tables: tuple[Table, ...] = ()
    sequences: tuple[Sequence, ...] = ()
    routines: tuple[Routine, ...] = ()
    entries: tuple[Entry, ...] = ()

    def table(self, path: str) -> Table | None:
        """The table or view with this path (``public.orders``)."""
        return self._tables.get(path)

    @cached_property
    def _tables(self) -> dict[str, Table]:
        return {table.path: table for table in self.tables}

    @property
    def objects(self) -> tuple[Object, ...]:
        """All objects that have a path of their own."""
        return tuple(o for f in fields(self) if f.name != "server_version_num" for o in getattr(self, f.name))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical form: equal for equal databases."""
        body = plain(self)
        del body["server_version_num"]
        return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """As JSON, for a manifest."""
        return {"format": FORMAT, **plain(self)}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Snapshot:
        """The inverse of `as_dict`.

        :raises BadSnapshot: a later version of pliers-db wrote it, or it is damaged.
        """
        if body.get("format") != FORMAT:
            raise BadSnapshot(
                "This version of pliers-db does not know this kind of snapshot",
                why=f"Its format is {body.get('format')!r}; known is {FORMAT}.",
                fix="pip install --upgrade pliers-db",
            )
        try:
            found: Snapshot = build(cls, {name: value for name, value in body.items() if name != "format"})
        except (TypeError, KeyError, AttributeError) as error:
            raise BadSnapshot("The snapshot is damaged", why=f"{type(error).__name__}: {error}") from error
        return found


Object = Schema | Extension | Type | Table | Sequence | Routine | Entry
