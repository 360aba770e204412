"""The pool lends and takes back without its lock. What another thread can do in between, done at just that moment."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pliers_db.config import PoolSettings, Target
from pliers_db.db import Database
from pliers_db.errors import PoolExhausted

ONE = PoolSettings(min_size=1, max_size=1, checkout_timeout=10.0)


class Trapped(deque[Any]):
    """A deque in which something happens, once, just before it is used."""

    def __init__(self, items: Iterable[Any], method: str, happens: Callable[[], object]) -> None:
        super().__init__(items)
        self._method, self._happens = method, happens

    def _spring(self, method: str) -> None:
        if method == self._method:
            self._method = ""
            self._happens()

    def append(self, item: Any) -> None:
        self._spring("append")
        super().append(item)

    def pop(self) -> Any:  # type: ignore[override]
        self._spring("pop")
        return super().pop()

    def popleft(self) -> Any:
        self._spring("popleft")
        return super().popleft()


def test_who_comes_to_wait_while_a_connection_is_put_to_rest_gets_it(target: Target) -> None:
    served = threading.Event()

    def wait() -> None:
        with database.connection(autocommit=True):
            served.set()

    def somebody_comes() -> None:
        thread.start()
        while not database.stats().waiting:
            time.sleep(0.001)

    thread = threading.Thread(target=wait)
    with Database(target, ONE) as database:
        held = database.borrow()
        supply = database._supply
        assert supply is not None
        supply._pool = Trapped(supply._pool, "append", somebody_comes)
        database.give_back(held)
        assert served.wait(5)
        thread.join()


def test_a_connection_put_to_rest_while_somebody_queues_is_his(target: Target) -> None:
    with Database(target, ONE) as database:
        held = database.borrow()
        supply = database._supply
        assert supply is not None
        # He has seen that none rests, and does not stand in line yet.
        supply._waiting = Trapped(supply._waiting, "append", lambda: database.give_back(held))
        again = database.borrow(timeout=5.0)
        assert again is held
        database.give_back(again)


def test_who_finds_the_last_one_snatched_waits_for_it(target: Target) -> None:
    taken: list[Any] = []

    def snatch() -> None:
        taken.append(database.borrow())
        threading.Timer(0.2, lambda: database.give_back(taken[0])).start()

    with Database(target, ONE) as database:
        with database.connection():
            pass
        supply = database._supply
        assert supply is not None
        supply._pool = Trapped(supply._pool, "popleft", snatch)
        conn = supply.getconn(5.0)
        assert conn is taken[0]
        supply.putconn(conn)
        supply._pool = Trapped(supply._pool, "popleft", lambda: taken.append(database.borrow()))
        supply._min_size, supply._nconns_min = 0, 1
        supply._shrink_pool()  # the idle time is over
        assert not taken[1].closed
        database.give_back(taken[1])


def test_a_connection_put_to_rest_in_a_pool_that_was_just_closed_is_closed(target: Target) -> None:
    with Database(target, ONE) as database:
        conn = database.borrow()
        supply = database._supply
        assert supply is not None
        supply._pool = Trapped(supply._pool, "append", database.close)
        database.give_back(conn)
        assert conn.closed


def test_a_connection_taken_from_a_pool_that_is_being_closed_is_not_lent(target: Target) -> None:
    with Database(target, ONE) as database:
        with database.connection() as conn:
            supply = database._supply
            assert supply is not None
        supply._pool = Trapped(supply._pool, "pop", lambda: setattr(supply, "_closed", True))
        with pytest.raises(PoolExhausted) as caught:
            database.borrow()
        assert "closed meanwhile" in caught.value.why
        assert conn.closed
        supply._closed = False  # for the end of the block
