"""pliers.uuid7(): ids that sort by time, the same on every version of PostgreSQL."""

from __future__ import annotations

from uuid import UUID

import pytest

from pliers_db.db import Connection

HOW_MANY = 10_000


def ids(conn: Connection, count: int = HOW_MANY) -> list[UUID]:
    """Ids in the order they were made."""
    rows = conn.execute("select pliers.uuid7() from generate_series(1, %s)", [count]).fetchall()
    return [value for (value,) in rows]


def now_ms(conn: Connection) -> int:
    row = conn.execute("select floor(extract(epoch from clock_timestamp()) * 1000)::bigint").fetchone()
    assert row is not None
    return int(row[0])


def test_it_has_the_shape_of_a_uuid_version_7(pliers_both: Connection) -> None:
    for value in ids(pliers_both, 200):
        assert value.version == 7
        assert value.variant == "specified in RFC 4122"


def test_it_carries_the_millisecond_it_was_made_in(pliers_both: Connection) -> None:
    before = now_ms(pliers_both)
    (value,) = ids(pliers_both, 1)
    assert before <= value.int >> 80 <= now_ms(pliers_both)


def test_ids_of_one_session_sort_in_the_order_they_were_made(pliers_both: Connection) -> None:
    made = ids(pliers_both)
    assert made == sorted(made)


def test_ids_are_unique_and_their_tails_are_random(pliers_both: Connection) -> None:
    made = ids(pliers_both)
    assert len(set(made)) == HOW_MANY
    # 62 random bits: each is set in about half of the ids.
    for bit in range(62):
        share = sum(value.int >> bit & 1 for value in made) / HOW_MANY
        assert 0.4 < share < 0.6, f"bit {bit}"


@pytest.mark.pg15
def test_postgres_18_uses_its_own_function(pliers_shared: Connection, pliers_shared15: Connection) -> None:
    source = "select pg_get_functiondef('pliers.uuid7()'::regprocedure)"
    built_in, own = (conn.execute(source).fetchone() for conn in (pliers_shared, pliers_shared15))
    assert built_in is not None
    assert own is not None
    assert "RETURN uuidv7()" in built_in[0]
    assert "gen_random_uuid" in own[0]


def test_a_row_without_an_id_gets_one(rolled_back: Connection) -> None:
    row = rolled_back.execute("insert into pliers.organizations (slug, name) values ('x', 'X') returning id").fetchone()
    assert row is not None
    assert row[0].version == 7
