"""A connection that is dropped or kept too long is reported with the place that borrowed it; its slot comes back."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from pliers_db.config import PoolSettings, Target
from pliers_db.db import Database

KINDS = {"Connection": psycopg.Connection, "Cursor": psycopg.Cursor, "Transaction": psycopg.Transaction}
SMALL = PoolSettings(min_size=1, max_size=2, checkout_timeout=20.0)


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds that happens in the background."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def careless(database: Database) -> None:
    """Borrow and forget."""
    database.borrow()


def test_a_dropped_connection_is_reported_with_its_borrower_and_its_slot_comes_back(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    with Database(target, SMALL) as database:
        for _ in range(3 * SMALL.max_size):  # psycopg's own pool would be empty for ever after two
            careless(database)
        eventually(lambda: database.stats().dropped == 3 * SMALL.max_size)
        with database.connection(autocommit=True) as one, database.connection(autocommit=True) as two:
            assert one.info.backend_pid != two.info.backend_pid
    text = [r.getMessage() for r in caplog.records if "dropped without being returned" in r.getMessage()]
    assert len(text) == 3 * SMALL.max_size
    assert all("test_pool_leaks.py:" in line and "in careless" in line for line in text)


def test_a_borrower_who_waits_gets_the_reclaimed_slot(target: Target) -> None:
    with Database(target, replace(SMALL, max_size=1)) as database:
        kept = [database.borrow()]
        served = threading.Event()

        def wait() -> None:
            with database.connection():
                served.set()

        thread = threading.Thread(target=wait)
        thread.start()
        eventually(lambda: database.stats().waiting == 1)
        kept.clear()
        gc.collect()
        thread.join(15)
        assert served.is_set()


def test_a_block_that_is_never_left_is_found_too(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    with Database(target, SMALL) as database:
        stack = contextlib.ExitStack()
        stack.enter_context(database.connection())
        stack.pop_all()
        del stack
        gc.collect()
        eventually(lambda: database.stats().dropped == 1)
    assert "in test_a_block_that_is_never_left_is_found_too" in caplog.text


def test_a_connection_kept_too_long_is_reported_once_while_it_is_still_out(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    with Database(target, replace(SMALL, held_warning=0.2)) as database, database.connection():
        eventually(lambda: database.stats().held_too_long == 1)
        time.sleep(0.5)
        assert database.stats().held_too_long == 1
    (line,) = [r.getMessage() for r in caplog.records if "has been out for" in r.getMessage()]
    assert "in test_a_connection_kept_too_long" in line


def test_a_connection_in_good_hands_is_not_reported(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with Database(target, replace(SMALL, held_warning=5.0)) as database:
        for _ in range(20):
            with database.connection() as conn:
                conn.execute("select 1")
        time.sleep(0.3)
        assert (database.stats().dropped, database.stats().held_too_long) == (0, 0)
    assert not caplog.records


def test_ten_thousand_checkouts_leave_no_object_behind(target: Target) -> None:
    def objects() -> dict[str, int]:
        gc.collect()
        everything = gc.get_objects()
        return {name: sum(isinstance(o, kind) for o in everything) for name, kind in KINDS.items()} | {
            "all": len(everything)
        }

    with Database(target) as database:

        def use(times: int) -> None:
            for _ in range(times):
                with database.connection(autocommit=True) as conn:
                    conn.execute("select 1")
            for _ in range(times // 50):
                with database.connection() as conn:
                    conn.execute("select count(*) from pg_class")
            database.stats()

        def growth() -> dict[str, int]:
            before = objects()
            use(10_000)
            after = objects()
            return {kind: after[kind] - before[kind] for kind in after}

        use(1000)
        # What is left behind grows with every round; what other threads of the test run make in between does not.
        rounds = [growth()]
        while len(rounds) < 3 and (rounds[-1]["all"] >= 500 or any(rounds[-1][kind] for kind in KINDS)):
            rounds.append(growth())
    assert [rounds[-1][kind] for kind in KINDS] == [0, 0, 0], rounds
    assert rounds[-1]["all"] < 500, rounds


def test_the_pool_itself_goes_when_it_is_closed(target: Target) -> None:
    from pliers_db.db.supply import Supply

    def supplies() -> int:
        gc.collect()
        return sum(isinstance(o, Supply) for o in gc.get_objects())

    before = supplies()
    for _ in range(5):
        with Database(target) as database, database.connection():
            pass
    assert supplies() <= before + 1  # the last one may still stand in a frame
