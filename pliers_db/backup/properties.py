"""What belongs to a database but not into its dump: owner, connection limit, grants and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.rows import dict_row

from pliers_db.db import Connection, load_queries

PROPERTIES_FILE = "database.json"
_QUERIES = load_queries("pliers_db.backup", "sql/properties.sql")


@dataclass(frozen=True, slots=True)
class DatabaseGrant:
    """A privilege on the database itself."""

    role: str | None
    """None: public."""
    privilege: str
    grantable: bool


@dataclass(frozen=True, slots=True)
class DatabaseSetting:
    """``alter database … set``, or of a role in the database."""

    role: str | None
    """None: for every role."""
    setting: str
    """``work_mem=64MB``, the value as the catalog has it."""


@dataclass(frozen=True, slots=True)
class Properties:
    """What belongs to a database but not into its dump."""

    owner: str
    connection_limit: int
    has_grants: bool
    """False: as a new database has them."""
    grants: tuple[DatabaseGrant, ...]
    settings: tuple[DatabaseSetting, ...]

    def as_dict(self) -> dict[str, Any]:
        """For ``database.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Properties:
        """The inverse of `as_dict`."""
        return cls(
            owner=body["owner"],
            connection_limit=body["connection_limit"],
            has_grants=body["has_grants"],
            grants=tuple(DatabaseGrant(**each) for each in body["grants"]),
            settings=tuple(DatabaseSetting(**each) for each in body["settings"]),
        )


def read_properties(conn: Connection, database: str) -> Properties:
    """The properties of a database of the connected server."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_QUERIES["properties"], {"database": database}).fetchone()
    assert row is not None
    return Properties.from_dict(row)
