"""Retry: what is worth another attempt, how long to wait, and when to stop. Pure: no server, no real clock."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliers_db.db import ErrorClass, Retry, RetryPolicy, failure_class
from pliers_db.errors import CircuitOpen, ConnectFailed, PoolExhausted

CONFLICT = psycopg.errors.SerializationFailure("could not serialize access")
STARTING = ConnectFailed("no", kind="starting")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def waits(policy: RetryPolicy, error: Exception, *, jitter: float = 1.0, takes: float = 0.0) -> list[float]:
    """The waits of a call that always fails with ``error``, each attempt taking ``takes`` seconds."""
    clock = Clock()
    retry = Retry(policy, clock=clock, jitter=lambda: jitter)
    found: list[float] = []
    while True:
        clock.now += takes
        delay = retry.after(error)
        if delay is None:
            return found
        clock.now += delay
        found.append(delay)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CONFLICT, ErrorClass.RERUN),
        (psycopg.errors.DeadlockDetected(), ErrorClass.RERUN),
        (psycopg.errors.LockNotAvailable(), ErrorClass.LOCK),
        (psycopg.errors.AdminShutdown(), ErrorClass.CONNECTION),
        (psycopg.errors.IdleInTransactionSessionTimeout(), ErrorClass.CONNECTION),  # an InternalError to psycopg
        (psycopg.OperationalError("the connection is closed"), ErrorClass.CONNECTION),
        (psycopg.errors.CannotConnectNow(), ErrorClass.NOT_NOW),
        (psycopg.errors.TooManyConnections(), ErrorClass.NOT_NOW),
        (psycopg.errors.DiskFull(), ErrorClass.DISK),
        (psycopg.errors.QueryCanceled(), ErrorClass.CANCELED),
        (psycopg.errors.UniqueViolation(), ErrorClass.PERMANENT),
        (psycopg.errors.UndefinedTable(), ErrorClass.PERMANENT),
        (psycopg.ProgrammingError("no sqlstate"), ErrorClass.PERMANENT),
        (STARTING, ErrorClass.NOT_NOW),
        (ConnectFailed("no", kind="unreachable"), ErrorClass.CONNECTION),
        (ConnectFailed("no", kind="password"), ErrorClass.PERMANENT),
        (ConnectFailed("no", kind="tls"), ErrorClass.PERMANENT),
        (PoolExhausted(), ErrorClass.PERMANENT),
        (CircuitOpen(), ErrorClass.PERMANENT),
        (ValueError("mine"), ErrorClass.PERMANENT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_errors_are_sorted_by_what_can_be_done(error: Exception, expected: ErrorClass) -> None:
    assert failure_class(error) is expected


def test_the_waits_double_up_to_the_cap() -> None:
    assert waits(RetryPolicy(attempts=8, base=0.05, cap=0.5), CONFLICT) == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5, 0.5]


def test_full_jitter_means_anything_from_zero() -> None:
    assert waits(RetryPolicy(attempts=4), CONFLICT, jitter=0.0) == [0.0, 0.0, 0.0]


def test_a_server_that_starts_gets_more_time_than_a_collision() -> None:
    assert waits(RetryPolicy(attempts=2), STARTING)[0] == 10 * waits(RetryPolicy(attempts=2), CONFLICT)[0]


def test_one_attempt_means_no_retry() -> None:
    assert waits(RetryPolicy(attempts=1), CONFLICT) == []


@pytest.mark.parametrize("error", [psycopg.errors.UniqueViolation(), psycopg.errors.QueryCanceled(), ValueError()])
def test_what_will_fail_again_is_not_tried_again(error: Exception) -> None:
    assert waits(RetryPolicy(attempts=9), error) == []


def test_a_lock_timeout_is_retried_only_when_asked() -> None:
    timeout = psycopg.errors.LockNotAvailable()
    assert waits(RetryPolicy(), timeout) == []
    assert len(waits(RetryPolicy(locks=True), timeout)) == 4


@given(
    attempts=st.integers(1, 50),
    base=st.floats(0.001, 1),
    cap=st.floats(0.001, 5),
    deadline=st.floats(0.0, 30),
    jitter=st.floats(0, 1),
    takes=st.floats(0, 3),
)
def test_no_wait_goes_past_the_deadline_or_the_cap(
    attempts: int, base: float, cap: float, deadline: float, jitter: float, takes: float
) -> None:
    found = waits(RetryPolicy(attempts, base, cap, deadline), CONFLICT, jitter=jitter, takes=takes)
    assert len(found) < attempts
    assert all(0 <= wait <= cap for wait in found)
    assert sum(found) + takes * len(found) <= deadline + 1e-6


def test_every_failed_attempt_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pliers_db.db.retry")
    waits(RetryPolicy(attempts=3), CONFLICT)
    records = [r for r in caplog.records if r.name == "pliers_db.db.retry"]
    assert [(r.attempt, r.sqlstate, r.levelname) for r in records] == [  # type: ignore[attr-defined]
        (1, "40001", "INFO"),
        (2, "40001", "INFO"),
        (3, "40001", "WARNING"),
    ]
