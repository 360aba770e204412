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
            "create table p (id int) partition by range (id); create index p_id on only p (id);"
            "create table p1 (id int); alter table p attach partition p1 for values from (0) to (9)"
        )
    assert either.found("invalid_index") == []


def test_an_index_under_construction_is_not_broken(either: Outcomes, session: Callable[[Target], Connection]) -> None:
    """Neither for a superuser nor for a role that may not see what others build."""
    holder, builder = session(either.target), session(either.target)
    holder.execute("create table items (id int)")
    holder.execute("begin; insert into items values (1)")
    building = threading.Thread(target=builder.execute, args=["create index concurrently items_id on items (id)"])
    building.start()
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
    holder.execute("commit")
    building.join(20)
    assert either("invalid_index").outcome is Outcome.OK


def test_the_report_says_how_many_indexes_were_examined(judge: Outcomes) -> None:
    with connect(judge.target) as conn:
        conn.execute("create table items (id int primary key, a int unique)")
    assert judge("invalid_index").examined == 2
