"""Every value is a function of the files: the same on every machine, in every order, whatever else is there."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliers_db.config import Environment
from pliers_db.errors import InputError
from pliers_db.seed.embed import embed
from pliers_db.seed.generators import GENERATORS, canonical
from pliers_db.seed.hashing import Draw, key_of, mix, uuid7, uuid8
from pliers_db.seed.plan import Plan, make_plan
from pliers_db.seed.schema import Column, ForeignKey, Schema, Table
from pliers_db.seed.spec import read_spec
from pliers_db.seed.times import evaluate, is_expression, parse_duration
from tests.fix_seed import Seeds, digest

AS_OF = datetime(2026, 3, 1, 12, tzinfo=UTC)


def column(name: str, base: str = "text", category: str = "S", **more: Any) -> Column:
    facts: dict[str, Any] = {
        **dict.fromkeys(("element", "dimensions", "default", "sequence")),
        **dict.fromkeys(("not_null", "identity", "generated", "default_varies"), False),
    }
    return Column(name=name, type=base, base=base, category=category, **{**facts, **more})


COLUMNS = {
    "id": column("id", "uuid", "U"),
    "text": column("text"),
    "number": column("number", "int4", "N"),
    "price": column("price", "numeric", "N"),
    "flag": column("flag", "bool", "B"),
    "at": column("at", "timestamptz", "D"),
    "doc": column("doc", "jsonb", "U"),
    "tags": column("tags", "_text", "A", element="text"),
    "v": column("v", "vector", "U", dimensions=16),
}
SCHEMA = Schema(
    {
        "public.item": Table("public", "item", "item", COLUMNS, ("id",)),
        "public.part": Table(
            "public",
            "part",
            "part",
            {"id": COLUMNS["id"], "item_id": column("item_id", "uuid", "U"), "text": COLUMNS["text"]},
            ("id",),
            (ForeignKey("part_item", ("item_id",), "public.item", ("id",)),),
        ),
    }
)


def plan_of(folder: Path, text: str, shared: str = "seed = 7\nas_of = 2026-03-01T12:00:00Z\n") -> Plan:
    (folder / "dev").mkdir(parents=True, exist_ok=True)
    (folder / "seed.toml").write_text(shared)
    (folder / "dev" / "x.toml").write_text(text)
    return make_plan(read_spec(folder, Environment.DEVELOPMENT), SCHEMA)


def rows(plan: Plan, table: str = "item") -> dict[str, dict[str, str | None]]:
    """Encoded rows by name; planned without any database."""
    data = next(data for data in plan.tables if data.table.table == table)
    return {record.name: dict(zip(data.columns, record.values, strict=True)) for record in data.records}


def value(folder: Path, name: str, expression: str, *, rows_: int = 1) -> list[str | None]:
    text = f"[repeat.item.x]\nrows = {rows_}\ncolumns.{name} = {expression}\n"
    return [row[name] for row in rows(plan_of(folder, text)).values()]


# ── the ground: hashes ──────────────────────────────────────────────────────────────────────────────────────
def test_hashes_are_what_they_always_were() -> None:
    """Golden values: a change here changes every seeded database and needs a new GENERATOR_VERSION."""
    assert mix(1) == 0x5692161D100B05E5
    assert key_of(1, 7, "public.item", "text", "x") == key_of("1", "7", "public.item", "text", "x")
    assert key_of("a", "bc") != key_of("ab", "c")
    assert Draw(1, 0).bits() == mix(1 + 0x9E3779B97F4A7C15)
    assert [Draw(42, n).below(100) for n in range(8)] == GOLDEN_BELOW
    assert str(uuid8(1, 7, "public.item", "id", "first")) == GOLDEN_UUID8
    assert str(uuid7(1_772_366_400_000, 1, 7, "public.item", "id", "first")) == GOLDEN_UUID7


GOLDEN_BELOW = [74, 15, 27, 34, 3, 86, 21, 80]
GOLDEN_UUID8 = "5eeda58d-9b7c-843e-9459-6125d5786547"
GOLDEN_UUID7 = "019ca945-0a00-743e-9459-6125d5785eed"


@given(st.text(), st.integers(0, 2**48 - 1))
def test_made_ids_are_valid_and_marked(name: str, milliseconds: int) -> None:
    eight, seven = uuid8("t", name), uuid7(milliseconds, "t", name)
    assert (eight.version, seven.version) == (8, 7)
    assert eight.variant == seven.variant == "specified in RFC 4122"
    assert eight.hex[:4] == "5eed"
    assert seven.hex[-4:] == "5eed"
    assert seven.int >> 80 == milliseconds


@given(st.integers(0, 2**64 - 1), st.integers(1, 10**6))
def test_a_draw_stays_in_its_range_and_answers_the_same(key: int, limit: int) -> None:
    draw = Draw(key, 3)
    assert 0 <= draw.below(limit) < limit
    assert draw.below(limit) == draw.below(limit)
    assert draw.chance(1.0)
    assert not draw.chance(0.0)


def test_draws_are_spread_evenly() -> None:
    counts = Counter(Draw(key_of("spread"), n).below(10) for n in range(20_000))
    assert all(1800 < count < 2200 for count in counts.values())


# ── independence ────────────────────────────────────────────────────────────────────────────────────────────
MANY = """
[repeat.item.a]
rows = 30
columns.text = {person = "name"}
columns.number = {int = [1, 1000]}
columns.at = {between = ["as_of - 30d", "as_of"]}
"""


def test_the_same_files_give_the_same_rows_in_any_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.test_seed_values import MANY, plan_of\n"
        "print([d.records for d in plan_of(Path(sys.argv[1]), MANY).tables])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / seed)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(outputs) == 1


def test_another_column_group_file_or_count_changes_no_value(tmp_path: Path) -> None:
    before = rows(plan_of(tmp_path, MANY))
    more = MANY.replace("rows = 30", "rows = 50") + "columns.price = {int = [1, 9]}\n[repeat.item.b]\nrows = 3\n"
    after = rows(plan_of(tmp_path, "[rows.item.first]\ntext = 'x'\n" + more))
    for name, row in before.items():
        assert {column: after[name][column] for column in row} == row


def test_another_seed_gives_other_ids_and_values(tmp_path: Path) -> None:
    one = rows(plan_of(tmp_path, MANY))
    two = rows(plan_of(tmp_path, MANY, shared="seed = 8\nas_of = 2026-03-01T12:00:00Z\n"))
    assert not {row["id"] for row in one.values()} & {row["id"] for row in two.values()}
    assert [row["number"] for row in one.values()] != [row["number"] for row in two.values()]


def test_rows_made_for_each_other_row_do_not_depend_on_their_number(tmp_path: Path) -> None:
    each = '[repeat.part.p]\neach = "item"\ncolumns.text = {words = [3, 5]}\n'
    one = rows(plan_of(tmp_path, "[rows.item.b]\n" + each), "part")
    two = rows(plan_of(tmp_path, "[rows.item.a]\n[rows.item.b]\n" + each), "part")
    assert two["p-b"] == one["p-b"]


def test_two_fresh_databases_hold_the_same_rows(shop_seeds: Seeds, server: Any) -> None:
    from pliers_db.db import connect, write_stamp
    from tests.fix_seed import SHOP

    shop_seeds.run()
    name = f"twin_{os.getpid()}"
    shop_seeds.conn.execute(f"create database {name}")
    try:
        with connect(server.target(name)) as conn:
            write_stamp(conn, Environment.DEVELOPMENT)
            conn.execute(SHOP)
            conn.execute("set timezone = 'Asia/Tokyo'")
            Seeds(shop_seeds.root, server.target(name), conn).run()
            conn.execute("reset timezone")
            assert digest(conn) == shop_seeds.digest()
    finally:
        shop_seeds.conn.execute(f"drop database {name} with (force)")


# ── generators ──────────────────────────────────────────────────────────────────────────────────────────────
def test_choice_follows_its_weights(tmp_path: Path) -> None:
    counts = Counter(value(tmp_path, "text", "{choice = {a = 8, b = 2, never = 0}}", rows_=2000))
    assert set(counts) == {"a", "b"}
    assert 1500 < counts["a"] < 1700


def test_cycle_takes_one_after_the_other(tmp_path: Path) -> None:
    assert value(tmp_path, "text", '{cycle = ["a", "b", "c"]}', rows_=5) == ["a", "b", "c", "a", "b"]


def test_some_takes_several_in_their_order_none_twice(tmp_path: Path) -> None:
    for found in value(tmp_path, "tags", '{some = ["a", "b", "c", "d"], count = [2, 3]}', rows_=50):
        items = str(found).strip("{}").replace('"', "").split(",")
        assert items == sorted(set(items))
        assert 2 <= len(items) <= 3


def test_numbers_reach_both_ends_and_no_further(tmp_path: Path) -> None:
    assert {int(str(x)) for x in value(tmp_path, "number", "{int = [-2, 2]}", rows_=200)} == {-2, -1, 0, 1, 2}
    prices = {float(str(x)) for x in value(tmp_path, "price", "{number = [0, 0.5], places = 1}", rows_=200)}
    assert prices == {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}


def test_after_is_never_later_than_the_present(tmp_path: Path) -> None:
    text = (
        '[repeat.item.x]\nrows = 200\ncolumns.at = {after = "doc.at", by = ["1h", "9d"]}\n'
        'columns.doc = {json = {at = "2026-02-26T12:00:00Z"}}\n'
    )
    times = [datetime.fromisoformat(str(row["at"])) for row in rows(plan_of(tmp_path, text)).values()]
    assert all(datetime(2026, 2, 26, 13, tzinfo=UTC) <= time <= AS_OF for time in times)
    assert len(set(times)) > 150


def test_a_person_is_the_same_in_the_whole_row(tmp_path: Path) -> None:
    text = (
        '[repeat.item.x]\nrows = 50\ncolumns.text = {person = "name"}\n'
        'columns.doc = {json = {mail = {person = "email"}}}\n'
    )
    for row in rows(plan_of(tmp_path, text)).values():
        first, last = str(row["text"]).lower().split(" ")
        assert f'"{first}.{last}@example.' in str(row["doc"])


def test_made_addresses_are_reserved(tmp_path: Path) -> None:
    import re

    for phone in value(tmp_path, "text", "{phone = true}", rows_=300):
        assert re.fullmatch(r"\+1 \d{3} 555 01\d\d", str(phone))
    for address in value(tmp_path, "text", "{ip = true}", rows_=300):
        assert re.match(r"(192\.0\.2|198\.51\.100|203\.0\.113)\.\d+$", str(address))
    for url in value(tmp_path, "text", "{url = true}", rows_=50):
        assert str(url).startswith("https://www.example.com/")
    for mail in value(tmp_path, "text", '{person = "email"}', rows_=300):
        assert re.fullmatch(r"[a-z]+\.[a-z]+@example\.(com|org|net)", str(mail))


def test_a_document_may_look_like_a_generator(tmp_path: Path) -> None:
    """In a row a table of a JSON column is a document; in a rule `literal` says so."""
    text = (
        "[rows.item.a]\ndoc = {choice = [1, 2], at = 2026-01-01, who = '@item/a', mail = '@home', plain = '@@item/a'}\n"
        "[repeat.item.b]\nrows = 1\ncolumns.doc = {literal = {choice = [1, 2]}}\n"
    )
    found = rows(plan_of(tmp_path, text))
    assert found["a"]["doc"] == (
        f'{{"choice": [1, 2], "at": "2026-01-01", "who": "{found["a"]["id"]}", "mail": "@home", "plain": "@item/a"}}'
    )
    assert found["b-1"]["doc"] == '{"choice": [1, 2]}'


def test_a_pool_of_the_project_comes_before_the_locales(tmp_path: Path) -> None:
    text = '[repeat.item.x]\nrows = 9\ncolumns.text = {template = "{n} {pool:city}"}\n[pools]\ncity = ["Oslo"]\n'
    assert [row["text"] for row in rows(plan_of(tmp_path, text)).values()] == [f"{n} Oslo" for n in range(1, 10)]


BAD_TYPES: list[Any] = [None, True, -1, 1.5, "", "x", "@x", [], [1], ["a", "b"], [2, 1], {}, {"a": 1}, {"a": {}}, [[]]]


@pytest.mark.parametrize("word", sorted(GENERATORS))
def test_no_argument_or_option_makes_a_generator_fall_over(word: str, tmp_path: Path) -> None:
    """Whatever stands there: a value, or an error that names the place. Never a traceback."""
    tried = [({word: argument}, name) for argument in BAD_TYPES for name in ("text", "doc", "v", "at")]
    for option in GENERATORS[word].options:
        tried += [({word: argument, option: bad}, "doc") for argument in BAD_TYPES for bad in BAD_TYPES]
    for generator, name in tried:
        message = "item"
        try:
            plan_of(tmp_path, f"[repeat.item.x]\nrows = 1\ncolumns.{name} = {toml(generator)}\n")
        except InputError as error:
            message = error.message
        assert "item" in message, generator


def toml(item: Any) -> str:
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{key} = {toml(value)}" for key, value in item.items()) + "}"
    if isinstance(item, list):
        return "[" + ", ".join(map(toml, item)) + "]"
    if item is None:
        return "{null = true}"
    return repr(item).lower() if isinstance(item, bool) else repr(item)


# ── times ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as_of", "2026-03-01T12:00:00+00:00"),
        ("as_of - 3d", "2026-02-26T12:00:00+00:00"),
        ("as_of-3d", "2026-02-26T12:00:00+00:00"),
        ("as_of - 1w + 2h 30m", "2026-02-22T14:30:00+00:00"),
        ("as_of - 3d at 09:30", "2026-02-26T09:30:00+00:00"),
        ("as_of + 90s", "2026-03-01T12:01:30+00:00"),
        ("as_of at 00:00:05", "2026-03-01T00:00:05+00:00"),
    ],
)
def test_relative_times(text: str, expected: str) -> None:
    assert is_expression(text)
    assert evaluate(text, lambda path: AS_OF).isoformat() == expected


@pytest.mark.parametrize(
    "text", ["2026-01-01", "2026-01-01T10:00:00Z", "infinity", "as_of - 3", "as_of - 3x", "3d", ""]
)
def test_what_is_no_relative_time_is_left_to_postgresql(text: str) -> None:
    assert not is_expression(text)


def test_spans_of_time() -> None:
    assert parse_duration("2h 30m").total_seconds() == 9000
    assert parse_duration("1w1d").total_seconds() == 8 * 86400
    for bad in ("", "3", "3 parsecs", "h", "-3d", "1mo"):
        with pytest.raises(ValueError, match="span of time"):
            parse_duration(bad)


# ── vectors and documents ───────────────────────────────────────────────────────────────────────────────────
def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_texts_with_common_words_are_near_each_other() -> None:
    loan = embed("How often can I renew a loan?", 384)
    renew = embed("May I renew loans by telephone?", 384)
    printer = embed("The printer on the second floor is broken", 384)
    assert math.isclose(cosine(loan, loan), 1)
    assert cosine(loan, renew) > 0.4
    assert abs(cosine(loan, printer)) < 0.2


def test_a_vector_is_the_same_to_the_last_bit() -> None:
    """Golden: whole numbers, one square root, one division each; no library, no order of summation."""
    assert [x.hex() for x in embed("seeded words", 8)] == GOLDEN_VECTOR


GOLDEN_VECTOR = [
    "0x1.11acee560242ap-2",
    "0x1.11acee560242ap-2",
    "0x0.0p+0",
    "0x1.11acee560242ap-2",
    "0x1.11acee560242ap-2",
    "0x0.0p+0",
    "-0x1.9a8365810363fp-1",
    "-0x1.11acee560242ap-2",
]


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=60), st.integers(1, 400))
def test_every_vector_has_length_one_or_says_why_not(text: str, dimensions: int) -> None:
    try:
        vector = embed(text, dimensions)
    except ValueError as error:
        assert "nothing to embed" in str(error)  # noqa: PT017
    else:
        assert len(vector) == dimensions
        assert math.isclose(sum(x * x for x in vector), 1)


def test_canonical_json_is_that_of_rfc_8785() -> None:
    document = {"b": [True, None, 1.0, 0.5, -3], "a": 'é\n"\\\u0007', "\U0001f600": 1, "\ufb33": 2}
    assert canonical(document) == (
        '{"a":"é\\n\\"\\\\\\u0007","b":[true,null,1,0.5,-3],"\U0001f600":1,"\ufb33":2}'
    )  # UTF-16 order: the surrogates of an emoji come before U+FB33


def test_ids_of_rows_are_functions_of_seed_table_and_name(tmp_path: Path) -> None:
    found = rows(plan_of(tmp_path, "[rows.item.a]\n[rows.item.b]\n"))
    assert found["a"]["id"] == str(uuid8(1, 7, "public.item", "id", "a"))
    assert found["a"]["id"] != found["b"]["id"]
    assert UUID(str(found["a"]["id"])).version == 8
