"""The server's view of a pool: who is connected, and how many more may be."""

from __future__ import annotations

from dataclasses import dataclass

from pliers_db.db.connect import Connection
from pliers_db.db.queries import load_queries


@dataclass(frozen=True, slots=True)
class SessionGroup:
    """Sessions of one program in one state."""

    application: str
    state: str
    count: int


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of the connected database."""

    groups: tuple[SessionGroup, ...]
    slots: int
    """What the server takes from ordinary roles, in all databases."""
    taken: int


def read_sessions(conn: Connection) -> Sessions:
    """Ask the server who is connected."""
    queries = load_queries("pliers_db.db", "sessions.sql")
    groups = tuple(SessionGroup(*row) for row in conn.execute(queries["sessions"]).fetchall())
    row = conn.execute(queries["slots"]).fetchone()
    assert row is not None
    return Sessions(groups, slots=row[0], taken=row[1])
