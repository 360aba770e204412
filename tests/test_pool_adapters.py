"""Types are looked up once and registered on every connection; a borrower's own registrations stay his own."""

from __future__ import annotations

from enum import StrEnum

import pytest
from pgvector import Vector

from pliers_db import Database
from pliers_db.aio import AsyncDatabase
from pliers_db.config import PoolSettings, Target
from pliers_db.db import connect, load_adapters
from pliers_db.errors import InputError
from tests.fix_aio import in_a_loop

LIMITS = PoolSettings(min_size=1, max_size=3)


class Mood(StrEnum):
    GLAD = "glad"
    SAD = "quite sad"


@pytest.fixture
def typed(target: Target) -> Target:
    """A database with an enum, a row type and pgvector."""
    with connect(target) as conn:
        conn.execute("create extension vector")
        conn.execute("create type mood as enum ('glad', 'quite sad')")
        conn.execute("create type point3 as (x int, y int, z int)")
    return target


ASK = "select '{glad,\"quite sad\"}'::mood[], row(1, 2, 3)::point3, '[1,2]'::vector"


def test_every_connection_of_the_pool_knows_the_types(typed: Target) -> None:
    with connect(typed) as conn:
        assert conn.execute("select '{glad}'::mood[]").fetchone() == ("{glad}",), "the trap: an array as text"
        adapters = load_adapters(conn, enums={"mood": Mood}, composites=["point3"])
    with Database(typed, LIMITS, adapters=adapters) as database:
        with database.connection() as one, database.connection() as two:
            for conn in (one, two):
                moods, point, vector = conn.execute(ASK).fetchone()  # type: ignore[misc]
                assert moods == [Mood.GLAD, Mood.SAD]
                assert (point.x, point.y, point.z) == (1, 2, 3)
                assert isinstance(vector, Vector)
                assert conn.execute("select %s::text", [Mood.SAD]).fetchone() == ("quite sad",)


def test_they_survive_what_a_borrower_does(typed: Target) -> None:
    from psycopg.types.string import TextLoader

    with connect(typed) as conn:
        adapters = load_adapters(conn, enums={"mood": Mood})
    with Database(typed, PoolSettings(min_size=1, max_size=1), adapters=adapters) as database:
        with database.connection(autocommit=True) as conn:
            conn.adapters.register_loader("int4", TextLoader)
            assert conn.execute("select 1").fetchone() == ("1",)
        with database.connection(autocommit=True) as conn:
            assert conn.execute("select 1, 'glad'::mood").fetchone() == (1, Mood.GLAD)


@in_a_loop
async def test_tasks_know_them_too(typed: Target) -> None:
    with connect(typed) as conn:
        adapters = load_adapters(conn, enums={"mood": Mood}, composites=["point3"])
    async with AsyncDatabase(typed, LIMITS, adapters=adapters) as database:
        async with database.connection() as borrowed:
            moods, _, vector = await (await borrowed.execute(ASK)).fetchone()  # type: ignore[misc]
    assert moods == [Mood.GLAD, Mood.SAD]
    assert isinstance(vector, Vector)


def test_what_the_database_does_not_have_is_named(target: Target) -> None:
    with connect(target) as conn:
        assert load_adapters(conn)
        with pytest.raises(InputError, match="no type mood"):
            load_adapters(conn, enums={"mood": Mood})
        with pytest.raises(InputError, match="no type vector"):
            load_adapters(conn, vector=True)
        conn.execute("create type mood as enum ('glad', 'angry')")
        with pytest.raises(InputError, match="no member for angry"):
            load_adapters(conn, enums={"mood": Mood})
