"""A database with something of every kind, and a way to copy databases."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pliers_db.catalog import Snapshot, snapshot
from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.postgres import Binaries, Server

# Roles belong to the server: the tests of one process share these.
ROLES = ("catalog_owner", "catalog_app")

EVERY_KIND = """
    create schema shop authorization catalog_owner;
    comment on schema shop is 'Things for sale';
    grant usage on schema shop to catalog_app;
    alter default privileges for role catalog_owner in schema shop grant select on tables to catalog_app;
    alter default privileges for role catalog_owner revoke execute on functions from public;
    set role catalog_owner;
    set search_path to shop, public;

    create type mood as enum ('glad', 'so so', 'sad');
    comment on type mood is 'How it went';
    create type pair as (a integer, b varchar(10) collate "C");
    comment on column pair.b is 'second';
    create domain positive as integer default 1 constraint above_zero check (value > 0);
    comment on constraint above_zero on domain positive is 'more than nothing';
    create type span as range (subtype = float8, subtype_diff = float8mi);
    grant usage on type mood to catalog_app;
    revoke usage on type pair from public;

    create function area(a integer, b integer default 2) returns integer
        language sql immutable strict as 'select a * b';
    create function area(a text) returns text language sql begin atomic select upper(a); end;
    grant execute on function area(text) to catalog_app with grant option;
    comment on function area(integer, integer) is 'a rectangle';
    create procedure tidy(inout n integer) language plpgsql security definer set work_mem = '1MB'
        as $$begin n := n + 1; end$$;
    create function touch() returns trigger language plpgsql as $$begin return new; end$$;
    create function notice() returns event_trigger language plpgsql as $$begin null; end$$;
    create aggregate total(integer) (sfunc = int4pl, stype = integer, initcond = '0');

    create sequence numbers as smallint increment 5 maxvalue 500 cycle cache 3;
    comment on sequence numbers is 'fives';

    create table customers (
        id bigint generated always as identity primary key,
        email text collate "C" not null,
        kind varchar(10) not null default 'new' check (kind in ('new', 'old', 'it''s')),
        mood mood,
        name text,
        upper_name text generated always as (upper(name)) stored,
        constraint customers_email_key unique (email) deferrable initially deferred
    ) with (fillfactor = 80, toast.autovacuum_enabled = false);
    comment on table customers is 'Who buys';
    comment on column customers.email is 'where to write';
    alter table customers alter name set storage external, alter name set statistics 200;
    alter table customers alter mood set (n_distinct = 3);
    alter table customers alter email set compression pglz;
    grant select, insert on customers to catalog_app;
    grant update (name) on customers to catalog_app;
    alter table customers replica identity using index customers_pkey;
    alter table customers cluster on customers_pkey;
    create index customers_kind_idx on customers (kind, lower(name)) where kind in ('new', 'old');
    alter index customers_kind_idx alter column 2 set statistics 300;
    comment on index customers_kind_idx is 'for lists';
    create statistics customers_stats (dependencies) on kind, mood from customers;
    comment on constraint customers_email_key on customers is 'one account each';

    create table orders (
        id serial, placed date not null, customer bigint references customers (id) on delete cascade,
        total numeric(10, 2), size positive, during span,
        primary key (id, placed), check (total > 0)
    ) partition by range (placed);
    create table orders_2026 partition of orders for values from ('2026-01-01') to ('2027-01-01');
    create table orders_rest partition of orders default;
    create index orders_customer_idx on orders (customer);
    create table lines (order_id integer, placed date, n integer, foreign key (order_id, placed) references orders);
    create table loose (a integer, exclude using gist (int4range(a, a, '[]') with &&));
    alter table loose add constraint not_checked check (a < 100) not valid;
    create unlogged table fast (a integer);
    create table base (a integer, b text, check (a > 0) no inherit);
    create table derived (c integer) inherits (base);
    create table typed of pair;

    create trigger customers_touch before update of name on customers for each row when (new.name <> '')
        execute function touch();
    alter table customers disable trigger customers_touch;
    create trigger orders_touch after insert on orders for each row execute function touch();
    create rule no_delete as on delete to base do instead nothing;
    alter table customers enable row level security;
    alter table orders enable row level security;
    alter table orders force row level security;
    create policy own on customers for select to catalog_app using (kind in ('new', 'old'));
    create policy none on customers as restrictive for update using (true) with check (name is not null);
    comment on policy own on customers is 'see your own';

    create view seen with (security_barrier) as select id, kind from customers where kind in ('new', 'old')
        with cascaded check option;
    comment on column seen.kind is 'old or new';
    create materialized view counted as select kind, count(*) as n from customers group by kind with no data;
    create unique index counted_kind on counted (kind);

    create collation german (provider = libc, locale = 'C');
    create function as_text(m mood) returns text language sql immutable as $$select m::text$$;
    create operator === (leftarg = integer, rightarg = integer, function = int4eq, commutator = ===, restrict = eqsel);
    create text search dictionary plain (template = pg_catalog.simple, stopwords = english);
    create text search configuration plain (copy = pg_catalog.simple);
    comment on text search configuration plain is 'no stemming';

    reset role;
    create cast (shop.mood as text) with function shop.as_text(shop.mood) as assignment;
    create operator class backwards for type integer using btree as
        operator 1 >, operator 2 >=, operator 3 =, operator 4 <=, operator 5 <, function 1 btint4cmp(integer, integer);
    create foreign data wrapper nowhere options (debug 'true');
    create server far type 'x' foreign data wrapper nowhere options (host 'far');
    create user mapping for catalog_app server far options (user 'u', password 'hush-hush');
    create foreign table shop.remote (a integer options (n 'b')) server far options (t 'x');
    create publication news for table shop.customers (id, email) where (id > 0)
        with (publish = 'insert', publish_via_partition_root);
    create publication all_news for tables in schema shop;
    create event trigger watch on ddl_command_end when tag in ('CREATE TABLE') execute function shop.notice();
    alter event trigger watch disable;
    reset search_path;
"""


def copy_database(binaries: Binaries, source: Target, destination: Target) -> None:
    """Dump one database and restore it into another, with plain pg_dump and psql."""
    at = ["-h", source.host, "-p", source.port, "-U", source.user, source.dbname]
    dump = subprocess.run([binaries.program("pg_dump"), *at], capture_output=True, check=True).stdout
    to = ["-h", destination.host, "-p", destination.port, "-U", destination.user, destination.dbname]
    done = subprocess.run(
        [binaries.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *to],
        input=dump,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def make_roles(server: Server) -> None:
    """Create the roles of `EVERY_KIND`, unless they are there."""
    with connect(server.target()) as admin:
        for role in ROLES:
            admin.execute(
                f"do $$begin create role {role}; exception when duplicate_object or unique_violation then null; end$$"
            )


@contextmanager
def _full(server: Server, name: str) -> Iterator[Target]:
    make_roles(server)
    with connect(server.target()) as admin:
        admin.execute(f"create database {name}")
    with connect(server.target(name)) as conn:
        conn.execute(EVERY_KIND)
    yield server.target(name)
    with connect(server.target()) as admin:
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def every_kind(server: Server) -> Iterator[Target]:
    """A database with something of every kind; what a test changes it must take back."""
    with _full(server, "every_kind") as target:
        yield target


@pytest.fixture(scope="module")
def every_kind15(server15: Server) -> Iterator[Target]:
    """The same on PostgreSQL 15."""
    with _full(server15, "every_kind") as target:
        yield target


@pytest.fixture(scope="module")
def full_shared(every_kind: Target) -> Iterator[tuple[Connection, Snapshot]]:
    """A connection to that database, and its snapshot."""
    with connect(every_kind) as conn:
        yield conn, snapshot(conn)


@pytest.fixture
def full(full_shared: tuple[Connection, Snapshot]) -> Iterator[Connection]:
    """A connection to that database, in a transaction that is rolled back."""
    conn, _ = full_shared
    with conn.transaction(force_rollback=True):
        yield conn


@pytest.fixture
def untouched(full_shared: tuple[Connection, Snapshot]) -> Snapshot:
    """What that database is before a test changes it."""
    return full_shared[1]
