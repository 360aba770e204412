"""The pool's figures are its own: to the microsecond, and right."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliers_db.config import PoolSettings, Target
from pliers_db.db import Database
from pliers_db.db.histogram import Histogram
from pliers_db.errors import ConnectFailed, PoolExhausted


def test_uses_below_a_millisecond_do_not_count_as_nothing(target: Target) -> None:
    """psycopg_pool's counter cuts each use down to whole milliseconds: 4200 uses read 19 ms (research: health §2.2)."""
    with Database(target) as database:
        began = time.monotonic()
        for _ in range(500):
            with database.connection(autocommit=True) as conn:
                conn.execute("select 1")
        took = time.monotonic() - began
        stats = database.stats()
    assert stats.borrowed == stats.use.count == stats.wait.count == 500
    assert 0.2 * took < stats.use.total <= took
    assert 0 < stats.use.p50 <= stats.use.p95 <= stats.use.p99 <= stats.use.longest


def test_what_happens_is_counted(target: Target) -> None:
    with Database(target, PoolSettings(min_size=1, max_size=2, checkout_timeout=0.1)) as database:
        with database.connection(), database.connection():
            stats = database.stats()
            assert (stats.lent, stats.idle, stats.size, stats.max_size) == (2, 0, 2, 2)
            assert [b.site.partition(":")[0] for b in stats.borrowers] == ["tests/test_pool_figures.py"] * 2
            with pytest.raises(PoolExhausted), database.connection():
                pass
        stats = database.stats()
        assert (stats.lent, stats.borrowed, stats.refused, stats.connected) == (0, 2, 1, 2)
    with Database(target.with_database("no_such_db")) as nowhere:
        with pytest.raises(ConnectFailed), nowhere.connection():
            pass
        assert nowhere.stats().connect_failures >= 1
        assert nowhere.stats().refused == 1


def test_the_figures_are_a_document(target: Target) -> None:
    with Database(target) as database, database.connection():
        document = database.stats().as_dict()
    assert document["wait"]["count"] == 1
    assert document["borrowers"][0]["site"].startswith("tests/")


@given(
    st.one_of(
        st.lists(st.floats(min_value=0, max_value=most), min_size=1, max_size=200)
        for most in (0.0001, 0.001, 1.0, 3600)
    )
)
def test_a_percentile_is_never_too_low_and_at_most_a_quarter_too_high(durations: list[float]) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.record(seconds)
    summary = histogram.summary()
    ordered = sorted(durations)
    for share, found in ((0.50, summary.p50), (0.95, summary.p95), (0.99, summary.p99)):
        exact = ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
        assert found >= exact - 1e-7
        assert found <= exact * 1.25 + 2e-7
    assert summary.count == len(durations) == sum(count for _, count in histogram.buckets())
    assert summary.longest == ordered[-1]


def test_threads_that_record_at_once_lose_nothing() -> None:
    histogram = Histogram()

    def record() -> None:
        for number in range(5000):
            histogram.record(number / 1e6)
            if number % 1000 == 0:
                histogram.summary()

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert histogram.summary().count == 40_000
