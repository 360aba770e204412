"""The anomalies of the SQL standard, shown where the level allows them and gone where it does not.

Two transactions, interleaved step by step. PostgreSQL's read uncommitted is read committed: no dirty reads anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from pliers_db import Database, run_transaction
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Connection, connect

LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")


@pytest.fixture
def two(target: Target) -> Iterator[tuple[Connection, Connection]]:
    """Two sessions and a table of two doctors on call, a counter, and some events."""
    with connect(target) as one, connect(target) as other:
        one.execute("create table doctor (name text primary key, on_call bool not null)")
        one.execute("insert into doctor values ('ada', true), ('bob', true)")
        one.execute("create table counter (id int primary key, n int not null)")
        one.execute("insert into counter values (1, 10)")
        yield one, other


def begin(conn: Connection, level: str) -> None:
    conn.execute(f"begin isolation level {level}")  # type: ignore[call-overload]


def number(conn: Connection) -> int:
    row = conn.execute("select n from counter where id = 1").fetchone()
    assert row is not None
    return int(row[0])


def on_call(conn: Connection) -> int:
    row = conn.execute("select count(*) from doctor where on_call").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("level", LEVELS)
def test_dirty_read(level: str, two: tuple[Connection, Connection]) -> None:
    """Seeing what another has not committed: at no level."""
    one, other = two
    begin(one, level)
    one.execute("update counter set n = 99")
    begin(other, level)
    assert number(other) == 10
    one.execute("rollback")
    assert number(other) == 10
    other.execute("rollback")


@pytest.mark.parametrize(("level", "anomaly"), list(zip(LEVELS, (True, True, False, False), strict=True)))
def test_non_repeatable_read(level: str, anomaly: bool, two: tuple[Connection, Connection]) -> None:
    """The same row, read twice, has changed in between."""
    one, other = two
    begin(one, level)
    assert number(one) == 10
    other.execute("update counter set n = 20")
    assert (number(one) == 20) is anomaly
    one.execute("rollback")


@pytest.mark.parametrize(("level", "anomaly"), list(zip(LEVELS, (True, True, False, False), strict=True)))
def test_phantom(level: str, anomaly: bool, two: tuple[Connection, Connection]) -> None:
    """The same question, asked twice, finds a new row."""
    one, other = two
    begin(one, level)
    assert on_call(one) == 2
    other.execute("insert into doctor values ('eve', true)")
    assert (on_call(one) == 3) is anomaly
    one.execute("rollback")


@pytest.mark.parametrize(("level", "anomaly"), list(zip(LEVELS, (True, True, False, False), strict=True)))
def test_lost_update(level: str, anomaly: bool, two: tuple[Connection, Connection]) -> None:
    """Both read, both add one to what they read: one addition is lost, or one of the two is refused."""
    one, other = two
    begin(one, level)
    begin(other, level)
    first, second = number(one), number(other)
    one.execute("update counter set n = %s", [first + 1])
    one.execute("commit")
    if anomaly:
        other.execute("update counter set n = %s", [second + 1])
        other.execute("commit")
        assert number(one) == 11, "twelve would have been right"
    else:
        with pytest.raises(psycopg.errors.SerializationFailure):
            other.execute("update counter set n = %s", [second + 1])
        other.execute("rollback")


@pytest.mark.parametrize(("level", "anomaly"), list(zip(LEVELS, (True, True, True, False), strict=True)))
def test_write_skew(level: str, anomaly: bool, two: tuple[Connection, Connection]) -> None:
    """Both see two doctors on call, each sends one home: nobody is left, unless the level is serializable."""
    one, other = two
    begin(one, level)
    begin(other, level)
    assert on_call(one) == on_call(other) == 2
    one.execute("update doctor set on_call = false where name = 'ada'")
    one_more = "update doctor set on_call = false where name = 'bob'"
    if anomaly:
        other.execute(one_more)
        one.execute("commit")
        other.execute("commit")
        assert on_call(one) == 0
    else:
        other.execute(one_more)
        one.execute("commit")
        with pytest.raises(psycopg.errors.SerializationFailure):
            other.execute("commit")
        assert on_call(one) == 1


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_run_transaction_turns_the_refusal_into_the_right_result(
    level: str, two: tuple[Connection, Connection], target: Target
) -> None:
    """Counting up from many threads, read then write, loses nothing at a level that refuses: it is tried again."""
    import threading

    from pliers_db import RetryPolicy

    eager = RetryPolicy(attempts=200, base=0.002, cap=0.05, deadline=60.0)

    def count(conn: Connection) -> None:
        conn.execute("update counter set n = %s", [number(conn) + 1])

    with Database(target, PoolSettings(min_size=1, max_size=4)) as database:

        def work() -> None:
            for _ in range(10):
                run_transaction(database, count, isolation=level, retry=eager)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert number(two[0]) == 50


def test_run_transaction_keeps_a_doctor_on_call(two: tuple[Connection, Connection], target: Target) -> None:
    import threading

    barrier = threading.Barrier(2)

    def go_home(name: str) -> None:
        first = [True]

        def work(conn: Connection) -> None:
            if on_call(conn) < 2:
                return
            if first.pop() if first else False:
                barrier.wait(10)  # both have looked
            conn.execute("update doctor set on_call = false where name = %s", [name])

        run_transaction(database, work, isolation="serializable")

    with Database(target, PoolSettings(min_size=2, max_size=2)) as database:
        threads = [threading.Thread(target=go_home, args=[name]) for name in ("ada", "bob")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert on_call(two[0]) == 1
