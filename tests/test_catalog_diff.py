"""Every difference between two databases is found, and said in words."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from pliers_db.catalog import (
    Change,
    Column,
    Constraint,
    Difference,
    Entry,
    Extension,
    Index,
    Policy,
    Routine,
    Schema,
    Sequence,
    Snapshot,
    Table,
    Trigger,
    Type,
    diff,
    snapshot,
)
from pliers_db.catalog.diff import BOOLEAN
from pliers_db.config import Target
from pliers_db.db import Connection, connect

# What somebody changes, and what is said about it: all of it, and nothing else.
PLANTED: dict[str, list[str]] = {
    # schemas, extensions, settings
    "create schema more": ["schema more was added"],
    "comment on schema shop is null": ["schema shop: comment was Things for sale, is none"],
    "alter schema shop owner to catalog_app": [
        "schema shop: owner was catalog_owner, is catalog_app",
        "schema shop: grants lost catalog_app=USAGE",
    ],
    "grant create on schema shop to catalog_app": ["schema shop: grants gained catalog_app=CREATE"],
    "create extension btree_gin version '1.2'": ["extension btree_gin was added"],
    "alter database every_kind set work_mem to '8MB'": ["setting of the database was added"],
    # tables
    "create table shop.t (a int)": ["table shop.t was added"],
    "drop table shop.loose": ["table shop.loose was removed"],
    "alter table shop.loose rename to tight": ["table shop.loose was removed", "table shop.tight was added"],
    "alter table shop.lines owner to catalog_app": [
        "table shop.lines: owner was catalog_owner, is catalog_app",
        "table shop.lines: grants lost catalog_app=SELECT",
    ],
    "alter table shop.fast set logged": ["table shop.fast: persistence was unlogged, is permanent"],
    "alter table shop.customers set (fillfactor = 90)": [
        "table shop.customers: options gained fillfactor=90, lost fillfactor=80"
    ],
    "alter table shop.customers reset (toast.autovacuum_enabled)": [
        "table shop.customers: options lost toast.autovacuum_enabled=false"
    ],
    "alter table shop.customers disable row level security": ["table shop.customers: row security was on, is off"],
    "alter table shop.orders no force row level security": [
        "partitioned table shop.orders: row security was forced, is on",
    ],
    "alter table shop.customers replica identity full": [
        "table shop.customers: replica identity was index, is full",
        "index shop.customers.customers_pkey is no longer the replica identity",
    ],
    "alter table shop.customers set without cluster": [
        "index shop.customers.customers_pkey is no longer the one to cluster by"
    ],
    "alter table shop.orders detach partition shop.orders_2026": [
        "table shop.orders_2026: partition bound was FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'), is none",
        "table shop.orders_2026: parents was shop.orders, is none",
        # Its foreign key and check are its own now, and nothing but its own.
        "constraint shop.orders_2026.orders_customer_fkey was added",
        "constraint shop.orders_2026.orders_2026_pkey is now declared here, too",
        "constraint shop.orders_2026.orders_total_check is now declared here, too",
        *(
            f"constraint shop.orders_2026.orders_{column}_not_null is now declared here, too"
            for column in ("id", "placed")
        ),
        *(
            f"column shop.orders_2026.{column} is now declared here, too"
            for column in ("customer", "during", "id", "placed", "size", "total")
        ),
        "index shop.orders_2026.orders_2026_customer_idx: parent was shop.orders_customer_idx, is none",
        "trigger shop.orders_2026.orders_touch was removed",
        "index shop.orders_2026.orders_2026_pkey: parent was shop.orders_pkey, is none",
    ],
    "alter table shop.derived no inherit shop.base": [
        "table shop.derived: parents was shop.base, is none",
        "column shop.derived.a is now declared here, too",
        "column shop.derived.b is now declared here, too",
    ],
    "alter table shop.typed not of": ["table shop.typed: of type was shop.pair, is none"],
    "comment on table shop.customers is 'x'": ["table shop.customers: comment was Who buys, is x"],
    "grant delete on shop.customers to catalog_app with grant option": [
        "table shop.customers: grants gained catalog_app=DELETE*"
    ],
    "revoke insert on shop.customers from catalog_owner, catalog_app": [
        "table shop.customers: grants gained -(owner)=INSERT, lost catalog_app=INSERT"
    ],
    # columns
    "alter table shop.lines add note text": ["column shop.lines.note was added"],
    "alter table shop.lines drop n": ["column shop.lines.n was removed"],
    "alter table shop.lines alter n type bigint": ["column shop.lines.n: type was integer, is bigint"],
    "alter table shop.lines alter n set not null": ["column shop.lines.n is now NOT NULL"],
    "alter table shop.lines alter n set default 7": ["column shop.lines.n: default was none, is 7"],
    "alter table shop.customers alter id set generated by default": [
        "column shop.customers.id: identity was always, is by default"
    ],
    "alter table shop.customers alter upper_name drop expression": [
        "column shop.customers.upper_name: default was upper(name), is none",
        "column shop.customers.upper_name: generated was stored, is none",
    ],
    'alter table shop.base alter b type text collate "C"': [
        'column shop.base.b: collation was none, is "C"',
        'column shop.derived.b: collation was none, is "C"',
    ],
    "alter table shop.customers alter name set storage main": [
        "column shop.customers.name: storage was external, is main"
    ],
    "alter table shop.customers alter email set compression default": [
        "column shop.customers.email: compression was pglz, is none"
    ],
    "alter table shop.customers alter name set statistics -1": [
        "column shop.customers.name: statistics was 200, is none"
    ],
    "alter table shop.customers alter mood reset (n_distinct)": [
        "column shop.customers.mood: options lost n_distinct=3"
    ],
    "comment on column shop.customers.email is 'x'": ["column shop.customers.email: comment was where to write, is x"],
    "revoke update (name) on shop.customers from catalog_app": [
        "column shop.customers.name: grants lost catalog_app=UPDATE"
    ],
    "alter table shop.lines drop n, drop order_id, add n integer, add order_id integer": [
        "table shop.lines: same columns in another order: was order_id, placed, n, is placed, n, order_id",
        "constraint shop.lines.lines_order_id_placed_fkey was removed",
    ],
    # constraints
    "alter table shop.lines add constraint few check (n < 9)": ["constraint shop.lines.few was added"],
    "alter table shop.lines add constraint one unique (n)": ["constraint shop.lines.one was added"],
    "alter table shop.lines add primary key (n)": [
        "column shop.lines.n is now NOT NULL",
        "constraint shop.lines.lines_pkey was added",
    ],
    "alter table shop.customers drop constraint customers_kind_check": [
        "constraint shop.customers.customers_kind_check was removed"
    ],
    "alter table shop.loose validate constraint not_checked": [
        "constraint shop.loose.not_checked: definition was CHECK ((a < 100)) NOT VALID, is CHECK ((a < 100))",
        "constraint shop.loose.not_checked is now valid",
    ],
    "alter table shop.lines alter constraint lines_order_id_placed_fkey deferrable": [
        "constraint shop.lines.lines_order_id_placed_fkey: definition was FOREIGN KEY (order_id, placed) REFERENCES"
        " shop.orders(id, placed), is FOREIGN KEY (order_id, placed) REFERENCES shop.orders(id, placed) DEFERRABLE",
        "constraint shop.lines.lines_order_id_placed_fkey is now deferrable",
    ],
    "alter table shop.lines disable trigger all": [
        "constraint shop.lines.lines_order_id_placed_fkey is no longer enforced: its triggers are disabled"
    ],
    "comment on constraint customers_email_key on shop.customers is null": [
        "constraint shop.customers.customers_email_key: comment was one account each, is none"
    ],
    "alter table shop.customers rename constraint customers_email_not_null to must": [
        "constraint shop.customers.customers_email_not_null was removed",
        "constraint shop.customers.must was added",
    ],
    # indexes
    "create index extra on shop.lines (n)": ["index shop.lines.extra was added"],
    "drop index shop.customers_kind_idx": ["index shop.customers.customers_kind_idx was removed"],
    "drop index shop.counted_kind; create unique index counted_kind on shop.counted (n)": [
        "index shop.counted.counted_kind: definition was CREATE UNIQUE INDEX counted_kind ON shop.counted USING btree"
        " (kind), is CREATE UNIQUE INDEX counted_kind ON shop.counted USING btree (n)"
    ],
    "update pg_index set indisvalid = false where indexrelid = 'shop.counted_kind'::regclass": [
        "index shop.counted.counted_kind is no longer valid"
    ],
    "comment on index shop.customers_kind_idx is null": [
        "index shop.customers.customers_kind_idx: comment was for lists, is none"
    ],
    "alter index shop.customers_kind_idx alter column 2 set statistics 400": [
        "index shop.customers.customers_kind_idx: statistics gained column 2: 400, lost column 2: 300"
    ],
    # triggers, rules, policies
    "alter table shop.customers enable trigger customers_touch": [
        "trigger shop.customers.customers_touch: enabled was disabled, is origin"
    ],
    "drop trigger customers_touch on shop.customers": ["trigger shop.customers.customers_touch was removed"],
    "drop rule no_delete on shop.base": ["rule shop.base.no_delete was removed"],
    "alter table shop.base disable rule no_delete": ["rule shop.base.no_delete: enabled was origin, is disabled"],
    "alter policy own on shop.customers to public": [
        "policy shop.customers.own: roles gained PUBLIC, lost catalog_app"
    ],
    "alter policy none on shop.customers using (false)": ["policy shop.customers.none: using was true, is false"],
    "comment on policy own on shop.customers is null": ["policy shop.customers.own: comment was see your own, is none"],
    # views
    "create or replace view shop.seen with (security_barrier) as select id, kind from shop.customers": [
        "view shop.seen: options lost check_option=cascaded",
        "view shop.seen: definition changed\n  @@ -3,2 +3 @@\n  -   FROM shop.customers\n"
        "  -  WHERE ((kind)::text = ANY (ARRAY[('new'::character varying)::text, ('old'::character varying)::text]));\n"
        "  +   FROM shop.customers;",
    ],
    "alter view shop.seen set (security_invoker)": ["view shop.seen: options gained security_invoker=true"],
    "refresh materialized view shop.counted": ["materialized view shop.counted is now populated"],
    "drop view shop.seen; create table shop.seen (id bigint, kind varchar(10))": [
        "table shop.seen: kind was view, is table",
        "table shop.seen: owner was catalog_owner, is postgres",
        "table shop.seen: access method was none, is heap",
        "table shop.seen: options lost check_option=cascaded, security_barrier=true",
        "table shop.seen: definition changed\n  @@ -1,4 +0,0 @@\n  - SELECT id,\n  -    kind\n"
        "  -   FROM shop.customers\n"
        "  -  WHERE ((kind)::text = ANY (ARRAY[('new'::character varying)::text, ('old'::character varying)::text]));",
        "table shop.seen: grants lost catalog_app=SELECT",
        "table shop.seen: replica identity was nothing, is default",
        "column shop.seen.kind: comment was old or new, is none",
    ],
    # types
    "alter type shop.mood add value 'bored' before 'sad'": [
        "enum shop.mood: labels was glad, so so, sad, is glad, so so, bored, sad"
    ],
    "alter type shop.pair add attribute c date cascade": [
        "attribute shop.pair.c was added",
        "column shop.typed.c was added",
    ],
    "alter domain shop.positive drop constraint above_zero": ["constraint shop.positive.above_zero was removed"],
    "alter domain shop.positive set not null": ["domain shop.positive is now NOT NULL"],
    "alter domain shop.positive set default 5": ["domain shop.positive: default was 1, is 5"],
    "comment on type shop.mood is null": ["enum shop.mood: comment was How it went, is none"],
    "revoke usage on type shop.mood from catalog_app": ["enum shop.mood: grants lost catalog_app=USAGE"],
    "drop table shop.orders cascade; drop type shop.span": [
        "partitioned table shop.orders was removed",
        "table shop.orders_2026 was removed",
        "table shop.orders_rest was removed",
        "sequence shop.orders_id_seq was removed",
        "range type shop.span was removed",
        "constraint shop.lines.lines_order_id_placed_fkey was removed",
    ],
    "create type shop.unfinished": [],
    # sequences
    "alter sequence shop.numbers increment 6": ["sequence shop.numbers: increment was 5, is 6"],
    "alter sequence shop.numbers no cycle": ["sequence shop.numbers no longer cycles"],
    "alter sequence shop.numbers owned by shop.lines.n": ["sequence shop.numbers: owned by was none, is shop.lines.n"],
    "select nextval('shop.numbers')": [],
    # routines
    "create or replace procedure shop.tidy(inout n integer) language plpgsql security definer set work_mem = '1MB'"
    " as $$begin n := n + 2; end$$": [
        "procedure shop.tidy(integer): definition changed\n  @@ -5 +5 @@\n"
        "  -AS $procedure$begin n := n + 1; end$procedure$\n  +AS $procedure$begin n := n + 2; end$procedure$"
    ],
    "alter procedure shop.tidy(integer) security invoker": [
        "procedure shop.tidy(integer): definition changed\n  @@ -3 +2,0 @@\n  - SECURITY DEFINER"
    ],
    "drop function shop.area(integer, integer)": ["function shop.area(integer, integer) was removed"],
    "revoke all on function shop.area(text) from catalog_app": [
        "function shop.area(text): grants lost catalog_app=EXECUTE*"
    ],
    "comment on aggregate shop.total(integer) is 'x'": ["aggregate shop.total(integer): comment was none, is x"],
    # rarer kinds
    "alter event trigger watch enable": [
        "event trigger watch: definition was on ddl_command_end when tag in (CREATE TABLE) execute shop.notice(),"
        " disabled, is on ddl_command_end when tag in (CREATE TABLE) execute shop.notice(), origin"
    ],
    "alter publication news drop table shop.customers": [
        "publication news: definition changed\n  @@ -2 +1,0 @@\n  -table shop.customers (id, email) where (id > 0)"
    ],
    "alter publication all_news owner to catalog_owner": [
        "publication all_news: owner was postgres, is catalog_owner",
    ],
    "drop statistics shop.customers_stats": ["statistics shop.customers_stats was removed"],
    "alter statistics shop.customers_stats set statistics 50": [
        "statistics shop.customers_stats: definition was CREATE STATISTICS shop.customers_stats (dependencies) ON kind,"
        " mood FROM shop.customers, is CREATE STATISTICS shop.customers_stats (dependencies) ON kind, mood FROM"
        " shop.customers target 50"
    ],
    "drop collation shop.german": ["collation shop.german was removed"],
    "drop cast (shop.mood as text)": ["cast (shop.mood as text) was removed"],
    "alter operator shop.=== (integer, integer) set (restrict = none)": [
        "operator shop.===(integer,integer): definition was function int4eq, commutator shop.===(integer,integer),"
        " restrict eqsel, is function int4eq, commutator shop.===(integer,integer)"
    ],
    "drop operator family shop.backwards using btree cascade": [
        "operator class shop.backwards using btree was removed",
        "operator family shop.backwards using btree was removed",
    ],
    "alter text search configuration shop.plain drop mapping for word": [
        "text search configuration shop.plain: definition changed\n  @@ -3 +2,0 @@\n  -token 2: simple",
    ],
    "alter text search dictionary shop.plain (stopwords)": [
        "text search dictionary shop.plain: definition was template simple, options"
        " stopwords = 'english', is template simple",
    ],
    "alter foreign data wrapper nowhere options (drop debug)": [
        "foreign data wrapper nowhere: definition was options (debug=true), is none",
    ],
    "alter server far options (set host 'near')": [
        "foreign server far: definition was wrapper nowhere, type x, options (host=far), is wrapper nowhere, type x,"
        " options (host=near)"
    ],
    "alter user mapping for catalog_app server far options (drop password)": [],
    "alter foreign table shop.remote options (drop t)": [
        "foreign table shop.remote: definition was server far options (t=x), is server far",
    ],
    "alter default privileges for role catalog_owner in schema shop grant insert on tables to public": [
        "default privileges of catalog_owner in shop on tables: grants gained PUBLIC=INSERT",
    ],
    "alter default privileges for role catalog_owner grant execute on functions to public": [
        "default privileges of catalog_owner on routines was removed",
    ],
    # one name, another thing
    "drop extension plpgsql cascade; create extension plpgsql; comment on extension plpgsql is 'x'": [
        "extension plpgsql: comment was PL/pgSQL procedural language, is x",
        "event trigger watch was removed",
        "function shop.notice() was removed",
        "function shop.touch() was removed",
        "procedure shop.tidy(integer) was removed",
        "trigger shop.customers.customers_touch was removed",
        "trigger shop.orders.orders_touch was removed",
        "trigger shop.orders_2026.orders_touch was removed",
        "trigger shop.orders_rest.orders_touch was removed",
    ],
    "update pg_extension set extversion = '0.9' where extname = 'plpgsql'": [
        "extension plpgsql: version was 1.0, is 0.9"
    ],
    "alter type shop.mood owner to catalog_app": [
        "enum shop.mood: owner was catalog_owner, is catalog_app",
        "enum shop.mood: grants lost catalog_app=USAGE",
    ],
    "drop domain shop.positive cascade; create type shop.positive as enum ('+')": [
        "enum shop.positive: kind was domain, is enum",
        "enum shop.positive: owner was catalog_owner, is postgres",
        "enum shop.positive: labels was none, is +",
        "enum shop.positive: base was integer, is none",
        "enum shop.positive: default was 1, is none",
        "constraint shop.positive.above_zero was removed",
        *(f"column shop.{table}.size was removed" for table in ("orders", "orders_2026", "orders_rest")),
    ],
    'drop domain shop.positive cascade; create domain shop.positive as text collate "C" default 1': [
        "domain shop.positive: owner was catalog_owner, is postgres",
        "domain shop.positive: base was integer, is text",
        'domain shop.positive: collation was none, is "C"',
        "constraint shop.positive.above_zero was removed",
        *(f"column shop.{table}.size was removed" for table in ("orders", "orders_2026", "orders_rest")),
    ],
    "drop type shop.span cascade; create type shop.span as range (subtype = float8)": [
        "range type shop.span: owner was catalog_owner, is postgres",
        "range type shop.span: definition was multirange shop.span_multirange, operator class float8_ops, difference"
        " float8mi(double precision,double precision), is multirange shop.span_multirange, operator class float8_ops",
        *(f"column shop.{table}.during was removed" for table in ("orders", "orders_2026", "orders_rest")),
    ],
    "alter table shop.customers drop constraint customers_email_key;"
    "alter table shop.customers add constraint customers_email_key unique (email, id) deferrable": [
        "constraint shop.customers.customers_email_key: definition was UNIQUE (email) DEFERRABLE INITIALLY DEFERRED,"
        " is UNIQUE (email, id) DEFERRABLE",
        "constraint shop.customers.customers_email_key: columns was email, is email, id",
        "constraint shop.customers.customers_email_key is no longer deferred",
        "constraint shop.customers.customers_email_key: comment was one account each, is none",
        "index shop.customers.customers_email_key: definition was CREATE UNIQUE INDEX customers_email_key ON"
        " shop.customers USING btree (email), is CREATE UNIQUE INDEX customers_email_key ON shop.customers USING btree"
        " (email, id)",
    ],
    "alter table shop.lines drop constraint lines_order_id_placed_fkey; alter table shop.lines add constraint"
    " lines_order_id_placed_fkey foreign key (n) references shop.customers": [
        "constraint shop.lines.lines_order_id_placed_fkey: definition was FOREIGN KEY (order_id, placed) REFERENCES"
        " shop.orders(id, placed), is FOREIGN KEY (n) REFERENCES shop.customers(id)",
        "constraint shop.lines.lines_order_id_placed_fkey: columns was order_id, placed, is n",
        "constraint shop.lines.lines_order_id_placed_fkey: references was shop.orders, is shop.customers",
        "constraint shop.lines.lines_order_id_placed_fkey: referenced columns was id, placed, is id",
    ],
    "alter table shop.customers drop constraint customers_pkey cascade;"
    "alter table shop.customers add constraint customers_pkey unique (id)": [
        "constraint shop.customers.customers_pkey: kind was primary key, is unique",
        "constraint shop.customers.customers_pkey: definition was PRIMARY KEY (id), is UNIQUE (id)",
        "index shop.customers.customers_pkey is no longer the primary key",
        "index shop.customers.customers_pkey is no longer the replica identity",
        "index shop.customers.customers_pkey is no longer the one to cluster by",
        "constraint shop.orders.orders_customer_fkey was removed",
    ],
    "drop index shop.counted_kind; create index counted_kind on shop.counted (kind)": [
        "index shop.counted.counted_kind is no longer unique",
        "index shop.counted.counted_kind: definition was CREATE UNIQUE INDEX counted_kind ON shop.counted USING btree"
        " (kind), is CREATE INDEX counted_kind ON shop.counted USING btree (kind)",
    ],
    "create or replace trigger customers_touch after update on shop.customers execute function shop.touch()": [
        "trigger shop.customers.customers_touch: definition was CREATE TRIGGER customers_touch BEFORE UPDATE OF name ON"
        " shop.customers FOR EACH ROW WHEN ((new.name <> ''::text)) EXECUTE FUNCTION shop.touch(), is CREATE TRIGGER"
        " customers_touch AFTER UPDATE ON shop.customers FOR EACH STATEMENT EXECUTE FUNCTION shop.touch()",
        "trigger shop.customers.customers_touch: enabled was disabled, is origin",
    ],
    "comment on trigger customers_touch on shop.customers is 'x'": [
        "trigger shop.customers.customers_touch: comment was none, is x"
    ],
    "comment on rule no_delete on shop.base is 'x'": ["rule shop.base.no_delete: comment was none, is x"],
    "drop policy none on shop.customers; create policy none on shop.customers for insert with check (true)": [
        "policy shop.customers.none is now permissive",
        "policy shop.customers.none: command was update, is insert",
        "policy shop.customers.none: using was true, is none",
        "policy shop.customers.none: check was (name IS NOT NULL), is true",
    ],
    "drop table shop.orders cascade; create table shop.orders (id serial, placed date) partition by hash (id)": [
        "partitioned table shop.orders: partition key was RANGE (placed), is HASH (id)",
        "partitioned table shop.orders: owner was catalog_owner, is postgres",
        "partitioned table shop.orders: row security was forced, is off",
        "partitioned table shop.orders: grants lost catalog_app=SELECT",
        *(f"column shop.orders.{column} was removed" for column in ("customer", "during", "size", "total")),
        "column shop.orders.placed may now be NULL",
        *(f"constraint shop.orders.orders_{name} was removed" for name in ("customer_fkey", "pkey", "total_check")),
        "index shop.orders.orders_customer_idx was removed",
        "trigger shop.orders.orders_touch was removed",
        "table shop.orders_2026 was removed",
        "table shop.orders_rest was removed",
        "sequence shop.orders_id_seq: owner was catalog_owner, is postgres",
        "constraint shop.lines.lines_order_id_placed_fkey was removed",
    ],
    "drop sequence shop.numbers;"
    "create unlogged sequence shop.numbers as integer start 7 minvalue 3 maxvalue 900 increment 5 cycle;"
    "grant usage on sequence shop.numbers to public": [
        "sequence shop.numbers: owner was catalog_owner, is postgres",
        "sequence shop.numbers: type was smallint, is integer",
        "sequence shop.numbers: start was 1, is 7",
        "sequence shop.numbers: minimum was 1, is 3",
        "sequence shop.numbers: maximum was 500, is 900",
        "sequence shop.numbers: cache was 3, is 1",
        "sequence shop.numbers: persistence was permanent, is unlogged",
        "sequence shop.numbers: grants gained PUBLIC=USAGE",
        "sequence shop.numbers: comment was fives, is none",
    ],
    "drop function shop.as_text cascade; create procedure shop.as_text(m shop.mood) language sql as ''": [
        "procedure shop.as_text(shop.mood): kind was function, is procedure",
        "procedure shop.as_text(shop.mood): owner was catalog_owner, is postgres",
        "procedure shop.as_text(shop.mood): grants lost -PUBLIC=EXECUTE",
        "procedure shop.as_text(shop.mood): definition changed\n  @@ -1,2 +1 @@\n"
        "  -CREATE OR REPLACE FUNCTION shop.as_text(m shop.mood)\n  - RETURNS text\n"
        "  +CREATE OR REPLACE PROCEDURE shop.as_text(IN m shop.mood)\n  @@ -4,2 +3 @@\n  - IMMUTABLE\n"
        "  -AS $function$select m::text$function$\n  +AS $procedure$$procedure$",
        "cast (shop.mood as text) was removed",
    ],
    "alter aggregate shop.total(integer) owner to catalog_app": [
        "aggregate shop.total(integer): owner was catalog_owner, is catalog_app"
    ],
}


# The kinds of the objects of each class, as a difference calls them.
KINDS: dict[Any, tuple[str, ...]] = {
    Schema: ("schema",),
    Extension: ("extension",),
    Type: ("enum", "domain", "range type", "composite type"),
    Table: ("table", "partitioned table", "foreign table", "view", "materialized view"),
    Column: ("column", "attribute"),
    Constraint: ("constraint",),
    Index: ("index",),
    Trigger: ("trigger", "rule"),
    Policy: ("policy",),
    Sequence: ("sequence",),
    Routine: ("function", "procedure", "aggregate"),
    Entry: ("publication", "foreign server", "default privileges", "statistics"),
}
# By these two are paired; and a tablespace cannot be made in a transaction.
NOT_PLANTED = {"schema", "name", "arguments", "path", "tablespace"}


@pytest.mark.parametrize("ddl", PLANTED)
def test_what_was_planted_is_found(ddl: str, full: Connection, untouched: Snapshot) -> None:
    full.execute("set local allow_system_table_mods to on")
    full.execute(ddl.encode())
    assert sorted(map(str, diff(untouched, snapshot(full)))) == sorted(PLANTED[ddl])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_property_of_every_kind_was_planted(kind: Any) -> None:
    """A property that nobody tried to change might be read wrong."""
    starts = tuple(f"{name} " for name in KINDS[kind])
    said = [line for lines in PLANTED.values() for line in lines if line.startswith(starts)]
    for field in fields(kind):
        if field.name in NOT_PLANTED or "children" in field.metadata:
            continue
        if kind is Entry and field.name in ("kind", "comment"):
            continue
        words = (f": {field.name.replace('_', ' ')} ", *(f" {w}" for w in BOOLEAN.get(field.name, ())))
        assert any(word in line for word in words for line in said), f"no planted difference in {field.name}"


# ── how it is told ──────────────────────────────────────────────────────────────────────────────────────────
def after(conn: Connection, ddl: str) -> tuple[Difference, ...]:
    """What a change makes different."""
    before = snapshot(conn)
    conn.execute(ddl.encode())
    return diff(before, snapshot(conn))


def test_equal_databases_have_no_difference(full: Connection) -> None:
    assert diff(snapshot(full), snapshot(full)) == ()


def test_what_was_added_one_way_was_removed_the_other_way(full: Connection) -> None:
    before = snapshot(full)
    full.execute("create table shop.t (a int); drop view shop.seen; alter table shop.lines add x int")
    there, back = diff(before, snapshot(full)), diff(snapshot(full), before)
    swapped = {Change.ADDED: Change.REMOVED, Change.REMOVED: Change.ADDED}
    assert [(swapped[d.change], d.path) for d in there] == [(d.change, d.path) for d in back]


def test_differences_are_sorted_by_path(full: Connection) -> None:
    found = after(
        full, "create table shop.zoo (); create view shop.ant as select; alter table shop.lines add m int, add b int"
    )
    assert [d.path for d in found] == ["shop.ant", "shop.lines.b", "shop.lines.m", "shop.zoo"]


def test_columns_in_another_order_are_a_class_of_their_own(conn: Connection) -> None:
    conn.execute("create table one (a int, b int, c int); create table two (a int, b int, c int)")
    found = after(conn, "alter table one drop a, add a int; alter table two drop a, add a bigint")
    assert [(d.path, d.change) for d in found] == [
        ("public.one", Change.REORDERED),
        ("public.two", Change.REORDERED),
        ("public.two.a", Change.CHANGED),
    ]
    assert (found[0].before, found[0].after) == (("a", "b", "c"), ("b", "c", "a"))


def test_a_column_added_in_the_middle_is_no_other_order(conn: Connection) -> None:
    conn.execute("create table t (a int, c int)")
    found = after(conn, "drop table t; create table t (a int, b int, c int)")
    assert [str(d) for d in found] == ["column public.t.b was added"]


@pytest.mark.parametrize(
    ("what", "ddl"),
    [
        ("owner", "alter table t owner to pg_monitor; alter type e owner to pg_monitor"),
        ("grants", "grant insert on t to public; grant select (a) on t to public"),
        ("comment", "comment on table t is 'x'; comment on column t.a is 'y'; comment on type e is 'z'"),
        ("reordered", "alter table t drop a, add a int"),
        ("version", "update pg_extension set extversion = '0.9' where extname = 'plpgsql'"),
    ],
)
def test_what_does_not_matter_can_be_ignored(what: str, ddl: str, conn: Connection) -> None:
    conn.execute("set allow_system_table_mods to on; create table t (a int, b int); create type e as enum ()")
    before = snapshot(conn)
    conn.execute(ddl.encode())
    assert diff(before, snapshot(conn))
    assert diff(before, snapshot(conn), ignore=[what]) == ()
    assert diff(before, snapshot(conn), ignore=["something else"])


def test_a_difference_is_one_json_object(conn: Connection) -> None:
    conn.execute("create table t (a int, b int)")
    found = after(conn, "create table more (); alter table t alter a type bigint; alter table t drop a, add a bigint")
    assert json.loads(json.dumps([d.as_dict() for d in found])) == [
        {"change": "added", "kind": "table", "path": "public.more"},
        {
            "change": "reordered",
            "kind": "table",
            "path": "public.t",
            "field": "columns",
            "before": ["a", "b"],
            "after": ["b", "a"],
        },
        {
            "change": "changed",
            "kind": "column",
            "path": "public.t.a",
            "field": "type",
            "before": "integer",
            "after": "bigint",
        },
    ]


def test_odd_names_are_quoted(conn: Connection) -> None:
    conn.execute('create schema "My shop"; create table "My shop"."1""2" (a int)')
    found = after(conn, 'alter table "My shop"."1""2" add "No." int; create type "My shop"."F" as ()')
    assert [str(d) for d in found] == [
        'column "My shop"."1""2"."No." was added',
        'composite type "My shop"."F" was added',
    ]


def test_a_constraint_over_an_index_that_was_there_adds_only_itself(conn: Connection) -> None:
    conn.execute("create table t (a int); create unique index t_a on t (a)")
    found = after(conn, "alter table t add constraint t_a unique using index t_a")
    assert [str(d) for d in found] == ["constraint public.t.t_a was added"]


@pytest.mark.pg15
def test_names_of_not_null_count_between_servers_that_have_them(conn: Connection, target15: Target) -> None:
    table = "create table t (a int constraint must not null)"
    conn.execute(table)
    with connect(target15) as old:
        old.execute(table)
        assert diff(snapshot(old), snapshot(conn)) == ()
        old.execute("alter table t alter a drop not null")
        assert [str(d) for d in diff(snapshot(old), snapshot(conn))] == ["column public.t.a is now NOT NULL"]
    found = after(conn, "alter table t rename constraint must to shall")
    assert [str(d) for d in found] == ["constraint public.t.must was removed", "constraint public.t.shall was added"]


@pytest.mark.pg15
def test_a_changed_view_is_found_between_versions_too(conn: Connection, target15: Target) -> None:
    with connect(target15) as old:
        old.execute("create table t (a int, b int); create view v as select a, b from t where a > 1")
        conn.execute("create table t (a int, b int); create view v as select a, b from t where a > 1")
        assert diff(snapshot(old), snapshot(conn)) == ()
        conn.execute("create or replace view v as select a, b from t where a > 2")
        (found,) = diff(snapshot(old), snapshot(conn))
    assert (found.path, found.field) == ("public.v", "definition")
