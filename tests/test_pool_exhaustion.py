"""A pool that is used up says so: at once where a limit is set, after the checkout timeout otherwise; and recovers."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from pliers_db.config import PoolSettings, Target
from pliers_db.db import Database
from pliers_db.errors import PoolClosing, PoolExhausted
from tests.test_pool_leaks import eventually

TINY = PoolSettings(min_size=1, max_size=1, checkout_timeout=0.3)


def test_who_waits_too_long_is_told_who_holds_the_connections(target: Target) -> None:
    with Database(target, TINY) as database, database.connection():
        with pytest.raises(PoolExhausted) as caught, database.connection():
            pass
    assert caught.value.exit_code == 3
    assert "All 1 connections stayed in use for 0.3 s" in caught.value.why
    assert "in test_who_waits_too_long_is_told" in caught.value.why
    assert "DB_POOL_MAX" in caught.value.fix


def test_a_shorter_wait_can_be_asked_for(target: Target) -> None:
    with Database(target, replace(TINY, checkout_timeout=60.0)) as database, database.connection():
        began = time.monotonic()
        with pytest.raises(PoolExhausted), database.connection(timeout=0.1):
            pass
        assert time.monotonic() - began < 30


def test_with_a_limit_on_waiting_the_next_is_refused_at_once(target: Target) -> None:
    patient = replace(TINY, checkout_timeout=60.0, max_waiting=1)
    with Database(target, patient) as database:
        with database.connection():
            first = threading.Thread(target=lambda: database.connection().__enter__)
            served = threading.Event()

            def wait() -> None:
                with database.connection():
                    served.set()

            first = threading.Thread(target=wait)
            first.start()
            eventually(lambda: database.stats().waiting == 1)
            began = time.monotonic()
            with pytest.raises(PoolExhausted, match="No free connection") as caught, database.connection():
                pass
            assert time.monotonic() - began < 30
            assert "1 others are already waiting" in caught.value.why
        first.join(10)
        assert served.is_set(), "the one who waited was served when the connection came back"
        with database.connection():
            pass


def test_the_pool_recovers_when_the_connections_come_back(target: Target) -> None:
    with Database(target, replace(TINY, max_size=3)) as database:
        held = [database.borrow() for _ in range(3)]
        with pytest.raises(PoolExhausted), database.connection():
            pass
        for conn in held:
            database.give_back(conn)
        for _ in range(10):
            with database.connection() as conn:
                assert conn.execute("select 1").fetchone() == (1,)


def test_two_hundred_threads_share_ten_connections(target: Target) -> None:
    pids: set[int] = set()
    wrong: list[BaseException] = []
    with Database(target, PoolSettings(min_size=2, max_size=10, checkout_timeout=60.0)) as database:
        with database.connection() as conn:
            conn.execute("create table counter (n int); insert into counter values (0)")

        def work() -> None:
            try:
                for _ in range(5):
                    with database.connection() as conn:
                        conn.execute("update counter set n = n + 1")
                        pids.add(conn.info.backend_pid)
            except BaseException as error:  # noqa: BLE001
                wrong.append(error)

        threads = [threading.Thread(target=work) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stats = database.stats()
        with database.connection() as conn:
            assert conn.execute("select n from counter").fetchone() == (1000,)
    assert wrong == []
    assert stats.size <= 10
    assert len(pids) <= 10
    assert (stats.borrowed, stats.lent, stats.dropped) == (1001, 0, 0)


def test_drain_waits_for_who_works_and_lends_nothing_more(target: Target) -> None:
    database = Database(target, replace(TINY, checkout_timeout=20.0))
    finished: list[object] = []
    inside = threading.Event()

    def work() -> None:
        with database.connection() as conn:
            inside.set()
            finished.append(conn.execute("select pg_sleep(0.5), 7").fetchone())

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(10)
    assert database.drain(timeout=20) == 0
    thread.join(10)
    assert finished == [("", 7)]
    with pytest.raises(PoolClosing), database.connection():
        pass


def test_drain_cuts_who_does_not_come_back(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    database = Database(target, TINY)
    seen: list[BaseException] = []
    inside = threading.Event()

    def stuck() -> None:
        try:
            with database.connection() as conn:
                inside.set()
                conn.execute("select pg_sleep(600)")
        except BaseException as error:  # noqa: BLE001
            seen.append(error)

    thread = threading.Thread(target=stuck)
    thread.start()
    inside.wait(10)
    time.sleep(0.2)
    assert database.drain(timeout=0.2) == 1
    thread.join(10)
    assert len(seen) == 1
    assert "in test_drain_cuts_who_does_not_come_back.<locals>.stuck" in caplog.text
