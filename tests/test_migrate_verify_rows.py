"""`migrate verify --rows`: what rollbacks do to the rows that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pliers_db.catalog import contents, snapshot
from pliers_db.db import Connection
from pliers_db.migrate import read_folder
from pliers_db.migrate.filling import ROWS, Filler
from pliers_db.migrate.roundtrip import Result, Verdict, Verification
from pliers_db.migrate.verify import verify
from pliers_db.postgres import Server, scratch_server
from tests.fix_migrate import Write

BASE = """
    create type mood as enum ('sad', 'happy');
    create extension vector;
    create table shops (id bigint generated always as identity primary key, name varchar(30) not null unique);
    create table orders (
        id uuid primary key, shop_id bigint not null references shops, mood mood not null, code varchar(5) not null,
        note text, at timestamptz not null, total numeric(10, 4) not null check (total > 0),
        embedding vector(3)
    );
    create table logs (n int primary key, line text);
"""
BASE_DOWN = "drop table logs, orders, shops; drop extension vector; drop type mood;"


@pytest.fixture(scope="module")
def playground() -> Iterator[Server]:
    with scratch_server() as server:
        yield server


@pytest.fixture
def prove(project: Path, playground: Server) -> Callable[..., Verification]:
    """Verify all migrations of the project with rows."""

    def prove(*, rows: bool = True) -> Verification:
        folder = read_folder(project / "migrations")
        return verify(folder, [m.id for m in folder.migrations], rows=rows, scratch=playground.target())

    return prove


def texts(verdict: Verdict) -> list[str]:
    return [finding.text for finding in verdict.findings]


# ── what is found ───────────────────────────────────────────────────────────────────────────────────────────
# Migrations after BASE; their rollbacks leave the schema as it was. Beside each: what is said of the rows.
LOSSES = {
    "a vector that is made anew": (
        "alter table orders alter embedding type vector(4) using null;",
        "alter table orders alter embedding type vector(3) using null;",
        "column public.orders.embedding loses values: 8 of 8 rows held one, after up and down none does",
    ),
    "a dropped column that comes back empty": (
        "alter table orders drop note;",
        "alter table orders add note text;",
        "column public.orders.note loses values: 8 of 8 rows held one, after up and down none does",
    ),
    "labels of an enum mapped together": (
        "alter type mood add value 'angry';",
        "alter type mood rename to old; create type mood as enum ('sad', 'happy');"
        "alter table orders alter mood type mood using (replace(mood::text, 'angry', 'sad')::mood);"
        "drop type old;",
        "column public.orders.mood holds other values after down and up (the smallest was 'angry', is 'happy')",
    ),
    "a text cut off": (
        "alter table orders alter code type varchar(20);",
        "alter table orders alter code type varchar(5) using left(code, 5);",
        "column public.orders.code holds other values after down and up (the smallest was",
    ),
    "a time without its hours": (
        "alter table orders alter at type date;",
        "alter table orders alter at type timestamptz;",
        "column public.orders.at holds other values after up and down (the smallest was",
    ),
    "decimals rounded": (
        "alter table orders alter total type numeric(10, 2);",
        "alter table orders alter total type numeric(10, 4);",
        "column public.orders.total holds other values after up and down (the smallest was",
    ),
    "a table that comes back empty": (
        "drop table logs;",
        "create table logs (n int primary key, line text);",
        "table public.logs held 8 rows, after up and down it holds 0",
    ),
    "a rollback that deletes more than was inserted": (
        "insert into shops (name) values ('new');",
        "truncate shops cascade;",
        "table public.orders held 8 rows, after up and down it holds 0",
    ),
    "values that end in other rows": (
        "select 1;",
        "update orders o set total = p.total from (select id, lag(total, 1, (select max(total) from orders))"
        " over (order by id) as total from orders) p where p.id = o.id;",
        "table public.orders: after up and down its values stand in other rows",
    ),
}


def test_a_rollback_that_loses_or_changes_data_is_found(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_base", BASE, BASE_DOWN)
    for number, (up, down, _) in enumerate(LOSSES.values(), 2):
        write(f"{number:04}_loss", up, down)
    found = prove()
    assert found.verdicts[0].result is Result.VERIFIED
    for name, (_, _, sentence), verdict in zip(LOSSES, LOSSES.values(), found.verdicts[1:], strict=True):
        assert [text[: len(sentence)] for text in texts(verdict)][:1] == [sentence], name
    assert not found.passed()
    # None of it shows in the catalog.
    assert {v.result for v in prove(rows=False).verdicts} == {Result.VERIFIED}


def test_what_a_column_of_the_migration_before_holds_is_looked_at(
    write: Write, prove: Callable[..., Verification]
) -> None:
    write("0001_base", BASE, BASE_DOWN)
    write("0002_new", "alter table logs add place text;", "alter table logs drop place;")
    write("0003_loses", "alter table logs drop place;", "alter table logs add place text;")
    assert texts(prove().verdicts[2]) == [
        "column public.logs.place loses values: 8 of 24 rows held one, after up and down none does"
    ]


HARMLESS = {
    "a new table": ("create table pets (id int primary key, shop bigint references shops);", "drop table pets;"),
    "a new column": ("alter table orders add paid boolean not null default false;", "alter table orders drop paid;"),
    "a column of the new table": ("alter table pets add name text;", "alter table pets drop name;"),
    "another name": ("alter table orders rename note to remark;", "alter table orders rename remark to note;"),
    "a wider type and back": (
        "alter table orders alter total type numeric(12, 4);",
        "alter table orders alter total type numeric(10, 4);",
    ),
    "a column filled, then NOT NULL": (
        "alter table pets add born date; update pets set born = '2020-01-01'; alter table pets alter born set not null",
        "alter table pets drop born;",
    ),
    "reference rows": (
        "insert into shops (name) values ('first'); insert into pets (id, born) values (1, '2021-01-01');",
        "delete from pets where id = 1; delete from shops where name = 'first';",
    ),
    "another order of columns": ("create view v as select id from pets;", "drop view v;"),
}


def test_what_only_up_has_goes_with_the_rollback_by_right(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_base", BASE, BASE_DOWN)
    for number, (up, down) in enumerate(HARMLESS.values(), 2):
        write(f"{number:04}_harmless", up, down)
    found = prove()
    assert [(v.result, v.findings, v.warnings, v.without_rows) for v in found.verdicts] == [
        (Result.VERIFIED, (), (), "")
    ] * (len(HARMLESS) + 1)
    assert found.rows is not None
    assert (found.rows.tables, found.rows.not_looked_at) == (4, {})
    assert found.passed(strict=True)


def test_a_rollback_that_refuses_later_rows_loses_nothing(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_base", BASE, BASE_DOWN)
    write(
        "0002_longer",
        "alter table orders alter code type varchar(20);",
        "alter table orders alter code type varchar(5);",
    )
    write("0003_later", "create table later (id int);", "drop table later;")
    found = prove()
    assert [v.result for v in found.verdicts] == [Result.VERIFIED] * 3
    assert [w.text for w in found.verdicts[1].warnings] == [
        "the rollback refuses rows that came after it (nothing is lost): 0002_longer.rollback.sql:1: "
        "value too long for type character varying(5)"
    ]


def test_what_no_table_with_rows_can_take_is_found(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_base", BASE, BASE_DOWN)
    write("0002_required", "alter table orders add paid boolean not null;", "alter table orders drop paid;")
    verdict = prove().verdicts[1]
    assert texts(verdict) == [
        "it cannot be applied to tables that hold rows: 0002_required.sql:1: "
        'column "paid" of relation "orders" contains null values'
    ]


def test_what_could_not_be_tried_with_rows_says_so(write: Write, prove: Callable[..., Verification]) -> None:
    write("0001_base", BASE, BASE_DOWN)
    never = "create table never (id int check (id * id < 0 and id is not null)); create table child (n int);"
    write("0002_never", never, "drop table never, child;")
    write(
        "0005_odd",
        "create type odd as (n int, at regrole); create table odds (id int, o odd);",
        "drop table odds; drop type odd",
    )
    write("0006_last", "select 1;", "select 1;")
    upper = "alter table orders add check (code ~ '^[A-Z]{5}$');"
    write("0003_codes", upper, "alter table orders drop constraint orders_code_check;")
    write("0004_later", "alter table orders drop note;", "alter table orders add note text;")
    found = prove()
    results = [v.result for v in found.verdicts]
    assert results[:4] == [Result.VERIFIED, Result.VERIFIED, Result.VERIFIED, Result.FINDINGS]
    assert found.verdicts[2].without_rows.startswith('0003_codes.sql:1: check constraint "orders_code_check"')
    assert found.rows is not None
    assert found.rows.not_looked_at == {
        "public.never": 'new row for relation "never" violates check constraint "never_id_check"',
        "public.odds.o": "it is NULL in all rows: its conditions let no value in, or none of its type is known",
    }
    assert (found.passed(), found.passed(strict=True)) == (False, False)


# ── the rows ────────────────────────────────────────────────────────────────────────────────────────────────
def test_rows_satisfy_what_a_schema_commonly_demands(conn: Connection) -> None:
    conn.execute("""
        create domain country as char(2) check (value ~ '^[A-Z]{2}$');
        create type address as (street text, number int);
        create table a (
            id int, kind text check (kind in ('x', 'y')), code country not null, address address, flags bit(3)[],
            size int check (size between 5 and 10), doc jsonb not null check (jsonb_typeof(doc -> 'items') = 'array'),
            sha bytea check (octet_length(sha) = 32), mail text check (mail like '%@%.%'), during tstzrange not null,
            done_at timestamptz, done_by text, state text not null check (state in ('open', 'done')),
            primary key (id, code), unique (kind, id),
            check ((state = 'done') = (done_at is not null)), check ((done_at is null) = (done_by is null)),
            upper_kind text generated always as (upper(kind)) stored, parent int, unique (id),
            foreign key (parent) references a (id)
        );
        create table b (
            a_id int not null, a_code country not null, n smallint not null, primary key (a_id, a_code, n),
            foreign key (a_id, a_code) references a on delete cascade
        );
        create table parts (at date not null, b_id int, b_code country, b_n smallint,
            foreign key (b_id, b_code, b_n) references b) partition by range (at);
        create table parts_old partition of parts for values from ('2019-01-01') to ('2019-02-01');
        create table odd_x (v text not null) partition by list (v);
        create table odd_1 partition of odd_x for values in ('one', 'two');
        create table egg (id int primary key, hen int not null);
        create table hen (id int primary key, egg int not null references egg);
        alter table egg add foreign key (hen) references hen deferrable initially deferred;
        create table form (id int primary key, live int);
        create table version (form_id int references form, n int, primary key (form_id, n));
        alter table form add foreign key (id, live) references version;
        create table "Höchst odd" ("a b" text not null, "select" int not null unique);
    """)
    filler = Filler(conn)
    filler.fill(snapshot(conn))
    assert filler.not_filled == {}
    assert filler.inserted == dict.fromkeys(
        (
            "public.a",
            "public.b",
            "public.parts",
            "public.odd_x",
            "public.egg",
            "public.hen",
            "public.form",
            "public.version",
            'public."Höchst odd"',
        ),
        ROWS,
    )
    assert conn.execute("select count(*) from parts where b_id is not null").fetchone() == (ROWS,)
    assert conn.execute("select count(live) from form").fetchone() == (ROWS,)
    filler.fill(snapshot(conn))  # nothing has changed
    assert filler.inserted["public.a"] == ROWS
    conn.execute("alter table b add extra text")
    filler.fill(snapshot(conn))
    assert conn.execute("select count(*), count(extra) from b").fetchone() == (2 * ROWS, ROWS)


def test_digests_of_columns_tell_which_has_changed(conn: Connection) -> None:
    conn.execute("create table t (a int, b text); insert into t values (1, 'x'), (2, null)")
    name = ("public", "t")
    before = contents(conn, {name: ("a", "b")})[name]
    assert (before.digest.rows, before.columns["b"].values, before.columns["b"].least) == (2, 1, "x")
    conn.execute("update t set b = 'y' where a = 2")
    after = contents(conn, {name: ("a", "b")})[name]
    assert after.columns["a"] == before.columns["a"]
    assert after.columns["b"] != before.columns["b"]
    assert after.digest != before.digest
