"""Indexes: a planted fault is found, its repaired state is clean, known false positives stay silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.health import Outcome
from tests.fix_health import Outcomes, plain_role


def test_an_invalid_index_is_found_and_a_reindex_mends_it(either: Outcomes) -> None:
    with connect(either.target) as conn:
        conn.execute("create table items (id int); insert into items values (1), (1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("create unique index concurrently items_id_key on items (id)")
        result = either("invalid_index")
        assert result.outcome is Outcome.FAIL
        assert result.fix == "reindex index concurrently public.items_id_key;"
        conn.execute("delete from items where ctid = (select min(ctid) from items)")
        conn.execute(result.fix)
    assert either("invalid_index").outcome is Outcome.OK


def test_an_invalid_index_that_is_not_unique_is_a_warning(either: Outcomes) -> None:
    with connect(either.target) as conn:
        conn.execute("create table items (id int); create index items_id on items (id)")
        conn.execute("update pg_index set indisvalid = false where indexrelid = 'items_id'::regclass")
    result = either("invalid_index")
    assert result.outcome is Outcome.WARN
    assert [f.about for f in result.findings] == ["public.items_id"]


def test_the_index_of_a_partitioned_table_without_all_parts_is_not_broken(either: Outcomes) -> None:
    with connect(either.target) as conn:
        conn.execute(
            "create table p (id int) partition by range (id);"
            "create table p1 partition of p for values from (0) to (9); create index p_id on only p (id)"
        )
        assert conn.execute("select indisvalid from pg_index where indexrelid = 'p_id'::regclass").fetchone() == (
            False,
        )
    assert either.found("invalid_index") == []


def test_an_index_under_construction_is_not_broken(either: Outcomes, session: Callable[[Target], Connection]) -> None:
    """Neither for a superuser nor for a role that may not see what others build."""
    holder, builder = session(either.target), session(either.target)
    holder.execute("create table items (id int)")
    holder.execute("begin; insert into items values (1)")
    building = threading.Thread(target=builder.execute, args=["create index concurrently items_id on items (id)"])
    building.start()
    try:
        with connect(either.target) as watch:
            for _ in range(100):
                if watch.execute("select 1 from pg_index where indexrelid = to_regclass('items_id')").fetchone():
                    break
                time.sleep(0.05)
            else:
                raise AssertionError("nothing is being built")
        assert either.found("invalid_index") == []
        with plain_role(either.target, f"health_builder_{either.target.dbname}") as role:
            assert either.found("invalid_index", role=role) == []
    finally:
        holder.execute("commit")
        building.join(20)
    assert either("invalid_index").outcome is Outcome.OK


def test_the_report_says_how_many_indexes_were_examined(judge: Outcomes) -> None:
    with connect(judge.target) as conn:
        conn.execute("create table items (id int primary key, a int unique)")
    assert judge("invalid_index").examined == 2


def lay(either: Outcomes, *statements: str) -> None:
    with connect(either.target) as conn:
        for statement in statements:
            conn.execute(statement)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("create index a on items (x)", "create index b on items (x)"),
        ("create index a on items (x, y desc)", "create index b on items (x, y desc)"),
        ("create index a on items (lower(t))", "create index b on items (lower(t))"),
        ("create index a on items (x) where y > 0", "create  index b on items (x)   where y > 0"),
        ("create index a on items (x) include (y)", "create index b on items (x) include (y)"),
        ("create unique index a on items (x)", "create unique index b on items (x)"),
        ("create index a on items using hash (x)", "create index b on items using hash (x)"),
    ],
)
def test_an_index_that_does_the_same_is_found_and_its_drop_mends_it(either: Outcomes, first: str, second: str) -> None:
    lay(either, "create table items (x int, y int, t text)", first, second)
    result = either("dup_index")
    assert result.outcome is Outcome.WARN
    assert result.fix == "drop index concurrently public.b;", "the younger of two unused ones"
    lay(either, result.fix)
    assert either.found("dup_index") == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("create index a on items (x, y)", "create index b on items (y, x)"),
        ("create index a on items (x)", "create index b on items (x) where y > 0"),
        ("create index a on items (t)", "create index b on items (t text_pattern_ops)"),
        ("create index a on items (t)", 'create index b on items (t collate "C")'),
        ("create index a on items (x, y)", "create index b on items (x, y desc)"),
        ("create index a on items (lower(t))", "create index b on items (upper(t))"),
        ("create index a on items (x)", "create index b on items using hash (x)"),
        ("create unique index a on items (x)", "create unique index b on items (x) nulls not distinct"),
        ("create index a on items (x) where y > 0", "create index b on items (x) where y > 1"),
    ],
)
def test_indexes_that_differ_are_no_duplicates(either: Outcomes, first: str, second: str) -> None:
    lay(either, "create table items (x int, y int, t text)", first, second)
    assert either.found("dup_index") == []


def test_the_index_of_a_constraint_is_never_the_one_to_drop(either: Outcomes) -> None:
    lay(either, "create table items (x int)", "create unique index a on items (x)", "alter table items add unique (x)")
    assert either.found("dup_index") == ["public.a"]


def test_an_index_covered_by_a_longer_one_is_a_note(either: Outcomes) -> None:
    lay(
        either,
        "create table items (x int primary key, y int)",
        "create index short on items (y)",
        "create index long on items (y, x)",
        "create index same_as_key on items (x)",
    )
    result = either("dup_index")
    assert result.outcome is Outcome.OK
    assert {f.about for f in result.findings} == {"public.short", "public.same_as_key"}


def test_a_unique_index_is_not_covered_by_a_longer_one(either: Outcomes) -> None:
    lay(
        either,
        "create table items (x int, y int)",
        "create unique index a on items (x)",
        "create index b on items (x, y)",
    )
    assert either.found("dup_index") == []


def test_each_part_of_a_partitioned_index_is_not_told_again(either: Outcomes) -> None:
    lay(
        either,
        "create table p (id int) partition by range (id)",
        "create table p1 partition of p for values from (0) to (9)",
        "create table p2 partition of p for values from (9) to (19)",
        "create index a on p (id)",
        "create index b on p (id)",
    )
    assert either.found("dup_index") == ["public.b"]


def test_a_locked_table_keeps_no_check_of_indexes_waiting(
    either: Outcomes, session: Callable[[Target], Connection]
) -> None:
    lay(either, "create table items (x int, t text)", "create index a on items (lower(t)) where x > 0")
    holder = session(either.target)
    holder.execute("begin; lock table items in access exclusive mode")
    for check in ("dup_index", "unused_index", "fk_index", "invalid_index"):
        assert either(check, toml='[health.thresholds]\nunused_window = { warn = "0s" }').outcome is Outcome.OK, check
    holder.execute("rollback")


NOW = '[health.thresholds]\nunused_window = { warn = "0s" }'
LARGE = (
    "create table items (id int, x int, y int)",
    "insert into items select i, i, i from generate_series(1, 1000) i",
    "create index x_idx on items (x)",
)
# As if all indexes had 16 MB: their size is the catalog's.
GROWN = "update pg_class set relpages = 2000 where relkind = 'i' and relname !~ '^pg_'"


def test_a_large_index_that_nothing_uses_is_a_note_and_using_it_ends_that(either: Outcomes) -> None:
    lay(either, *LARGE)
    assert either.found("unused_index", toml=NOW) == [], "a small one costs little"
    lay(either, GROWN)
    result = either("unused_index", toml=NOW)
    assert result.outcome is Outcome.OK
    assert [f.about for f in result.findings] == ["public.x_idx"]
    lay(either, "set enable_seqscan = off; select * from items where x = 7", "select pg_stat_force_next_flush()")
    assert either.found("unused_index", toml=NOW) == []


def test_fresh_statistics_say_nothing_about_use(either: Outcomes) -> None:
    lay(either, *LARGE, GROWN)
    result = either("unused_index")
    assert result.outcome is Outcome.SKIPPED
    assert "14 d" in result.summary


def test_what_something_else_needs_is_not_called_unused(either: Outcomes) -> None:
    """A key, a foreign key's only index, the identity of replication."""
    lay(
        either,
        *LARGE,
        "drop index x_idx",
        "alter table items add primary key (id)",
        "create table parents (id int primary key); insert into parents select generate_series(1, 1000)",
        "alter table items add foreign key (y) references parents (id); create index y_idx on items (y)",
        "alter table items alter x set not null; create unique index x_key on items (x)",
        "alter table items replica identity using index x_key",
        GROWN,
    )
    assert either.found("unused_index", toml=NOW) == []


def test_the_use_of_one_part_is_the_use_of_a_partitioned_index(either: Outcomes) -> None:
    lay(
        either,
        "create table p (id int) partition by range (id)",
        "create table p1 partition of p for values from (0) to (300)",
        "create table p2 partition of p for values from (300) to (700)",
        "insert into p select generate_series(1, 600)",
        "create index p_id on p (id)",
        GROWN,
    )
    assert either.found("unused_index", toml=NOW) == ["public.p_id"]
    lay(either, "set enable_seqscan = off; select * from p where id = 7", "select pg_stat_force_next_flush()")
    assert either.found("unused_index", toml=NOW) == []


PARENT = "create table parents (a int, b int, c int, primary key (a, b))"


def test_a_foreign_key_without_an_index_is_found_and_the_index_mends_it(either: Outcomes) -> None:
    lay(
        either,
        PARENT,
        "create table children (a int, b int, foreign key (a, b) references parents)",
        "insert into parents values (1, 1)",
        "insert into children select 1, 1 from generate_series(1, 11000)",
    )
    result = either("fk_index")
    assert result.outcome is Outcome.OK, "nobody knows how large it is"
    assert len(result.findings) == 1
    lay(either, "analyze children")
    result = either("fk_index")
    assert result.outcome is Outcome.WARN
    assert result.fix == "create index concurrently on public.children (a, b);"
    lay(either, result.fix)
    assert either.found("fk_index") == []


@pytest.mark.parametrize(
    "index",
    [
        "create index on children (b, a)",
        "create index on children (b, a, c)",
        "create unique index on children (a)",
        "create unique index on children (b) include (c)",
    ],
)
def test_an_index_on_the_columns_in_any_order_or_a_unique_part_serves_it(either: Outcomes, index: str) -> None:
    lay(either, PARENT, "create table children (c int, b int, a int, foreign key (a, b) references parents)", index)
    assert either.found("fk_index") == []


@pytest.mark.parametrize(
    "index",
    [
        "create index on children (a)",
        "create index on children (c, a, b)",
        "create index on children (a, b) where c > 0",
        "create index on children using brin (a, b)",
        "create unique index on children (a) where c > 0",
    ],
)
def test_an_index_on_a_part_of_the_columns_or_rows_does_not_serve_it(either: Outcomes, index: str) -> None:
    lay(either, PARENT, "create table children (c int, b int, a int, foreign key (a, b) references parents)", index)
    assert len(either.found("fk_index")) == 1


def test_a_foreign_key_of_a_partitioned_table_is_told_once(either: Outcomes) -> None:
    lay(
        either,
        PARENT,
        "create table p (a int, b int, foreign key (a, b) references parents) partition by range (a)",
        "create table p1 partition of p for values from (0) to (9)",
        "create table p2 partition of p for values from (9) to (19)",
    )
    assert either.found("fk_index") == ["public.p.p_a_b_fkey"]
    lay(either, "create index on p (a, b)")
    assert either.found("fk_index") == []
