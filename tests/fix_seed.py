"""Seeds for a shop: a schema unlike Pliers', seed files written by the test, a stamped database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pliers_db.config import Environment, Settings, Target, load_settings
from pliers_db.db import Connection, Database, write_stamp
from pliers_db.seed import Outcome, run
from tests.fix_cli import url_of

SHOP = """
create extension if not exists vector;
create type colour as enum ('red', 'green', 'blue');
create domain price as numeric(8, 2) constraint price_positive check (value >= 0);
create table shops (
    id uuid primary key default gen_random_uuid(),
    code text not null constraint shops_code_key unique,
    name text not null,
    opened date,
    settings jsonb not null default '{}',
    created_at timestamptz not null default now()
);
create table products (
    shop_id uuid not null references shops,
    id uuid not null,
    name varchar(40) not null,
    price price not null default 1,
    colour colour,
    tags text[] not null default '{}',
    sizes int[],
    form jsonb,
    label text generated always as (name || '!') stored,
    primary key (shop_id, id)
);
create table orders (
    shop_id uuid not null,
    id uuid not null,
    product_id uuid not null,
    customer text not null,
    amount int not null default 1 constraint orders_amount_positive check (amount > 0),
    answers jsonb,
    placed_at timestamptz not null,
    shipped_at timestamptz constraint orders_shipped_later check (shipped_at >= placed_at),
    primary key (shop_id, id),
    foreign key (shop_id, product_id) references products (shop_id, id)
);
create table categories (
    id int generated always as identity primary key,
    parent_id int references categories,
    name text not null,
    created_at timestamptz not null default now()
);
create table countries (id serial primary key, code char(2) not null unique, name text not null, rate numeric(5, 3));
create table texts (id uuid primary key, body text not null, digest bytea, meaning vector(64) not null);
"""

SHOP_SEEDS = """
[rows.shops.corner]
code = "corner"
name = "The Corner Shop"
opened = 2024-05-01
settings = {open = [8, 20], "@" = "as it is", owner = {name = "Ada"}}

[rows.shops.harbor]
code = "harbor"
name = "Harbor Goods"
created_at = "as_of - 2d at 09:30"

[rows.products.tea]
shop_id = "@corner"
name = "Tea"
price = 4.50
colour = "green"
tags = ["hot", 'quoted "x", {y}']
sizes = [1, 2]
form.fields = [
    {key = "gift", type = "yesno", required = true},
    {key = "cups", type = "count", min = 2, max = 6},
    {key = "note", type = "text"},
]

[rows.products.rope]
shop_id = "@harbor"
name = "Rope"

[rows.orders.first]
product_id = "@tea"
customer = "ada@example.com"
placed_at = "as_of - 3d"
shipped_at = "placed_at + 2h 30m"

[repeat.orders.more]
rows = 20
columns.product_id = "@tea"
columns.customer = {person = "email"}
columns.amount = {int = [1, 5]}
columns.placed_at = {between = ["as_of - 30d", "as_of - 1d"]}
columns.shipped_at = {maybe = {after = "placed_at", by = ["1h", "2d"]}, chance = 0.8}
columns.answers = {fields = "product_id.form.fields", optional = 0.5}

[rows]
categories = [
    {id = "@all", name = "Everything"},
    {id = "@drinks", name = "Drinks", parent_id = "@all"},
]

[repeat.texts.about]
each = "products"
columns.body = {template = "{each.name} of {each.shop_id.name}"}
columns.digest = {sha256 = "{body}"}
columns.meaning = {embed = "{body}"}
"""

SHARED = """
seed = 7
as_of = 2026-03-01T12:00:00Z
[fields.types]
yesno = {bool = 0.5}
count = {int = ["$min|0", "$max|9"]}
text = {words = [2, 4]}
"""

COUNTRIES = 'code,name,rate\nNO,Norway,0.250\nFR,"France, the Republic",\n'


@dataclass
class Seeds:
    """A project with seeds, and the database they go into."""

    root: Path
    target: Target
    conn: Connection

    def write(self, name: str, text: str) -> Path:
        """Write a seed file, ``dev/10-shops.toml``."""
        file = self.root / "seeds" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
        return file

    def settings(self, env: str = "dev") -> Settings:
        return load_settings(env=env, database_url=url_of(self.target), start=self.root, environ={})

    def run(self, env: str = "dev", **options: Any) -> Outcome:
        with Database(self.target) as database:
            return run(database, self.settings(env), **options)

    def digest(self) -> dict[str, str]:
        """For each table the md5 of all its rows, in an order that does not depend on how they were added."""
        return digest(self.conn)


def tables_of(conn: Connection) -> list[str]:
    rows = conn.execute(
        "select format('%I.%I', schemaname, tablename) from pg_tables"
        " where schemaname !~ '^pg_' and schemaname <> 'information_schema' and tablename !~ 'yoyo'"
        " and schemaname <> 'pliers_seed' order by 1"
    ).fetchall()
    return [row[0] for row in rows]


def digest(conn: Connection) -> dict[str, str]:
    def of(table: str) -> str:
        row = conn.execute(f"select md5(string_agg(t::text, '|' order by t::text)) from {table} t").fetchone()
        return row[0] or "empty" if row else ""

    return {table: of(table) for table in tables_of(conn)}


def versions(conn: Connection) -> dict[str, list[Any]]:
    """Where each row lies and who wrote it: any write at all changes this."""

    def of(table: str) -> list[Any]:
        return conn.execute(f"select tableoid, ctid::text, xmin::text from {table} order by 1, 2").fetchall()

    return {table: of(table) for table in tables_of(conn)}


@pytest.fixture
def empty_seeds(project: Path, target: Target, conn: Connection) -> Seeds:
    """A project without seed files; its database is stamped development and empty."""
    write_stamp(conn, Environment.DEVELOPMENT)
    return Seeds(project, target, conn)


@pytest.fixture
def shop_seeds(empty_seeds: Seeds) -> Seeds:
    """The shop's schema, and seeds that use most of the format."""
    empty_seeds.conn.execute(SHOP)
    empty_seeds.write("seed.toml", SHARED)
    empty_seeds.write("dev/10-shop.toml", SHOP_SEEDS)
    empty_seeds.write("dev/20-countries.csv", COUNTRIES)
    return empty_seeds


@pytest.fixture
def bare_shop(empty_seeds: Seeds) -> Seeds:
    """The shop's schema without seed files."""
    empty_seeds.conn.execute(SHOP)
    empty_seeds.write("seed.toml", SHARED)
    return empty_seeds


MakeSeeds = Callable[..., Seeds]
