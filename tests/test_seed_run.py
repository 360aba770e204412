"""What a seed brings into a database, and what it leaves alone."""

from __future__ import annotations

import pytest

from pliers_db.errors import InputError, SeedRejected
from tests.fix_seed import COUNTRIES, SHARED, SHOP, Seeds, digest, versions


def test_every_row_arrives_in_the_order_of_the_references(shop_seeds: Seeds) -> None:
    outcome = shop_seeds.run()
    assert {table.table: table.added for table in outcome.tables} == {
        "shops": 2,
        "products": 2,
        "orders": 21,
        "categories": 2,
        "countries": 2,
        "texts": 2,
    }
    places = [table.table for table in outcome.tables]
    assert places.index("shops") < places.index("products") < places.index("orders")
    assert outcome.written


def test_values_of_every_kind_arrive_as_written(shop_seeds: Seeds) -> None:
    shop_seeds.run()
    row = shop_seeds.conn.execute(
        "select name, opened::text, settings, (select name from shops where code = 'harbor') from shops"
        " where code = 'corner'"
    ).fetchone()
    assert row == (
        "The Corner Shop",
        "2024-05-01",
        {"open": [8, 20], "@": "as it is", "owner": {"name": "Ada"}},
        "Harbor Goods",
    )
    tea = shop_seeds.conn.execute(
        "select price::text, colour, tags, sizes, label from products where name = 'Tea'"
    ).fetchone()
    assert tea == ("4.50", "green", ["hot", 'quoted "x", {y}'], [1, 2], "Tea!")
    countries = shop_seeds.conn.execute("select id, code, name, rate::text from countries order by id").fetchall()
    assert countries == [(1, "NO", "Norway", "0.250"), (2, "FR", "France, the Republic", None)]


def test_times_are_relative_to_as_of_never_to_now(shop_seeds: Seeds) -> None:
    shop_seeds.run()
    shop_seeds.conn.execute("set timezone = 'UTC'")
    times = shop_seeds.conn.execute(
        "select s.created_at::text, o.placed_at::text, o.shipped_at - o.placed_at"
        " from orders o, shops s where o.customer = 'ada@example.com' and s.code = 'harbor'"
    ).fetchone()
    assert times is not None
    assert times[:2] == ("2026-02-27 09:30:00+00", "2026-02-26 12:00:00+00")
    assert str(times[2]) == "2:30:00"
    # A default of now() gives way to as_of; nothing is later than as_of.
    assert shop_seeds.conn.execute("select distinct created_at::text from categories").fetchall() == [
        ("2026-03-01 12:00:00+00",)
    ]
    late = shop_seeds.conn.execute("select count(*) from orders where shipped_at > '2026-03-01 12:00+00'").fetchone()
    assert late == (0,)


def test_columns_that_nobody_wrote_keep_the_databases_defaults(shop_seeds: Seeds) -> None:
    shop_seeds.run()
    rope = shop_seeds.conn.execute("select price::text, colour, tags from products where name = 'Rope'").fetchone()
    assert rope == ("1.00", None, [])


def test_a_composite_reference_fills_its_other_columns(shop_seeds: Seeds) -> None:
    shop_seeds.run()
    shops = shop_seeds.conn.execute(
        "select distinct s.code from orders o join shops s on s.id = o.shop_id order by 1"
    ).fetchall()
    assert shops == [("corner",)]


def test_a_second_run_writes_nothing_and_says_so(shop_seeds: Seeds) -> None:
    shop_seeds.run()
    before = versions(shop_seeds.conn)
    wal = shop_seeds.conn.execute("select pg_current_wal_insert_lsn()").fetchone()
    outcome = shop_seeds.run()
    assert versions(shop_seeds.conn) == before
    assert not outcome.written
    assert [(t.present, t.added, t.changed, t.kept) for t in outcome.tables] == [
        (t.planned, 0, 0, 0) for t in outcome.tables
    ]
    written = shop_seeds.conn.execute("select pg_current_wal_insert_lsn() - %s", wal).fetchone()
    assert written is not None
    assert written[0] < 500_000  # the catalog entries of the temporary tables


def test_rows_that_people_changed_are_kept_and_named(shop_seeds: Seeds) -> None:
    shop_seeds.run()
    shop_seeds.conn.execute("update products set price = 9, tags = '{}' where name = 'Tea'")
    shop_seeds.conn.execute("delete from orders where customer = 'ada@example.com'")
    outcome = shop_seeds.run()
    products = next(t for t in outcome.tables if t.table == "products")
    assert (products.present, products.added, products.changed, products.kept) == (2, 0, 0, 1)
    assert [(d.row, d.columns) for d in products.differing] == [("tea", ("price", "tags"))]
    assert next(t for t in outcome.tables if t.table == "orders").added == 1
    assert shop_seeds.conn.execute("select price from products where name = 'Tea'").fetchone() == (9,)


def test_update_brings_changed_rows_back_and_touches_no_other(shop_seeds: Seeds) -> None:
    shop_seeds.run()
    fresh, before = digest(shop_seeds.conn), versions(shop_seeds.conn)
    shop_seeds.conn.execute("update products set price = 9 where name = 'Tea'")
    outcome = shop_seeds.run(update=True)
    assert (outcome.changed, outcome.kept, outcome.added) == (1, 0, 0)
    assert digest(shop_seeds.conn) == fresh
    after = versions(shop_seeds.conn)
    assert [t for t in after if after[t] != before[t]] == ["public.products"]
    assert len(set(after["public.products"]) - set(before["public.products"])) == 1


def test_rows_of_other_people_are_left_alone(shop_seeds: Seeds) -> None:
    shop_seeds.conn.execute("insert into shops (code, name) values ('mine', 'My Own')")
    shop_seeds.run()
    shop_seeds.run(update=True)
    assert shop_seeds.conn.execute("select count(*) from shops").fetchone() == (3,)


def test_the_next_row_of_the_application_gets_a_free_number(shop_seeds: Seeds) -> None:
    shop_seeds.run()
    shop_seeds.conn.execute("insert into categories (name) values ('new')")
    shop_seeds.conn.execute("insert into countries (code, name) values ('DE', 'Germany')")
    assert shop_seeds.conn.execute("select max(id) from categories").fetchone() == (3,)


def test_a_sequence_that_counts_down_or_is_ahead_is_left_alone(empty_seeds: Seeds) -> None:
    empty_seeds.conn.execute(
        "create table down (id int generated by default as identity (increment -1) primary key, n int);"
        " create table ahead (id int generated by default as identity primary key, n int);"
        " select setval('ahead_id_seq', 100)"
    )
    empty_seeds.write("dev/x.toml", "rows.down = [{id = 5, n = 1}]\nrows.ahead = [{n = 1}]")
    empty_seeds.run()
    assert empty_seeds.conn.execute("select nextval('down_id_seq'), nextval('ahead_id_seq')").fetchone() == (-1, 101)


def test_a_plan_compares_and_writes_nothing(shop_seeds: Seeds) -> None:
    shop_seeds.write("dev/30-more.sql", "delete from shops")
    outcome = shop_seeds.run(dry_run=True)
    assert outcome.added == 31
    assert not outcome.written
    assert set(digest(shop_seeds.conn).values()) == {"empty"}


def test_rows_are_recognised_by_another_key_where_the_spec_names_one(bare_shop: Seeds) -> None:
    bare_shop.conn.execute("insert into countries (id, code, name) values (77, 'NO', 'Norge')")
    bare_shop.write("dev/10-countries.csv", COUNTRIES)
    bare_shop.write("dev/20.toml", '[tables.countries]\nkey = ["code"]\n')
    outcome = bare_shop.run(update=True)
    assert (outcome.added, outcome.changed) == (1, 1)
    rows = bare_shop.conn.execute("select id, code, name from countries order by code").fetchall()
    assert [row[1:] for row in rows] == [("FR", "France, the Republic"), ("NO", "Norway")]
    assert rows[1][0] == 77
    assert not bare_shop.run(update=True).written


def test_an_sql_file_runs_after_the_rows_in_the_same_transaction(shop_seeds: Seeds) -> None:
    shop_seeds.write(
        "dev/90-extra.sql",
        """
        -- Everything below sees the rows of the seeds; a second run finds its own rows there.
        insert into shops (id, code, name, created_at)
        values ('00000000-0000-0000-0000-000000000001', 'late', 'Late',
                current_setting('pliers_seed.as_of')::timestamptz)
        on conflict do nothing;
        update products set colour = 'red' where name = 'Rope' and colour is distinct from 'red';
        """,
    )
    outcome = shop_seeds.run()
    assert dict(outcome.scripts[0].written) == {"public.shops": 1, "public.products": 1}
    assert dict(shop_seeds.run().scripts[0].written) == {}


def test_an_sql_file_cannot_end_the_transaction(shop_seeds: Seeds) -> None:
    shop_seeds.write("dev/90-bad.sql", "insert into shops (code, name) values ('x', 'x');\ncommit;\nselect 1;")
    with pytest.raises(SeedRejected, match=r"90-bad\.sql"):
        shop_seeds.run()
    assert set(digest(shop_seeds.conn).values()) == {"empty"}


def test_an_sql_file_names_the_line_that_failed(shop_seeds: Seeds) -> None:
    shop_seeds.write("dev/90-bad.sql", "-- it's \\ 'quoted' $$ %s\nselect 1;\nselect nothing_here;")
    with pytest.raises(SeedRejected, match=r"90-bad\.sql line 3"):
        shop_seeds.run()


def test_tables_that_refer_to_each_other_by_a_deferrable_key_are_filled(empty_seeds: Seeds) -> None:
    empty_seeds.conn.execute(
        """
        create table books (id uuid primary key, current int, title text not null);
        create table editions (book_id uuid references books, number int, primary key (book_id, number));
        alter table books add foreign key (id, current) references editions deferrable initially deferred;
        """
    )
    empty_seeds.write(
        "dev/books.toml",
        """
        [rows.books.atlas]
        title = "Atlas"
        current = 2
        [[rows.editions]]
        book_id = "@atlas"
        number = 2
        """,
    )
    assert empty_seeds.run().added == 2
    assert not empty_seeds.run().written


def test_a_circle_of_keys_that_are_checked_at_once_is_named(empty_seeds: Seeds) -> None:
    empty_seeds.conn.execute(
        """
        create table a (id int primary key, b_id int);
        create table b (id int primary key, a_id int references a);
        alter table a add constraint a_to_b foreign key (b_id) references b;
        """
    )
    empty_seeds.write("dev/x.toml", "rows.a = [{id = 1}]\nrows.b = [{id = 1}]")
    with pytest.raises(InputError, match="a -> b -> a") as caught:
        empty_seeds.run()
    assert "a.a_to_b" in caught.value.why


def test_a_table_of_another_schema_is_found_by_its_name_if_only_one_has_it(empty_seeds: Seeds) -> None:
    empty_seeds.conn.execute(
        """
        create schema "My App"; create schema other;
        create table "My App"."Order Line" (id int primary key, "from" text);
        create table "My App".twice (id int primary key);
        create table other.twice (id int primary key);
        """
    )
    empty_seeds.write(
        "dev/x.toml",
        """
        rows."Order Line" = [{id = 1, from = "x"}]
        rows."other.twice" = [{id = 5}]
        """,
    )
    assert [t.table for t in empty_seeds.run().tables] == ["Order Line", "other.twice"]
    empty_seeds.write("dev/y.toml", "rows.twice = [{id = 1}]")
    with pytest.raises(InputError, match="no table 'twice'"):
        empty_seeds.run()


def test_partitions_triggers_and_generated_columns_are_left_to_the_database(empty_seeds: Seeds) -> None:
    empty_seeds.conn.execute(
        """
        create table log (id int, at date not null, primary key (id, at)) partition by range (at);
        create table log_2026 partition of log for values from ('2026-01-01') to ('2027-01-01');
        create table log_rest partition of log default;
        create table touched (id int primary key, n int);
        create function touch() returns trigger language plpgsql as $$
            begin insert into touched values (new.id); return new; end $$;
        create trigger touch after insert on log for each row execute function touch();
        """
    )
    empty_seeds.write("seed.toml", "as_of = 2026-02-01")
    empty_seeds.write("dev/x.toml", 'rows.log = [{id = 1, at = "as_of"}, {id = 2, at = 2030-01-01}]')
    assert empty_seeds.run().added == 2
    assert empty_seeds.conn.execute("select count(*) from log_2026").fetchone() == (1,)
    assert empty_seeds.conn.execute("select count(*) from touched").fetchone() == (2,)
    assert not empty_seeds.run().written


def test_a_trigger_that_swallows_a_row_is_noticed(bare_shop: Seeds) -> None:
    bare_shop.conn.execute(
        """
        create function swallow() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger swallow before insert on countries for each row when (new.code = 'FR')
            execute function swallow();
        """
    )
    bare_shop.write("dev/countries.csv", COUNTRIES)
    with pytest.raises(SeedRejected, match="took 1 of 2 rows"):
        bare_shop.run()


@pytest.mark.pg15
def test_it_works_on_postgresql_15_without_pgvector(empty_seeds: Seeds, target15: object) -> None:
    from pliers_db.config import Environment, Target
    from pliers_db.db import connect, write_stamp

    assert isinstance(target15, Target)
    with connect(target15) as conn:
        write_stamp(conn, Environment.DEVELOPMENT)
        conn.execute(SHOP.replace("create extension if not exists vector;", "").replace("vector(64)", "float8[]"))
        old = Seeds(empty_seeds.root, target15, conn)
        old.write("seed.toml", SHARED)
        old.write("dev/20-countries.csv", COUNTRIES)
        old.write("dev/30.toml", '[rows.shops.corner]\ncode = "corner"\nname = "C"')
        assert old.run().added == 3
        assert not old.run().written
