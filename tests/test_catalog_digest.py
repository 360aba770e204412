"""A digest changes with the contents of a table, and with nothing else."""

from __future__ import annotations

import subprocess

import psycopg
import pytest

from pliers_db.catalog import TableDigest, digest, digests
from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.errors import NoSuchTable, TableUnreadable
from pliers_db.postgres import Binaries, Server

# A value of every kind whose text depends on settings or versions.
TYPES = """
    create type mood as enum ('glad', 'sad');
    create type pair as (a integer, b text);
    create domain positive as integer check (value > 0);
    create table kinds (
        a bigint, b numeric, c real, d double precision, e text, f bytea, g timestamptz, h timestamp,
        i date, j time, k interval, l boolean, m uuid, n jsonb, o json, p integer[], q text[], r inet, s int4range,
        t point, u tsvector, v bit(3), w varbit, x char(5), y mood, z pair, aa positive, bb money, cc xid, dd oid,
        ee "char", ff timetz, gg tstzmultirange, hh macaddr, ii path, jj name
    );
    insert into kinds values (
        -1, 1.10, 0.1, 1e-300, E'a\\n''"\\\\ü', '\\x00ff', '2026-11-22 12:00:00.000001+01',
        'infinity', '0044-03-15 BC', '23:59:59.9',
        '1 year -2 days 03:04:05.6', true, '01a204a8-0d43-7a1a-81e9-74554dbf9e15', '{"b": 1.0}',
        '{"b":1,  "b":2}', '{1,null}', '{a,"b c",""}', '::1/128', '[1,5)', '(0.1,2)',
        to_tsvector('simple', 'a fat cat'), '101', '1', 'ab', 'sad', '(1,"x y")', 3, '$1234.50', '7', '8', 'x',
        '12:00+02', '{[2026-01-01 00:00+01,2026-02-01 00:00+00)}', '08:00:2b:01:02:03', '[(0,0),(1.5,1)]', 'n'
    );
    insert into kinds default values;
"""


@pytest.fixture
def items(conn: Connection) -> Connection:
    conn.execute("create table items (id integer, name text)")
    conn.execute("insert into items values (1, 'a'), (2, 'b'), (2, 'b'), (3, ''), (4, null)")
    return conn


def test_equal_contents_have_equal_digests_in_any_order(items: Connection) -> None:
    items.execute("create table copy as select * from items order by name desc nulls first")
    items.execute("update copy set id = id where id = 2")  # moves rows about
    assert digest(items, "public.copy") == digest(items, "public.items")
    assert digest(items, "public.items").rows == 5


@pytest.mark.parametrize(
    "change",
    [
        "update items set name = 'A' where id = 1",
        "update items set name = 'a ' where id = 1",
        "update items set name = null where id = 3",
        "update items set name = '' where id = 4",
        "update items set id = null where id = 1",
        "update items set id = 2, name = 'b' where id = 1",  # one row too many of these…
        # …or of those
        "update items set id = 1, name = 'a' where ctid = (select ctid from items where id = 2 limit 1)",
        "update items set name = 'z' where id = 2",  # two equal rows become two other equal rows
        "update items set id = 3 - id where id in (1, 2) and ctid <> '(0,3)'",  # two rows swap one value
        "delete from items where id = 4",
        "insert into items values (null, null)",
        "delete from items where ctid = (select ctid from items where id = 2 limit 1)",
        "truncate items",
    ],
)
def test_every_change_is_noticed(change: str, items: Connection) -> None:
    before = digest(items, "public.items")
    items.execute(change.encode())
    assert digest(items, "public.items") != before


def test_one_changed_byte_in_many_rows_is_noticed(conn: Connection) -> None:
    conn.execute("create table big as select n, repeat(md5(n::text), 10) as t from generate_series(1, 5000) as n")
    before = digest(conn, "public.big")
    conn.execute("update big set t = overlay(t placing 'x' from 200 for 1) where n = 2500")
    after = digest(conn, "public.big")
    assert after.rows == before.rows == 5000
    assert after.hash != before.hash


def test_an_empty_table_has_a_digest(conn: Connection) -> None:
    conn.execute("create table empty (a integer); create table columnless ()")
    assert digests(conn) == {
        "public.columnless": TableDigest(0, "0"),
        "public.empty": TableDigest(0, "0"),
    }


def test_the_settings_of_the_session_change_nothing(conn: Connection) -> None:
    conn.execute(TYPES)
    before = digest(conn, "public.kinds")
    assert before.rows == 2
    for setting in (
        "datestyle to 'German'",
        "intervalstyle to 'iso_8601'",
        "timezone to 'Asia/Kathmandu'",
        "extra_float_digits to -3",
        "bytea_output to 'escape'",
        "lc_monetary to 'C.UTF-8'",
        "quote_all_identifiers to on",
        "search_path to pg_catalog",
    ):
        conn.execute(f"set {setting}".encode())
        assert digest(conn, "public.kinds") == before, setting


def test_the_session_is_afterwards_as_before(items: Connection) -> None:
    items.execute("set timezone to 'Asia/Kathmandu'; set search_path to public, pg_catalog; set row_security to on")
    everything = "select name, setting from pg_settings where name not like 'transaction%' order by 1"
    before = items.execute(everything).fetchall()
    digests(items)
    assert items.execute(everything).fetchall() == before
    assert items.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    with items.transaction():
        items.execute("set local timezone to 'Europe/Zurich'; insert into items values (9, 'kept')")
        assert digest(items, "public.items").rows == 6
        assert items.execute("show timezone").fetchone() == ("Europe/Zurich",)
    assert digest(items, "public.items").rows == 6


@pytest.mark.pg15
def test_the_same_data_has_the_same_digest_on_15_and_18(
    server: Server, target: Target, server15: Server, target15: Target
) -> None:
    with connect(target15) as old:
        old.execute(TYPES)
        old.execute("create table floats as select n::real / 7 as a, sin(n) as b from generate_series(1, 100) as n")
        then = digests(old)
    copy(server.binaries, target15, target)
    with connect(target) as new:
        assert digests(new) == then
        assert len(then) == 2


def copy(binaries: Binaries, source: Target, destination: Target) -> None:
    """Dump one database into another."""
    dump = subprocess.run(
        [binaries.program("pg_dump"), "-h", source.host, "-p", source.port, "-U", source.user, source.dbname],
        capture_output=True,
        check=True,
    ).stdout
    # psql meta-commands (\restrict) and all.
    subprocess.run(
        [
            binaries.program("psql"),
            *("-X", "-q", "-v", "ON_ERROR_STOP=1"),
            *("-h", destination.host, "-p", destination.port, "-U", destination.user, destination.dbname),
        ],
        input=dump,
        capture_output=True,
        check=True,
    )


def test_it_counts_in_the_snapshot_of_the_caller(items: Connection, target: Target) -> None:
    before = digest(items, "public.items")
    with connect(target) as other, items.transaction():
        items.execute("set transaction isolation level repeatable read")
        row = items.execute("select pg_export_snapshot()").fetchone()
        assert row is not None
        with connect(target) as writer:
            writer.execute("insert into items values (9, 'later')")
        with other.transaction():
            other.execute("set transaction isolation level repeatable read")
            other.execute(f"set transaction snapshot '{row[0]}'".encode())
            assert digests(other)["public.items"] == before
        assert digest(items, "public.items") == before
    assert digest(items, "public.items").rows == before.rows + 1


def test_all_tables_means_those_with_rows_of_their_own(conn: Connection) -> None:
    conn.execute("create extension vector")
    conn.execute("""
        create schema "Odd ""1"" x";
        create table "Odd ""1"" x"."T" (t text, "from" text);
        create table parent (a int);
        create table child () inherits (parent);
        create table parts (a int) partition by range (a);
        create table parts_1 partition of parts for values from (0) to (10);
        create table parts_2 partition of parts for values from (10) to (20);
        create view seen as select * from parent;
        create temporary table mine (a int);
        insert into "Odd ""1"" x"."T" values ('x', null);
        insert into parent values (1), (2);
        insert into child values (3);
        insert into parts values (1), (11), (12);
    """)
    found = digests(conn)
    assert {name: table.rows for name, table in found.items()} == {
        '"Odd ""1"" x"."T"': 1,
        "public.child": 1,
        "public.parent": 2,
        "public.parts": 3,
    }
    names = list(reversed(found))
    assert list(digests(conn, names).items()) == [(name, found[name]) for name in names]
    assert digest(conn, "public.parts_2").rows == 2


def test_a_column_may_be_called_as_our_alias(conn: Connection) -> None:
    conn.execute("create table one (t text, n int); create table two (t text, n int)")
    conn.execute("insert into one values ('x', 1); insert into two values ('x', 2)")
    assert digest(conn, "public.one") != digest(conn, "public.two")


def test_partitions_split_otherwise_hold_the_same(conn: Connection) -> None:
    conn.execute("""
        create table p (a int, b text) partition by range (a);
        create table p1 (b text, gone int, a int);
        alter table p1 drop gone;
        alter table p attach partition p1 for values from (0) to (10);
        create table q (a int, b text);
        insert into p select n, 'x' || n from generate_series(0, 9) as n;
        insert into q select * from p;
    """)
    assert digest(conn, "public.p") == digest(conn, "public.q")


def test_an_unknown_table_is_named(items: Connection) -> None:
    with pytest.raises(NoSuchTable, match=r"There is no table public\.itmes") as caught:
        digests(items, ["public.items", "public.itmes"])
    assert caught.value.code == "catalog.unknown-table"
    with pytest.raises(NoSuchTable) as caught:
        digest(items, "items")
    assert caught.value.fix == "Write it with its schema, as in public.items."
    assert items.execute("select 1").fetchone() == (1,)


def test_a_table_that_may_not_be_read_is_an_error_not_an_empty_digest(items: Connection, target: Target) -> None:
    reader = f"reader_{target.dbname}"
    items.execute(f"create role {reader}; create table secret (a int); grant select on items to {reader}".encode())
    try:
        items.execute(f"set role {reader}".encode())
        assert digest(items, "public.items").rows == 5
        with pytest.raises(TableUnreadable, match=r"Cannot read all of public\.secret") as caught:
            digests(items)
        assert caught.value.why == "The role has no SELECT on the table."
        items.execute("reset role; alter table items enable row level security")
        items.execute(f"set role {reader}".encode())
        with pytest.raises(TableUnreadable, match=r"Cannot read all of public\.items") as caught:
            digest(items, "public.items")
        assert caught.value.why == "Row-level security would hide rows from the role."
        assert "BYPASSRLS" in caught.value.fix
    finally:
        items.execute(f"reset role; drop owned by {reader}; drop role {reader}".encode())


def test_a_digest_goes_through_a_manifest() -> None:
    found = TableDigest(3, "-170141183460469231731687303715884105728")
    assert TableDigest.from_dict(found.as_dict()) == found
