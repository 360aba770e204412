"""Deadlocks: detected and tried again, and prevented by taking locks in one order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import psycopg
import pytest

from pliers_db import Database, run_transaction
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Connection, connect


@pytest.fixture
def database(target: Target) -> Iterator[Database]:
    """Two accounts; the server looks for deadlocks after 100 ms instead of a second."""
    with connect(target) as conn:
        conn.execute("create table account (id int primary key, amount int not null)")
        conn.execute("insert into account values (1, 100), (2, 100)")
        conn.execute(
            "do $$ begin"
            " execute format('alter database %I set deadlock_timeout = ''100ms''', current_database()); end $$"
        )
    with Database(target, PoolSettings(min_size=2, max_size=4)) as pool:
        yield pool


def in_threads(*works: object) -> list[BaseException]:
    """Run functions at once. :returns: what they raised."""
    wrong: list[BaseException] = []

    def guarded(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return wrong


def transfer(database: Database, source: int, sink: int, barrier: threading.Barrier, **how: int) -> None:
    """Take from one, give to the other; the first attempts of both meet in the middle."""
    met = []

    def work(conn: Connection) -> None:
        conn.execute("update account set amount = amount - 10 where id = %s", [source])
        if not met:
            met.append(1)
            barrier.wait(20)
        conn.execute("update account set amount = amount + 10 where id = %s", [sink])

    run_transaction(database, work, **how)  # type: ignore[arg-type]


def balances(target: Target) -> list[tuple[int, int]]:
    with connect(target) as conn:
        return conn.execute("select id, amount from account order by id").fetchall()


def test_one_of_two_is_the_victim(database: Database, target: Target) -> None:
    barrier = threading.Barrier(2)
    wrong = in_threads(
        lambda: transfer(database, 1, 2, barrier, retries=0), lambda: transfer(database, 2, 1, barrier, retries=0)
    )
    (victim,) = wrong
    assert isinstance(victim, psycopg.errors.DeadlockDetected)
    assert sorted(amount for _, amount in balances(target)) == [90, 110], "one went through, the other left nothing"


def test_the_victim_is_tried_again_and_both_go_through(
    database: Database, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pliers_db")
    barrier = threading.Barrier(2)
    wrong = in_threads(lambda: transfer(database, 1, 2, barrier), lambda: transfer(database, 2, 1, barrier))
    assert wrong == []
    assert balances(target) == [(1, 100), (2, 100)]
    assert "40P01" in {getattr(record, "sqlstate", None) for record in caplog.records}


def test_locks_taken_in_one_order_prevent_it(
    database: Database, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pliers_db")

    def ordered(source: int, sink: int) -> None:
        def work(conn: Connection) -> None:
            conn.execute("select from account where id = any(%s) order by id for update", [[source, sink]])
            conn.execute("update account set amount = amount - 1 where id = %s", [source])
            conn.execute("update account set amount = amount + 1 where id = %s", [sink])

        for _ in range(25):
            run_transaction(database, work, retries=0)

    wrong = in_threads(*[lambda s=s: ordered(s, 3 - s) for s in (1, 2, 1, 2)])  # type: ignore[misc]
    assert wrong == []
    assert balances(target) == [(1, 100), (2, 100)]
    assert not [r for r in caplog.records if r.name == "pliers_db.db.retry"]
