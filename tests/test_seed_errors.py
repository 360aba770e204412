"""Bad input: what is wrong, with file, table, column and row; and nothing is written."""

from __future__ import annotations

import pytest

from pliers_db.errors import InputError, PliersError, SeedRejected
from tests.fix_seed import Seeds, digest

SHOP_ROW = 'rows.shops = [{id = "@corner", code = "corner", name = "Corner"}]\n'
CORNER = '[defaults]\nshop_id = "@corner"\n[rows.shops.corner]\ncode = "corner"\nname = "Corner"\n'
TEA = "[rows.products.tea]\nname = 'T'\n"

BAD = {
    # what is written: (code of the error, words of its message, words of its fix)
    "rows.shps = [{code = 'x'}]": ("seed.unknown-table", "no table 'shps' (x.toml: rows.shps #1)", "'shops'"),
    "rows.shops = [{cod = 'x'}]": (
        "seed.unknown-column",
        "shops has no column 'cod' (x.toml: rows.shops #1)",
        "'code'",
    ),
    "[tables.shops.columns]\nnme = 'x'\n" + SHOP_ROW.replace("rows.", "[[rows.shops]]\n#"): (
        "seed.unknown-column",
        "shops has no column 'nme' (x.toml: tables.shops)",
        "'name'",
    ),
    "[defaults]\nsop_id = '@corner'\n[rows.shops.corner]\ncode = 'c'\nname = 'C'": (
        "seed.bad-file",
        "no table of this file has a column 'sop_id'",
        "remove sop_id",
    ),
    "[rows.shops.corner]\ncode = 'c'": (
        "seed.missing-value",
        "x.toml: rows.shops.corner: shops.name has no value",
        "name",
    ),
    "[rows.shops.corner]\ncode = 'c'\nname = {null = true}": ("seed.missing-value", "shops.name has no value", "name"),
    "rows.shops = [{code = 'c', name = 'C', id = 5}]": ("seed.bad-value", "the number 5 does not go into", "uuid"),
    "rows.texts = [{body = 'b', meaning = [1]}]": ("seed.missing-value", "texts.id has no value", "Give id"),
    "[rows.texts.a]\nbody = 'b'\nmeaning = [1, 2]": (
        "seed.bad-value",
        "2 components, the column takes 64",
        "vector(64)",
    ),
    "[rows.texts.a]\nbody = 'b'\nmeaning = {embed = 'the of and'}": ("seed.bad-value", "no word that counts", "docs"),
    "[rows.texts.a]\nbody = {template = '{nothing}'}\nmeaning = [1]": ("seed.bad-value", "no column 'nothing'", "docs"),
    CORNER + "[rows.products.tea]\nname = 'T'\nprice = 'much'": ("seed.bad-value", "the text 'much'", "price"),
    CORNER + "[rows.products.tea]\nname = 'T'\nsizes = ['x']": ("seed.bad-value", "products.sizes", "integer[]"),
    CORNER + "[rows.products.tea]\nname = 'T'\nname2 = 1": ("seed.unknown-column", "'name2'", "'name'"),
    CORNER + "[rows.products.tea]\nname = 'T'\nlabel = 'x'": ("seed.bad-file", "label is a generated column", "Remove"),
    CORNER + "[rows.products.tea]\nname = 'T'\n[rows.orders.o]\nproduct_id = '@coffee'": (
        "seed.dangling-reference",
        "x.toml: rows.orders.o: orders.product_id refers to @coffee",
        "Add that row",
    ),
    CORNER + "[rows.products.coffee]\nname = 'T'\n[rows.orders.o]\nproduct_id = '@cofee'": (
        "seed.dangling-reference",
        "@cofee",
        "@coffee",
    ),
    CORNER + "[rows.products.tea]\nname = {copy = 'tags'}\ntags = [{copy = 'name'}]": (
        "seed.bad-value",
        "a list does not go",
        "",
    ),
    CORNER + "[rows.products.tea]\nname = {copy = 'colour'}\ncolour = {copy = 'name'}": (
        "seed.cycle",
        "depends on itself",
        "Write one",
    ),
    CORNER + "[rows.products.tea]\nname = {coyp = 'colour'}": ("seed.bad-value", "did you mean 'copy'", ""),
    CORNER + "[rows.products.tea]\nname = {choice = ['a'], tke = 'x'}": ("seed.bad-value", "no option 'tke'", ""),
    CORNER + TEA + "[rows.orders.o]\ncustomer = 'c'\nproduct_id = '@tea'\nplaced_at = 'as_off - 3d'": (
        "seed.bad-value",
        "no column 'as_off'",
        "",
    ),
    CORNER + TEA + "[rows.orders.o]\nplaced_at = 'as_of - 3 parsecs'\ncustomer = 'c'\nproduct_id = '@tea'": (
        "seed.bad-value",
        "x.toml: rows.orders.o: orders.placed_at: 'as_of - 3 parsecs' is not a time",
        "",
    ),
    "rows.shops = [{id = '@a', code = 'a', name = 'A'}, {id = '@a', code = 'b', name = 'B'}]": (
        "seed.bad-file",
        "Two rows of shops have the name 'a'",
        "another name",
    ),
    "rows.countries = [{id = 1, code = 'NO', name = 'N'}, {id = 1, code = 'FR', name = 'F'}]": (
        "seed.bad-file",
        "a second row of countries with id = 1",
        "key",
    ),
    "rows.shops = 5": ("seed.bad-file", "rows.shops is not a table", "docs/seeds.md"),
    "[rows.shops]\ncode = 'c'": ("seed.bad-file", "rows.shops.code is not a row", "[rows.shops.NAME]"),
    "[row.shops.a]\ncode = 'c'": ("seed.bad-file", "unknown entry 'row'", "'rows'"),
    "[repeat.shops.many]\nrow = 3": ("seed.bad-file", "unknown entry 'row'", "'rows'"),
    "[repeat.shops.many]\nrows = '3'": ("seed.bad-file", "rows is not the number of rows", "rows = 20"),
    "[repeat.shops.many]\neach = 'shops'": ("seed.cycle", "waits for it", "Write the rows"),
    "[rows.shops.'a b']\ncode = 'c'": ("seed.bad-file", "'a b' cannot name a row", "letters"),
    "rows.shops = [": ("seed.bad-file", "x.toml is not TOML", "Correct"),
    "[tables.countries]\nkey = 'code'\n" + SHOP_ROW.replace("rows.", "[[rows.shops]]\n#"): (
        "seed.bad-file",
        "key is not a list",
        'key = ["code"]',
    ),
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[-60:].replace("\n", " "))
def test_bad_input_is_named_and_nothing_is_written(text: str, bare_shop: Seeds) -> None:
    code, message, fix = BAD[text]
    bare_shop.write("dev/x.toml", text)
    with pytest.raises(PliersError) as caught:
        bare_shop.run()
    error = caught.value
    assert error.code == code, (error.message, error.why)
    assert message in error.message
    assert fix in error.fix
    assert error.exit_code == 2
    assert set(digest(bare_shop.conn).values()) == {"empty"}


REJECTED = {
    # a row the database does not take: (constraint, column, row, words of why)
    "amount = 0": ("orders_amount_positive", "", "bad", "orders_amount_positive"),
    "shipped_at = 'placed_at - 1d'": ("orders_shipped_later", "", "bad", "orders_shipped_later"),
    "id = '00000000-0000-0000-0000-00000000000x'": ("", "id", "bad", "invalid input syntax for type uuid"),
    "amount = 3000000000": ("", "amount", "bad", "out of range"),
    "product_id = '00000000-0000-0000-0000-000000000009'": ("orders_shop_id_product_id_fkey", "", "bad", "not present"),
}


@pytest.mark.parametrize("line", REJECTED)
def test_a_row_that_the_database_rejects_is_found_among_many(line: str, bare_shop: Seeds) -> None:
    constraint, column, row, why = REJECTED[line]
    order = "customer = 'c'\nplaced_at = 'as_of'\n"
    product = "" if line.startswith("product_id") else "product_id = '@tea'\n"
    bare_shop.write(
        "dev/x.toml",
        CORNER
        + "[rows.products.tea]\nname = 'T'\n"
        + "".join(f"[rows.orders.good{n}]\nproduct_id = '@tea'\n{order}" for n in range(20))
        + f"[rows.orders.bad]\n{order}{product}{line}\n"
        + "".join(f"[rows.orders.fine{n}]\nproduct_id = '@tea'\n{order}" for n in range(10)),
    )
    with pytest.raises(SeedRejected) as caught:
        bare_shop.run()
    error = caught.value
    assert (error.details["table"], error.details["constraint"], error.details["row"]) == ("orders", constraint, row)
    assert error.details["column"] == column
    assert error.message.startswith("x.toml: rows.orders.bad: orders")
    assert why in error.why
    assert set(digest(bare_shop.conn).values()) == {"empty"}


def test_a_unique_value_that_somebody_else_has_is_named_with_its_row(bare_shop: Seeds) -> None:
    bare_shop.conn.execute("insert into shops (code, name) values ('corner', 'Somebody else')")
    bare_shop.write("dev/x.toml", SHOP_ROW.replace("]\n", ", {id = '@second', code = 'second', name = 'S'}]\n"))
    with pytest.raises(SeedRejected) as caught:
        bare_shop.run()
    assert caught.value.details["constraint"] == "shops_code_key"
    assert caught.value.details["row"] == "corner"
    assert "(code)=(corner)" in caught.value.why


def test_a_value_outside_a_domain_an_enum_or_a_length_is_named(bare_shop: Seeds) -> None:
    for line, column in (("price = -1", "price"), ("colour = 'pink'", "colour"), (f"name = '{'x' * 41}'", "name")):
        name = "" if line.startswith("name") else "name = 'T'\n"
        bare_shop.write("dev/x.toml", CORNER + f"[rows.products.tea]\n{name}{line}\n")
        with pytest.raises(SeedRejected) as caught:
            bare_shop.run()
        assert caught.value.details["row"] == "tea", line
        assert column in (caught.value.details["column"], "price"), line


def test_a_deferred_constraint_is_checked_before_the_end(empty_seeds: Seeds) -> None:
    empty_seeds.conn.execute(
        "create table a (id int primary key, b int); create table b (id int primary key);"
        " alter table a add constraint a_b foreign key (b) references b deferrable initially deferred"
    )
    empty_seeds.write("dev/x.toml", "rows.a = [{id = 1, b = 7}]")
    with pytest.raises(SeedRejected) as caught:
        empty_seeds.run()
    assert caught.value.details["constraint"] == "a_b"
    assert set(digest(empty_seeds.conn).values()) == {"empty"}


def test_a_default_that_differs_each_time_must_be_written_out(empty_seeds: Seeds) -> None:
    empty_seeds.conn.execute("create table t (id int primary key, luck float8 not null default random())")
    empty_seeds.write("dev/x.toml", "rows.t = [{id = 1}]")
    with pytest.raises(InputError, match=r"t\.luck needs a value") as caught:
        empty_seeds.run()
    assert "random()" in caught.value.why


def test_a_table_without_a_key_asks_for_one(empty_seeds: Seeds) -> None:
    empty_seeds.conn.execute("create table t (code text, n int)")
    empty_seeds.write("dev/x.toml", "rows.t = [{code = 'a', n = 1}]")
    with pytest.raises(InputError, match="no primary key") as caught:
        empty_seeds.run()
    assert '[tables.t] key = ["…"]' in caught.value.fix
    empty_seeds.write("dev/y.toml", '[tables.t]\nkey = ["code"]')
    assert empty_seeds.run().added == 1
    assert empty_seeds.run().added == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("dev/countries.csv", "code,name\nNO\n", "line 2 has 1 values"),
        ("dev/countries.csv", "", "no line of column names"),
        ("dev/countries.csv", 'code,name\nNO,"x\n', "countries.csv cannot be read"),
        ("dev/countries.csv", "code,nam\nNO,x\n", "no column 'nam'"),
        ("dev/10-cuntries.csv", "code,name\nNO,x\n", "no table 'cuntries'"),
        ("seed.toml", "seed = 'x'", "seed is not a whole number"),
        ("seed.toml", "as_of = 'yesterday'", "as_of is not a point in time"),
        ("seed.toml", "sed = 1", "unknown entry 'sed'"),
    ],
)
def test_bad_files_of_other_kinds_are_named(name: str, text: str, message: str, bare_shop: Seeds) -> None:
    bare_shop.write("dev/x.toml", SHOP_ROW)
    bare_shop.write(name, text)
    with pytest.raises(InputError) as caught:
        bare_shop.run()
    assert message in caught.value.message


def test_a_file_that_is_not_utf8_is_named(bare_shop: Seeds) -> None:
    bare_shop.write("dev/x.toml", SHOP_ROW).write_bytes(b"# caf\xe9\n")
    with pytest.raises(InputError, match=r"x\.toml cannot be read"):
        bare_shop.run()


def test_no_seeds_for_an_environment_says_where_they_would_stand(bare_shop: Seeds) -> None:
    with pytest.raises(InputError) as caught:
        bare_shop.run()
    assert caught.value.code == "seed.none"
    assert "seeds" in caught.value.why


def test_one_environment_under_two_names_is_refused(bare_shop: Seeds) -> None:
    bare_shop.write("dev/x.toml", SHOP_ROW)
    bare_shop.write("development/x.toml", SHOP_ROW)
    with pytest.raises(InputError, match="stand in two folders"):
        bare_shop.run()


def test_a_database_without_tables_is_sent_to_migrate(empty_seeds: Seeds) -> None:
    empty_seeds.write("dev/x.toml", SHOP_ROW)
    with pytest.raises(InputError, match="no tables yet") as caught:
        empty_seeds.run()
    assert caught.value.fix == "pliers-db migrate up --env development"
