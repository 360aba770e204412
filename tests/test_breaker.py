"""The circuit breaker: opens on a lost server, lets one call probe, closes on an answer. No real clock."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest

from pliers_db.config import Secret, Target
from pliers_db.db import BreakerState, CircuitBreaker, breaker_for
from pliers_db.errors import CircuitOpen, ConnectFailed

GONE = psycopg.OperationalError("server closed the connection unexpectedly")
NO = psycopg.errors.UniqueViolation("duplicate key")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("app@db:5432/app", failures=3, window=30.0, cooldown=5.0, clock=clock)


def fail(breaker: CircuitBreaker, error: BaseException = GONE, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(type(error)), breaker.guard():
            raise error


def state(breaker: CircuitBreaker) -> BreakerState:
    return breaker.status().state


def test_it_opens_after_the_limit_and_says_why_and_for_how_long(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, times=2)
    assert state(breaker) is BreakerState.CLOSED
    fail(breaker)
    assert state(breaker) is BreakerState.OPEN
    clock.now += 2
    with pytest.raises(CircuitOpen) as caught, breaker.guard():
        pytest.fail("let through")
    assert caught.value.why == str(GONE)
    assert caught.value.details["seconds_left"] == 3.0
    assert "3.0 s" in caught.value.fix


def test_failures_far_apart_do_not_open_it(breaker: CircuitBreaker, clock: Clock) -> None:
    for _ in range(10):
        fail(breaker)
        clock.now += 16
    assert state(breaker) is BreakerState.CLOSED


@pytest.mark.parametrize(
    "error", [NO, psycopg.errors.QueryCanceled(), ConnectFailed("no", kind="password"), ValueError()]
)
def test_an_answer_that_says_no_never_counts(breaker: CircuitBreaker, error: Exception) -> None:
    fail(breaker, error, times=50)
    assert breaker.status().failures == 0


@pytest.mark.parametrize(
    "error",
    [psycopg.errors.DiskFull(), psycopg.errors.TooManyConnections(), ConnectFailed("no", kind="unreachable")],
)
def test_a_server_that_cannot_serve_counts(breaker: CircuitBreaker, error: Exception) -> None:
    fail(breaker, error, times=3)
    assert state(breaker) is BreakerState.OPEN


def test_one_probe_that_succeeds_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.now += 5
    assert state(breaker) is BreakerState.HALF_OPEN
    with breaker.guard(), pytest.raises(CircuitOpen), breaker.guard():
        pytest.fail("a second probe")
    assert breaker.status().failures == 0
    assert state(breaker) is BreakerState.CLOSED


def test_a_probe_that_fails_opens_it_for_the_whole_time_again(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.now += 5
    fail(breaker)
    assert breaker.status().seconds_left == 5.0


def test_a_probe_that_gets_a_no_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.now += 5
    fail(breaker, NO)
    assert state(breaker) is BreakerState.CLOSED


def test_a_probe_that_is_cancelled_leaves_room_for_the_next(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.now += 5
    fail(breaker, KeyboardInterrupt())
    assert state(breaker) is BreakerState.HALF_OPEN
    with breaker.guard():
        pass
    assert state(breaker) is BreakerState.CLOSED


def test_a_call_from_before_says_nothing_about_now(breaker: CircuitBreaker, clock: Clock) -> None:
    """A success that began before the server went away must not close it, nor a late failure reopen it."""
    early, late = breaker.enter(), breaker.enter()
    fail(breaker, times=3)
    breaker.leave(early, None)
    assert state(breaker) is BreakerState.OPEN
    clock.now += 5
    with breaker.guard():
        pass
    breaker.leave(late, GONE)
    assert breaker.status().failures == 0


def test_of_fifty_threads_one_probes(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.now += 5
    start, hold = threading.Barrier(50), threading.Event()
    through: list[int] = []
    refused: list[int] = []

    def call(number: int) -> None:
        start.wait()
        try:
            with breaker.guard():
                through.append(number)
                hold.wait(10)
        except CircuitOpen:
            refused.append(number)
            if len(refused) == 49:
                hold.set()

    threads = [threading.Thread(target=call, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(through), len(refused)) == (1, 49)


def test_of_fifty_tasks_one_probes_and_a_cancelled_one_gives_way(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.now += 5

    async def call() -> str:
        try:
            with breaker.guard():
                await asyncio.sleep(3600)
                return "through"
        except CircuitOpen:
            return "refused"

    async def scene() -> list[str]:
        tasks = [asyncio.create_task(call()) for _ in range(50)]
        done, waiting = await asyncio.wait(tasks, timeout=1)
        assert len(waiting) == 1
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return [task.result() for task in done]

    assert asyncio.run(scene()) == ["refused"] * 49
    assert state(breaker) is BreakerState.HALF_OPEN


def test_all_pools_of_one_database_share_a_breaker() -> None:
    one = Target(dbname="app", host="db", port="5432", user="u", password=Secret("first password"))
    same = Target(dbname="app", host="db", port="5432", user="u", password=Secret("rotated password"))
    assert breaker_for(one) is breaker_for(same)
    assert breaker_for(one) is not breaker_for(one.with_database("other"))
