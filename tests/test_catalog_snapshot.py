"""A snapshot holds everything a database consists of, in a form that depends on nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from pliers_db.catalog import Snapshot, diff, digests, snapshot
from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.errors import BadSnapshot, CatalogChanging
from pliers_db.postgres import Server
from tests.fix_catalog import copy_database, make_roles


def of(target: Target) -> Snapshot:
    with connect(target) as conn:
        return snapshot(conn)


# ── stable ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_restored_dump_has_the_same_snapshot(every_kind: Target, target: Target, server: Server) -> None:
    before = of(every_kind)
    copy_database(server.binaries, every_kind, target)
    after = of(target)
    assert list(map(str, diff(before, after))) == []
    assert after == before
    assert after.fingerprint == before.fingerprint


@pytest.mark.pg15
def test_a_restored_dump_has_the_same_snapshot_on_15(every_kind15: Target, target15: Target, server15: Server) -> None:
    copy_database(server15.binaries, every_kind15, target15)
    assert of(target15) == of(every_kind15)


@pytest.mark.pg15
def test_what_moved_from_15_to_18_is_the_same(
    every_kind15: Target, every_kind: Target, target: Target, server: Server
) -> None:
    before = of(every_kind15)
    make_roles(server)
    copy_database(server.binaries, every_kind15, target)
    assert list(map(str, diff(before, of(target)))) == []
    assert list(map(str, diff(before, of(every_kind)))) == []


def test_the_order_of_creation_does_not_count(conn: Connection) -> None:
    statements = [
        "create table a (x integer primary key, y text)",
        "create function f() returns integer language sql as 'select 1'",
        "create type mood as enum ('glad', 'sad')",
        "create index a_y on a (y); create index a_x on a (x) where y is null",
        "create role catalog_one; grant select on a to catalog_one; grant insert on a to public",
    ]
    found = []
    for order in ([0, 1, 2, 3, 4], [2, 1, 0, 4, 3]):
        with conn.transaction(force_rollback=True):
            for place in order:
                conn.execute(statements[place].encode())
            found.append(snapshot(conn))
    assert found[0] == found[1]
    assert found[0].fingerprint == found[1].fingerprint


def test_granting_and_revoking_leaves_no_trace(conn: Connection) -> None:
    conn.execute("create table t (a int); create function f() returns int return 1; create type e as enum ()")
    before = snapshot(conn)
    conn.execute("grant insert, select (a) on t to pg_monitor; revoke all on t from pg_monitor")
    conn.execute("revoke select on t from current_user; grant select on t to current_user")
    conn.execute("revoke execute on function f() from public; grant execute on function f() to public")
    conn.execute("revoke usage on type e from public; grant usage on type e to public")
    assert snapshot(conn) == before


def test_a_role_without_privileges_sees_the_same(every_kind: Target) -> None:
    role = "catalog_nobody"
    with connect(every_kind) as conn:
        before = snapshot(conn)
        conn.execute(f"create role {role}".encode())
        try:
            conn.execute(f"set role {role}".encode())
            assert snapshot(conn) == before
        finally:
            conn.execute(f"reset role; drop role {role}".encode())


def test_the_settings_of_the_session_do_not_count(every_kind: Target) -> None:
    with connect(every_kind) as conn:
        before = snapshot(conn)
        conn.execute(
            "set search_path to shop, public; set datestyle to 'German'; set quote_all_identifiers to on;"
            " set timezone to 'Asia/Kathmandu'; set intervalstyle to 'iso_8601'; set extra_float_digits to -1"
        )
        everything = "select name, setting from pg_settings where name not like 'transaction%' order by 1"
        settings = conn.execute(everything).fetchall()
        assert snapshot(conn) == before
        assert conn.execute(everything).fetchall() == settings
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_it_sees_what_the_transaction_of_the_caller_sees(conn: Connection, target: Target) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute("create table mine ()")
        assert snapshot(conn).table("public.mine") is not None
        assert of(target).table("public.mine") is None
    assert snapshot(conn).table("public.mine") is None


# ── whole ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_empty_database_has_its_public_schema_and_plpgsql(conn: Connection) -> None:
    found = snapshot(conn)
    assert [o.path for o in found.objects] == ["public", "plpgsql"]


def test_a_table_comes_with_its_parts(full: Connection) -> None:
    table = snapshot(full).table("shop.customers")
    assert table is not None
    assert (table.kind, table.owner, table.comment) == ("table", "catalog_owner", "Who buys")
    assert table.options == ("fillfactor=80", "toast.autovacuum_enabled=false")
    assert table.grants == ("catalog_app=INSERT", "catalog_app=SELECT")
    assert [c.name for c in table.columns] == ["id", "email", "kind", "mood", "name", "upper_name"]
    by_name = {c.name: c for c in table.columns}
    assert by_name["id"].identity == "always"
    assert by_name["kind"].type == "character varying(10)"
    assert by_name["kind"].default == "'new'::character varying"
    assert by_name["email"].compression == "pglz"
    assert by_name["name"].grants == ("catalog_app=UPDATE",)
    assert (by_name["name"].storage, by_name["name"].statistics) == ("external", 200)
    assert (by_name["upper_name"].generated, by_name["upper_name"].default) == ("stored", "upper(name)")
    indexes = {i.name: i for i in table.indexes}
    assert indexes["customers_pkey"].primary
    assert indexes["customers_pkey"].replica_identity
    assert indexes["customers_kind_idx"].statistics == ("column 2: 300",)
    unique = next(c for c in table.constraints if c.name == "customers_email_key")
    assert (unique.deferrable, unique.deferred, unique.columns) == (True, True, ("email",))
    assert [(t.name, t.enabled) for t in table.triggers] == [("customers_touch", "disabled")]
    assert {p.name: p.roles for p in table.policies} == {"own": ("catalog_app",), "none": ("PUBLIC",)}


def test_a_foreign_key_says_where_it_points(full: Connection) -> None:
    table = snapshot(full).table("shop.lines")
    assert table is not None
    (key,) = [c for c in table.constraints if c.kind == "foreign key"]
    assert key.references == "shop.orders"
    assert (key.columns, key.referenced_columns) == (("order_id", "placed"), ("id", "placed"))


def test_partitions_say_what_they_are_part_of(full: Connection) -> None:
    found = snapshot(full)
    parent, part, rest = (found.table(f"shop.{name}") for name in ("orders", "orders_2026", "orders_rest"))
    assert parent is not None
    assert part is not None
    assert rest is not None
    assert (parent.kind, parent.partition_key) == ("partitioned table", "RANGE (placed)")
    assert part.parents == ("shop.orders",)
    assert part.partition_bound == "FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
    assert rest.partition_bound == "DEFAULT"
    assert {i.parent for i in part.indexes} == {"shop.orders_pkey", "shop.orders_customer_idx"}


def test_types_come_with_their_parts(full: Connection) -> None:
    types = {t.path: t for t in snapshot(full).types}
    assert types["shop.mood"].labels == ("glad", "so so", "sad")
    assert types["shop.mood"].grants == ("catalog_app=USAGE",)
    assert types["shop.pair"].grants == ("-PUBLIC=USAGE",)
    assert [(a.name, a.type, a.collation) for a in types["shop.pair"].attributes] == [
        ("a", "integer", None),
        ("b", "character varying(10)", '"C"'),
    ]
    assert [(c.name, c.definition) for c in types["shop.positive"].constraints] == [
        ("above_zero", "CHECK ((VALUE > 0))")
    ]
    assert types["shop.span"].base == "double precision"
    assert set(types) == {"shop.mood", "shop.pair", "shop.positive", "shop.span"}


def test_what_an_extension_brings_is_not_listed(conn: Connection) -> None:
    before = snapshot(conn)
    conn.execute("create extension vector; create extension btree_gin; create extension pg_stat_statements")
    after = snapshot(conn)
    assert {o.path for o in after.objects} - {o.path for o in before.objects} == {
        "btree_gin",
        "pg_stat_statements",
        "vector",
    }


def test_temporary_objects_are_not_listed(conn: Connection) -> None:
    before = snapshot(conn)
    conn.execute("create temporary table t (a serial primary key); create function pg_temp.f() returns int return 1")
    assert snapshot(conn) == before


def test_no_secret_is_read(full: Connection) -> None:
    found = json.dumps(snapshot(full).as_dict())
    assert "hush-hush" not in found
    assert "far for catalog_app" in found


def test_bookkeeping_can_be_left_out(conn: Connection) -> None:
    before = snapshot(conn)
    conn.execute("""
        create table yoyo_lock (locked int primary key);
        create table _yoyo_log (id serial);
        create schema audit;
        create table audit.log (id serial);
        create view audit.seen as select 1 as one;
    """)
    assert snapshot(conn, exclude=["*.yoyo_lock", "*._yoyo_*", "audit.*", "audit"]) == before
    assert [s.path for s in snapshot(conn, exclude=["*._yoyo_*"]).sequences] == ["audit.log_id_seq"]


# ── as JSON ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_goes_through_json_and_back(every_kind: Target) -> None:
    before = of(every_kind)
    text = json.dumps(before.as_dict())
    after = Snapshot.from_dict(json.loads(text))
    assert after == before
    assert after.server_version_num == before.server_version_num
    assert after.fingerprint == before.fingerprint
    assert json.dumps(after.as_dict()) == text


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "Its format is None; known is 1."),
        ({"format": 2, "server_version_num": 180006}, "Its format is 2; known is 1."),
        ({"format": 1}, "server_version_num"),
        ({"format": 1, "server_version_num": 1, "tables": [{"schema": "a"}]}, "name"),
        ({"format": 1, "server_version_num": 1, "moons": []}, "moons"),
    ],
)
def test_what_is_no_snapshot_is_refused(body: dict[str, object], why: str) -> None:
    with pytest.raises(BadSnapshot) as caught:
        Snapshot.from_dict(body)
    assert why in caught.value.why


# ── while others work ───────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def somebody_creates_and_drops(target: Target, pause: float) -> Iterator[None]:
    """Another session that makes and removes tables all the time."""
    stop = threading.Event()

    def work() -> None:
        with connect(target) as conn:
            while not stop.wait(pause):
                conn.execute("create table x (a int primary key, b text check (b <> '')); create index on x (b)")
                conn.execute("create view v as select a from x; create function f() returns int return 1")
                conn.execute("drop view v; drop table x; drop function f")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join()


def test_tables_that_come_and_go_do_not_break_a_reading(
    conn: Connection, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    conn.execute("create table stays (a int)")
    with somebody_creates_and_drops(target, pause=0.01):
        for _ in range(30):
            found = snapshot(conn)
            assert found.table("public.stays") is not None
            assert all(index.definition for table in found.tables for index in table.indexes)
            assert "public.stays" in digests(conn)
    assert caplog.records == []


def test_a_catalog_that_moved_on_under_an_old_snapshot_is_an_error_that_says_so(
    conn: Connection, target: Target
) -> None:
    conn.execute("create table goes (a int); create view v as select a from goes")
    with connect(target) as other, conn.transaction():
        conn.execute("set transaction isolation level repeatable read")
        conn.execute("select")
        other.execute("drop view v; drop table goes")
        for read in (snapshot, digests):
            with pytest.raises(CatalogChanging) as caught:
                read(conn)
            assert caught.value.code == "catalog.changing"
        assert conn.execute("select 1").fetchone() == (1,)
    assert snapshot(conn).table("public.goes") is None
