"""How PostgreSQL's types become Python's: asked of the database once, shared by every connection of a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from psycopg import postgres
from psycopg.adapt import AdaptersMap
from psycopg.types import TypeInfo
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum

from pliers_db.db.connect import Connection
from pliers_db.errors import InputError


def load_adapters(
    conn: Connection,
    *,
    vector: bool | None = None,
    enums: Mapping[str, type[Enum]] | None = None,
    composites: Sequence[str] = (),
) -> AdaptersMap:
    """Look the types up, once, for ``Database(…, adapters=)``; a new connection then costs no query.

    Without it an array of an enum comes back as the text ``{new,done}``, and a vector as text that is parsed four times
    as slowly (research: health §4).

    :param conn: any connection to that database: the numbers of its types are its own.
    :param vector: pgvector's types; default: if the extension is there.
    :param enums: the Python class for each enum type, by name; the members' values are the labels.
    :param composites: names of row types that come back as named tuples.
    :raises InputError: the database has no such type.
    """
    adapters = AdaptersMap(postgres.adapters)
    has_vector = TypeInfo.fetch(conn, "vector") is not None
    if vector or (vector is None and has_vector):
        if not has_vector:
            raise _missing("vector", "create extension vector")
        _register_vector(conn, adapters)
    for name, kind in (enums or {}).items():
        enum = EnumInfo.fetch(conn, name)
        if enum is None:
            raise _missing(name)
        labels = [label for label in enum.labels if label not in {member.value for member in kind}]
        if labels:
            raise InputError(
                f"{kind.__name__} has no member for {', '.join(labels)}",
                why=f"The type {name} of the database has these labels.",
                fix=f"Add them to {kind.__name__}.",
            )
        register_enum(enum, adapters, kind, mapping=[(member, member.value) for member in kind])
    for name in composites:
        composite = CompositeInfo.fetch(conn, name)
        if composite is None:
            raise _missing(name)
        register_composite(composite, adapters)
    return adapters


def _register_vector(conn: Connection, adapters: AdaptersMap) -> None:
    from pgvector.psycopg import register_vector

    before = conn._adapters
    conn._adapters = adapters  # it registers on the connection that it asks
    try:
        register_vector(conn)
    finally:
        conn._adapters = before


def _missing(name: str, fix: str = "") -> InputError:
    found: dict[str, Any] = {"type": name}
    return InputError(f"The database has no type {name}", fix=fix or "Correct the name, or migrate first.", **found)
