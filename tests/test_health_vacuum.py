"""Vacuum and analyze: tables left behind are found, maintained ones are not."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.health import Outcome
from tests.fix_health import Lab, Outcomes, plain_role
from tests.test_health_activity import burn


@pytest.fixture
def counted(either: Outcomes) -> Iterator[tuple[Outcomes, Connection]]:
    """A connection whose counters are there at once."""
    with connect(either.target) as conn:
        yield either, conn


def flush(conn: Connection) -> None:
    conn.execute("select pg_stat_force_next_flush()")
    time.sleep(0.05)


def test_a_table_far_behind_its_own_trigger_is_found_and_vacuum_mends_it(
    counted: tuple[Outcomes, Connection],
) -> None:
    either, conn = counted
    conn.execute("create table items (id int); insert into items select generate_series(1, 30000)")
    conn.execute("analyze items")
    conn.execute("delete from items where id <= 28000")
    flush(conn)
    # the trigger: 50 + 20 % of 30000 rows
    result = either("autovacuum_lag")
    assert result.outcome is Outcome.WARN
    assert "28,000 dead rows, 5 times" in result.summary
    conn.execute(result.fix)
    flush(conn)
    assert either("autovacuum_lag").outcome is Outcome.OK


def test_the_options_of_a_table_are_its_trigger(counted: tuple[Outcomes, Connection]) -> None:
    either, conn = counted
    conn.execute(
        "create table lax (id int) with (autovacuum_vacuum_threshold = 20000);"
        "insert into lax select generate_series(1, 30000)"
    )
    conn.execute("analyze lax; delete from lax where id <= 28000")
    flush(conn)
    assert either.found("autovacuum_lag") == []
    conn.execute("alter table lax set (autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0.01)")
    assert either("autovacuum_lag").outcome is Outcome.FAIL


def test_a_maximum_for_the_trigger_counts_on_18(judge: Outcomes) -> None:
    with connect(judge.target) as conn:
        conn.execute(
            "create table large (id int) with (autovacuum_vacuum_threshold = 1000000,"
            " autovacuum_vacuum_max_threshold = 5000); insert into large select generate_series(1, 30000)"
        )
        conn.execute("analyze large; delete from large where id <= 28000")
        flush(conn)
    assert judge.found("autovacuum_lag") == ["public.large"]


def test_a_small_table_full_of_dead_rows_is_nothing(counted: tuple[Outcomes, Connection]) -> None:
    either, conn = counted
    conn.execute("create table small (id int); insert into small select generate_series(1, 9000)")
    conn.execute("analyze small; delete from small")
    flush(conn)
    assert either.found("autovacuum_lag") == []


def test_autovacuum_switched_off_for_a_table_is_found(counted: tuple[Outcomes, Connection]) -> None:
    either, conn = counted
    conn.execute("create table off (id int) with (autovacuum_enabled = off)")
    conn.execute("insert into off values (1)")
    flush(conn)
    result = either("autovacuum_lag")
    assert result.outcome is Outcome.WARN
    conn.execute(result.fix)
    assert either("autovacuum_lag").outcome is Outcome.OK


def test_a_larger_table_without_statistics_is_found_and_analyze_mends_it(
    counted: tuple[Outcomes, Connection],
) -> None:
    either, conn = counted
    conn.execute("create table items (id int); insert into items select generate_series(1, 20000)")
    conn.execute("create table few (id int); insert into few select generate_series(1, 900)")
    flush(conn)
    result = either("never_analyzed")
    assert [f.about for f in result.findings] == ["public.items"]
    conn.execute(result.fix)
    assert either("never_analyzed").outcome is Outcome.OK


def test_statistics_that_came_with_a_restore_count(judge: Outcomes) -> None:
    """pg_restore of 18 brings the statistics along, which leaves no time of an ANALYZE."""
    with connect(judge.target) as conn:
        conn.execute("create table items (id int); insert into items select generate_series(1, 20000)")
        conn.execute("analyze items; select pg_stat_reset_single_table_counters('items'::regclass)")
        conn.execute("insert into items select generate_series(1, 20000)")
        flush(conn)
        assert judge.found("never_analyzed") == []


def test_a_database_far_from_its_frozen_ids_is_found_and_freezing_mends_it(lab: Lab) -> None:
    with connect(lab.target) as conn:
        conn.execute("create table if not exists frozen (id int)")
        burn(conn, 300)
        here = f"{lab.target.dbname} transaction ids"
        limits = "[health.thresholds]\nwraparound = { warn = 250, fail = 100000000 }"
        assert here in lab.judge.found("wraparound", toml=limits)
        result = lab.judge("wraparound", toml=limits)
        assert "vacuum" in result.fix
        conn.execute("vacuum freeze")
        assert here not in lab.judge.found("wraparound", toml=limits)


def test_the_age_at_which_autovacuum_freezes_is_no_alarm(lab: Lab) -> None:
    limit = lab.judge("wraparound").measures[0]
    assert limit.warn is not None
    assert limit.warn > 2 * 200_000_000


def test_a_plain_role_sees_the_tables_of_others(target: Target, judge: Outcomes) -> None:
    with connect(target) as conn:
        conn.execute("create table items (id int); insert into items select generate_series(1, 20000)")
        flush(conn)
        with plain_role(target, "health_vacuum") as role:
            assert judge.found("never_analyzed", role=role) == ["public.items"]
            conn.execute("analyze items")
            assert judge.found("never_analyzed", role=role) == []
