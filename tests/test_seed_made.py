"""`[fill]`: rows that nobody wrote are made once, remembered, proved on each run, and taken away on demand."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from pliers_db.db import Database
from pliers_db.errors import BadSeedFile, CannotFill, InputError, SeedRejected
from pliers_db.seed import Mode, Options, clean, editors, export, init, status, verify
from pliers_db.seed.generators import GENERATORS
from tests.fix_cli import Cli, url_of
from tests.fix_schemas import SCHEMAS
from tests.fix_seed import Seeds, digest, versions

FILL = """
[fill.shops]
rows = 4

[fill.products]
rows = "3 per shops"
columns.colour = {choice = {red = 3, green = 1}}

[fill.orders]
rows = {small = 30, large = 90}
columns.customer = {person = "email"}
columns.shipped_at = {maybe = {after = "placed_at", by = ["1h", "2d"]}, chance = 0.5}

[fill.categories]
rows = 5
[fill.countries]
rows = 3
[fill.texts]
rows = 2
columns.meaning = {embed = "{body}"}
"""


@pytest.fixture
def made(bare_shop: Seeds) -> Seeds:
    """The shop's schema, and a spec that makes rows for all of its tables."""
    bare_shop.write("dev/50-fill.toml", FILL)
    return bare_shop


def test_rows_are_made_by_rule_and_by_the_schema(made: Seeds) -> None:
    outcome = made.run()
    assert {t.table: t.added for t in outcome.tables} == {
        "shops": 4,
        "products": 12,
        "orders": 30,
        "categories": 5,
        "countries": 3,
        "texts": 2,
    }
    colours = made.conn.execute(
        "select array_agg(distinct colour::text order by colour::text) from products"
    ).fetchone()
    assert colours == (["green", "red"],)
    row = made.conn.execute(
        "select count(*) filter (where shipped_at > placed_at), count(*) filter (where customer like '%@example.%')"
        " from orders join products using (shop_id) where product_id = products.id"
    ).fetchone()
    assert row is not None
    assert 5 <= row[0] <= 25
    assert row[1] == 30


def test_a_second_run_changes_nothing_and_proves_it_by_digest(made: Seeds) -> None:
    first = made.run()
    before = versions(made.conn)
    again = made.run()
    assert not again.written
    assert versions(made.conn) == before
    digests = {t.table: t.digest for t in again.tables}
    assert all(digests.values())
    assert digests == {t.table: t.digest for t in first.tables}


def test_sql_files_run_after_the_rows_are_made_and_find_their_tables(made: Seeds) -> None:
    made.conn.execute("create schema other; create table other.log (at timestamptz, zone text)")
    made.conn.execute(f"alter database {made.target.dbname} set search_path to other, public")
    made.write("dev/90.sql", "insert into log select max(placed_at), current_setting('timezone') from orders")
    made.run()
    zone = made.conn.execute("select current_setting('timezone')").fetchone()
    assert made.conn.execute("select zone from other.log where at is not null").fetchone() == zone


def test_two_databases_get_the_same_rows_whatever_their_number_of_tables(made: Seeds) -> None:
    made.run()
    first = digest(made.conn)
    assert sum(clean_all(made).values()) == 56
    assert set(digest(made.conn).values()) == {"empty"}
    made.conn.execute("alter table orders add remark text; create table more (id int primary key)")
    made.run(options=Options(skip=["texts"]))
    made.conn.execute("alter table orders drop remark")
    second = digest(made.conn)
    for table in ("shops", "products", "orders"):
        assert second[f"public.{table}"] == first[f"public.{table}"]  # a new column changes no other


def clean_all(seeds: Seeds) -> dict[str, int]:
    with Database(seeds.target) as database:
        return clean(database, seeds.settings())


def test_more_rows_later_leave_the_first_ones_alone(made: Seeds) -> None:
    made.run()
    before = made.conn.execute("select array_agg(t::text order by t::text) from orders t").fetchone()
    outcome = made.run(options=Options(rows={"orders": 50}))
    assert next(t for t in outcome.tables if t.table == "orders").added == 20
    after = made.conn.execute("select array_agg(t::text order by t::text) from orders t").fetchone()
    assert before is not None
    assert after is not None
    assert set(before[0]) < set(after[0])
    assert made.run(options=Options(mode=Mode.APPEND, only=["countries"])).added == 3


def test_scales_multiply_numbers_or_choose_them(made: Seeds) -> None:
    with_scale = {t.table: t.planned for t in made.run(dry_run=True, options=Options(scale="large")).tables}
    assert (with_scale["shops"], with_scale["orders"]) == (400, 90)
    with pytest.raises(BadSeedFile, match="no number of rows for the scale medium"):
        made.run(dry_run=True, options=Options(scale="medium"))


def test_changed_and_missing_rows_are_found_and_kept(made: Seeds) -> None:
    made.run()
    made.conn.execute("update countries set name = 'Elsewhere' where id = 1; delete from categories where id = 5")
    outcome = made.run()
    assert not outcome.written
    found = {t.table: [d.row for d in t.differing] for t in outcome.tables if t.differing}
    assert found == {"countries": ["(1)"], "categories": ["1 rows are gone"]}
    with Database(made.target) as database:
        verified = verify(database, made.settings())
    assert not verified.good
    assert {f.table for f in verified.made if not f.good} == {"public.countries", "public.categories"}


def test_clean_takes_away_what_was_made_and_nothing_else(made: Seeds) -> None:
    made.conn.execute("insert into countries (code, name) values ('NO', 'Norway')")
    made.run()
    with Database(made.target) as database:
        assert {e.table: e.rows for e in status(database)}["public.orders"] == 30
    clean_all(made)
    assert made.conn.execute("select name from countries").fetchall() == [("Norway",)]
    with Database(made.target) as database:
        assert status(database) == []


def test_clean_refuses_to_take_rows_of_others_along(made: Seeds) -> None:
    made.conn.execute("create table visits (shop_id uuid references shops on delete cascade)")
    made.run()
    made.conn.execute("insert into visits select id from shops limit 1")
    before = digest(made.conn)
    with pytest.raises(SeedRejected, match="1 rows of visits refer to seeded rows of shops"):
        clean_all(made)
    with pytest.raises(SeedRejected, match="visits"):
        made.run(options=Options(mode=Mode.RESET))
    assert digest(made.conn) == before


def test_a_reset_of_one_table_does_not_take_made_rows_of_another_along(made: Seeds) -> None:
    made.conn.execute("alter table products drop constraint products_shop_id_fkey")
    made.conn.execute("alter table products add foreign key (shop_id) references shops on delete cascade")
    made.run()
    with pytest.raises(SeedRejected, match="12 rows of products refer to seeded rows of shops"):
        made.run(options=Options(mode=Mode.RESET, only=["shops"]))


def test_clean_refuses_to_cascade_from_written_rows_too(shop_seeds: Seeds) -> None:
    shop_seeds.conn.execute("create table visits (shop_id uuid references shops on delete cascade)")
    shop_seeds.run()
    shop_seeds.conn.execute("insert into visits select id from shops limit 1")
    with pytest.raises(SeedRejected, match="visits"):
        clean_all(shop_seeds)
    shop_seeds.conn.execute("delete from visits")
    assert sum(clean_all(shop_seeds).values()) == 31


def test_reset_makes_them_anew_from_another_seed(made: Seeds) -> None:
    made.run()
    first = digest(made.conn)
    other = made.run(options=Options(mode=Mode.RESET, seed=99))
    assert other.added == 56
    assert digest(made.conn)["public.shops"] != first["public.shops"]
    changed = made.run()
    assert "made by other rules than those of today (--mode reset)" in [
        d.row for t in changed.tables for d in t.differing
    ]


def test_what_cannot_be_made_is_all_named_before_anything_is_written(made: Seeds) -> None:
    made.conn.execute(
        "create table odd (id int primary key, body text check (md5(body) = 'x') not null);"
        " create table flags (on_ boolean primary key)"
    )
    made.write("dev/60.toml", "fill.odd.rows = 1\nfill.flags.rows = 9")
    with pytest.raises(CannotFill) as caught:
        made.run()
    assert len(caught.value.details["problems"]) == 2
    assert any(p.startswith("odd: no row met odd_body_check") for p in caught.value.details["problems"])
    assert any("flags: 2 of 9 rows: flags_pkey leaves no more values" in p for p in caught.value.details["problems"])
    assert set(digest(made.conn).values()) == {"empty"}


def test_a_trial_writes_nothing_and_finds_what_only_the_database_knows(made: Seeds) -> None:
    assert made.run(options=Options(trial=True)).added == 56
    assert set(digest(made.conn).values()) == {"empty"}
    made.conn.execute(
        "create function no() returns trigger language plpgsql as $$ begin raise exception 'closed'; end $$;"
        " create trigger no before insert on texts for each row execute function no()"
    )
    with pytest.raises(SeedRejected, match="texts: a made row was rejected"):
        made.run(options=Options(trial=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fill.shop.rows = 1", "no table 'shop'"),
        ("fill.shops.rows = -1", "rows is not a number of rows"),
        ("fill.shops.rows = {tiny = 1}", "unknown entry 'tiny'"),
        ("fill.shops = {rows = 1, columns.nam = 1}", "no column 'nam'"),
        ("fill.shops.rows = '2 per orders'\nfill.orders.rows = '2 per shops'", "depends on itself"),
        ("fill.products = {rows = 1, columns.label = 'x'}", "generated column"),
        ("fill.products = {rows = 1, columns.price = 'much'}", "does not go into a column of type"),
        ("fill.shops = {rows = 1, columns.name = {null = true}}", "shops.name has no value"),
    ],
)
def test_a_spec_that_cannot_be_is_an_error_with_its_place(bare_shop: Seeds, text: str, said: str) -> None:
    bare_shop.write("dev/50.toml", text)
    with pytest.raises(InputError, match=said):
        bare_shop.run()
    assert set(digest(bare_shop.conn).values()) == {"empty"}


def test_export_gives_the_rows_of_a_run_without_leaving_any(made: Seeds) -> None:
    pieces: list[bytes] = []
    with Database(made.target) as database:
        export(database, made.settings(), "countries", pieces.append)
        exported = list(csv.DictReader(io.StringIO(b"".join(pieces).decode())))
        statements: list[bytes] = []
        export(database, made.settings(), "countries", statements.append, form="sql")
    assert set(digest(made.conn).values()) == {"empty"}
    made.conn.execute(b"".join(statements))
    rows = made.conn.execute(
        "select id::text, code, name, coalesce(rate::text, '') from countries order by id"
    ).fetchall()
    assert [tuple(row.values()) for row in exported] == rows
    made.conn.execute("delete from countries")
    made.run()
    assert (
        made.conn.execute("select id::text, code, name, coalesce(rate::text, '') from countries order by id").fetchall()
        == rows
    )


@pytest.mark.parametrize("file", sorted(SCHEMAS.glob("*.sql")), ids=lambda file: file.stem)
def test_init_writes_a_spec_that_runs_as_it_is(empty_seeds: Seeds, file: Path) -> None:
    empty_seeds.conn.execute(file.read_bytes())
    with Database(empty_seeds.target) as database:
        written = init(database, empty_seeds.settings(), rows=6)
        assert [p.partition(":")[0] for p in written.problems] == (["empty_parts"] if file.stem == "partitions" else [])
        with pytest.raises(BadSeedFile, match="there already"):
            init(database, empty_seeds.settings())
    text = empty_seeds.root / "seeds" / "dev" / "50-fill.toml"
    text = text if text.exists() else empty_seeds.root / "seeds" / "development" / "50-fill.toml"
    wanted = {name: body["rows"] for name, body in tomllib.loads(text.read_text())["fill"].items()}
    assert len(wanted) == written.tables
    for (column,) in empty_seeds.conn.execute(
        "select attname from pg_attribute a join pg_class c on c.oid = attrelid and relkind in ('r', 'p')"
        " and not relispartition where relnamespace::regnamespace::text in ('public', 'legacy') and attnum > 0"
        " and relname <> 'empty_parts'"
    ):
        assert column.replace('"', '\\"') in text.read_text()
    outcome = empty_seeds.run()
    assert {t.table: t.added for t in outcome.tables} == wanted
    assert not empty_seeds.run().written


def test_editors_get_a_schema_that_knows_every_generator_and_the_projects_own_files() -> None:
    found = editors.schema()
    words = {one["required"][0]: set(one["properties"]) for one in found["$defs"]["generator"]["anyOf"]}
    assert words == {word: {word, *one.options} for word, one in GENERATORS.items()}
    for file in Path(__file__).parent.parent.joinpath("seeds").rglob("*.toml"):
        document = tomllib.loads(file.read_text())
        assert set(document) <= set(found["properties"])
        for part in ("tables", "repeat"):
            known = found["properties"][part]["additionalProperties"]
            known = known["additionalProperties"] if part == "repeat" else known
            bodies = document.get(part, {}).values()
            for body in [inner for b in bodies for inner in b.values()] if part == "repeat" else bodies:
                assert set(body) <= set(known["properties"])


@pytest.mark.slow
def test_killed_anywhere_it_leaves_nothing_and_then_makes_the_same_rows(made: Seeds) -> None:
    made.write("dev/50-fill.toml", FILL.replace("small = 30", "small = 900").replace("rows = 4", "rows = 40"))
    cli = Cli(made.root, {"DATABASE_URL": url_of(made.target)})
    made.run()
    whole = digest(made.conn)
    for number in range(4):
        clean_all(made)
        process = subprocess.Popen(
            [sys.executable, "-m", "pliers_db", "seed", "--env", "dev", "--quiet"], cwd=cli.folder, env=cli.environ()
        )
        time.sleep(0.5 + 0.25 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = set(digest(made.conn).values())
        assert found == {"empty"} or digest(made.conn) == whole
        made.run()
        assert digest(made.conn) == whole


def test_the_commands_say_what_they_did(made: Seeds) -> None:
    cli = Cli(made.root, {"DATABASE_URL": url_of(made.target)})
    assert cli("seed", "check", "--env", "dev").out.splitlines()[-1].startswith("Good: 56 rows were taken")
    result = cli("seed", "run", "--env", "dev", "--rows", "countries=4", "--skip", "texts", "--json")
    assert result.code == 0, result.err
    assert (result.json["added"], result.json["trial"]) == (55, False)
    assert cli("seed", "status", "--env", "dev").out.splitlines()[-1] == "55 rows made in 5 tables"
    assert cli("seed", "verify", "--env", "dev").out.splitlines() == ["55 rows are as they were seeded"]
    made.conn.execute("update countries set name = 'x' where id = 2")
    found = cli("seed", "verify", "--env", "dev")
    assert found.code == 1
    assert "public.countries: 0 of 4 gone, 1 changed" in found.out
    assert cli("seed", "export", "countries", "--env", "dev").out.splitlines()[0] == "id,code,name,rate"
    assert cli("seed", "clean", "--env", "dev").out.splitlines()[-1] == "55 rows deleted"
    assert cli("seed", "run", "--env", "dev", "--rows", "countries").code == 2
