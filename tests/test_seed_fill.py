"""`seed.fill` puts rows into every table of a database that it has never seen, and names what it can't fill."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.seed import Filled, fill
from tests.fix_schemas import SCHEMAS, random_schema
from tests.fix_seed import digest


def reset(conn: Connection) -> None:
    for (schema,) in conn.execute(
        "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
    ).fetchall():
        conn.execute(f'drop schema "{schema}" cascade')
    conn.execute("create schema public")


def reasons(filled: Filled) -> dict[str, str]:
    return {skipped.table: skipped.reason for skipped in filled.skipped}


@pytest.mark.parametrize("file", sorted(SCHEMAS.glob("*.sql")), ids=lambda file: file.stem)
def test_every_table_of_a_schema_gets_rows_without_a_word_from_anybody(conn: Connection, file: Path) -> None:
    conn.execute(file.read_bytes())
    filled = fill(conn, 5)
    assert reasons(filled) == (
        {"public.empty_parts": "it is partitioned and has no partition"} if file.stem == "partitions" else {}
    )
    for table in filled.tables:
        row = conn.execute(f"select count(*) from only {_quoted(table.table)}").fetchone()
        everything = conn.execute(f"select count(*) from {_quoted(table.table)}").fetchone()
        assert row is not None
        assert everything is not None
        assert (row[0] or everything[0]) >= 1, table
    first = digest(conn)
    assert fill(conn, 5).added == 0
    assert digest(conn) == first


@pytest.mark.pg15
def test_it_works_on_postgresql_15(target15: Target) -> None:
    with connect(target15) as conn:
        for name in ("tenants", "scheduling"):
            conn.execute((SCHEMAS / f"{name}.sql").read_bytes())
        assert reasons(fill(conn, 3)) == {}


def test_the_projects_own_schema_is_filled_and_the_record_of_migrations_is_left_alone(
    pliers_conn: Connection,
) -> None:
    pliers_conn.execute("create table _pliers_migration (id text primary key); create table yoyo_lock (locked int)")
    filled = fill(pliers_conn, 5)
    assert reasons(filled) == {}
    assert {table.table for table in filled.tables if not table.table.startswith("pliers.")} == set()


def test_the_same_schema_gets_the_same_rows(conn: Connection) -> None:
    found = []
    for _ in range(2):
        reset(conn)
        conn.execute((SCHEMAS / "tenants.sql").read_bytes())
        fill(conn, 5, seed=7)
        found.append(digest(conn))
    assert found[0] == found[1]
    reset(conn)
    conn.execute((SCHEMAS / "tenants.sql").read_bytes())
    fill(conn, 5, seed=8)
    assert not set(found[0].values()) & set(digest(conn).values())


def test_rows_that_are_there_are_kept_and_referred_to(conn: Connection) -> None:
    conn.execute(
        "create table kinds (id serial primary key, code text not null unique);"
        " insert into kinds (code) values ('a'), ('b');"
        " create table things (id serial primary key, kind int not null references kinds)"
    )
    filled = fill(conn, 4)
    assert [(t.table, t.present, t.added) for t in filled.tables] == [
        ("public.kinds", 2, 2),
        ("public.things", 0, 4),
    ]
    assert conn.execute("select array_agg(code order by id) from kinds where id <= 2").fetchone() == (["a", "b"],)
    conn.execute("insert into kinds (code) values ('next')")  # the sequence has gone on


def test_what_cannot_be_filled_is_named_with_table_column_and_reason(conn: Connection) -> None:
    conn.execute(
        """
        create table never (id int primary key, n int not null check (n > 5 and n < 3));
        create table below (id int primary key, never_id int not null references never);
        create table maybe (id int primary key, never_id int references never);
        create table odd (id int primary key, body text not null check (md5(body) = 'x'));
        create table small (flag boolean primary key);
        create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not today'; end $$;
        create table guarded (id int primary key);
        create trigger refuse before insert on guarded for each row execute function refuse();
        """
    )
    filled = fill(conn, 3)
    found = {s.table: (s.column, s.reason) for s in filled.skipped}
    assert found["public.never"] == ("n", "no value of type integer is known that its CHECKs allow")
    assert found["public.below"][1].startswith("below_never_id_fkey needs a row of public.never")
    assert found["public.odd"][1].startswith("no row met odd_body_check")
    assert found["public.guarded"][1] == "not today"
    added = {t.table: (t.added, t.notes) for t in filled.tables}
    assert added["public.maybe"] == (3, ())
    assert added["public.small"][0] == 2
    assert "small_pkey leaves no more values of flag" in added["public.small"][1][0]


def test_nothing_stays_if_the_caller_rolls_back(conn: Connection) -> None:
    conn.execute("create table t (id serial primary key, name text)")
    with conn.transaction(force_rollback=True):
        assert fill(conn, 3).added == 3
    assert conn.execute("select count(*) from t").fetchone() == (0,)


def test_single_tables_can_be_asked_for_or_left_alone(conn: Connection) -> None:
    conn.execute("create table a (id int primary key); create table b (id int primary key)")
    assert fill(conn, {"a": 2}).added == 2
    assert [t.table for t in fill(conn, 3, exclude=["public.a"]).tables if t.added] == ["public.b"]


def test_rows_come_after_those_that_they_refer_to_and_crowd_at_a_few_of_them(conn: Connection) -> None:
    conn.execute(
        "create table shops (id serial primary key, created_at timestamptz not null);"
        " create table orders (id serial primary key, shop_id int not null references shops,"
        " created_at timestamptz not null, paid_at timestamptz, updated_at timestamptz not null)"
    )
    fill(conn, {"shops": 40})
    fill(conn, {"orders": 800})
    row = conn.execute(
        "select count(*) filter (where o.created_at >= s.created_at),"
        " count(*) filter (where o.paid_at >= o.created_at), count(paid_at),"
        " count(*) filter (where o.updated_at >= o.created_at), max(o.updated_at) <= '2026-01-01Z'"
        " from orders o join shops s on s.id = shop_id"
    ).fetchone()
    assert row is not None
    assert (row[0], row[1], row[3], row[4]) == (800, row[2], 800, True)
    top = conn.execute(
        "select sum(n) from (select count(*) as n from orders group by shop_id order by 1 desc limit 4) as t"
    ).fetchone()
    assert top is not None
    assert 200 < top[0] < 500  # evenly spread: 80


def test_made_texts_are_nobodys(conn: Connection) -> None:
    conn.execute(
        "create table c (id serial primary key, email text not null, phone text not null, website text not null)"
    )
    fill(conn, 50)
    for email, phone, website in conn.execute("select email, phone, website from c").fetchall():
        assert email.endswith("@example.com")
        assert " 555 01" in phone
        assert website.startswith("https://www.example.com/")


@pytest.mark.parametrize("number", range(6))
def test_schemas_put_together_by_chance_are_filled(conn: Connection, number: int) -> None:
    _fills(conn, number)


@pytest.mark.slow
def test_many_schemas_put_together_by_chance_are_filled(conn: Connection) -> None:
    """Twenty, or as many as PLIERS_SCHEMAS says: 200 were tried before this was written down."""
    for number in range(6, 6 + int(os.environ.get("PLIERS_SCHEMAS", "20"))):
        reset(conn)
        _fills(conn, number)


def _fills(conn: Connection, number: int) -> None:
    text = random_schema(number)
    conn.execute(text)
    filled = fill(conn, 4)
    assert reasons(filled) == {}, f"schema {number}:\n{text}"
    assert [t.table for t in filled.tables if not t.added] == [], f"schema {number}:\n{text}"


def _quoted(name: str) -> str:
    schema, _, table = name.partition(".")
    return f'"{schema}"."{table}"'
