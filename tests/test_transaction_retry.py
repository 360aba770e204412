"""A transaction is run again when that is safe: as a whole, a bounded number of times, never in somebody else's."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from pliers_db import Database, RetryPolicy, run_transaction
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Connection, connect
from pliers_db.errors import CircuitOpen, ConnectFailed, DeadlinePassed, InputError
from tests.fix_proxy import FaultProxy

LIMITS = PoolSettings(min_size=1, max_size=4, checkout_timeout=10.0)
QUICK = RetryPolicy(base=0.001, cap=0.01)


@pytest.fixture
def database(target: Target) -> Iterator[Database]:
    """A pool on a database with two accounts."""
    with connect(target) as conn:
        conn.execute("create table account (id int primary key, amount int not null)")
        conn.execute("insert into account values (1, 100), (2, 100)")
    with Database(target, LIMITS) as pool:
        yield pool


class Failing:
    """A function that meets an error the first so many times."""

    def __init__(self, error: Callable[[Connection], object], times: int) -> None:
        self.error, self.left, self.calls = error, times, 0

    def __call__(self, conn: Connection) -> str:
        self.calls += 1
        conn.execute("insert into account values (%s, 0)", [100 + self.calls])
        if self.left:
            self.left -= 1
            self.error(conn)
        return "done"


def raises(sqlstate: str) -> Callable[[Connection], object]:
    """Let the server raise this SQLSTATE."""
    return lambda conn: conn.execute(f"do $$ begin raise exception 'planted' using errcode = '{sqlstate}'; end $$")  # type: ignore[call-overload]


def new_accounts(target: Target) -> list[int]:
    with connect(target) as conn:
        return [n for (n,) in conn.execute("select id from account where id > 100")]


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "53300", "57P03"])
def test_lost_races_and_busy_servers_are_tried_again_as_a_whole(
    sqlstate: str, database: Database, target: Target
) -> None:
    work = Failing(raises(sqlstate), times=2)
    assert run_transaction(database, work, retry=QUICK) == "done"
    assert work.calls == 3
    assert new_accounts(target) == [103], "of the failed attempts nothing is left"


@pytest.mark.parametrize("sqlstate", ["23505", "42601", "22012", "57014", "53100", "53200", "55P03", "P0001", "28000"])
def test_what_would_fail_again_is_not_tried_again(sqlstate: str, database: Database, target: Target) -> None:
    work = Failing(raises(sqlstate), times=9)
    with pytest.raises(psycopg.Error) as caught:
        run_transaction(database, work, retry=QUICK)
    assert (caught.value.sqlstate, work.calls) == (sqlstate, 1)
    assert new_accounts(target) == []


def test_a_lock_that_was_not_to_be_had_is_tried_again_on_request(database: Database) -> None:
    work = Failing(raises("55P03"), times=2)
    assert run_transaction(database, work, retry=replace(QUICK, locks=True)) == "done"
    assert work.calls == 3


def test_attempts_end_and_the_last_error_is_raised(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pliers_db")
    work = Failing(raises("40001"), times=99)
    with pytest.raises(psycopg.errors.SerializationFailure):
        run_transaction(database, work, retries=2, retry=QUICK, name="transfer")
    assert work.calls == 3
    lines = [r for r in caplog.records if r.name == "pliers_db.db.retry"]
    assert [(r.attempt, r.sqlstate) for r in lines] == [(1, "40001"), (2, "40001"), (3, "40001")]  # type: ignore[attr-defined]
    assert all(r.getMessage().startswith("transfer: attempt ") for r in lines)


def test_without_retries_there_is_one_attempt(database: Database) -> None:
    work = Failing(raises("40001"), times=9)
    with pytest.raises(psycopg.errors.SerializationFailure):
        run_transaction(database, work, retries=0)
    assert work.calls == 1


def test_the_total_deadline_ends_the_attempts(database: Database) -> None:
    work = Failing(raises("40001"), times=10**6)
    slow = RetryPolicy(attempts=10**6, base=0.05, cap=0.05)
    began = time.monotonic()
    with pytest.raises(psycopg.errors.SerializationFailure):
        run_transaction(database, work, retry=slow, deadline=0.4)
    assert time.monotonic() - began < 5
    assert work.calls > 1


def test_inside_a_callers_transaction_nothing_is_tried_again(database: Database) -> None:
    work = Failing(raises("40001"), times=1)

    def outer(conn: Connection) -> None:
        run_transaction(conn, work)

    with pytest.raises(psycopg.errors.SerializationFailure):
        run_transaction(database, outer, retries=0)
    assert work.calls == 1
    assert run_transaction(database, outer, retry=QUICK) is None, "the outermost runs it all again"


def test_a_connection_lost_before_commit_is_replaced_and_the_whole_is_run_again(
    database: Database, target: Target
) -> None:
    def die(conn: Connection) -> None:
        with connect(target) as other:
            other.execute("select pg_terminate_backend(%s, 5000)", [conn.info.backend_pid])
        conn.execute("select 1")

    work = Failing(die, times=2)
    assert run_transaction(database, work, retry=QUICK) == "done"
    assert work.calls == 3
    assert new_accounts(target) == [103]


def test_a_session_ended_for_idling_in_its_transaction_is_a_lost_connection(database: Database, target: Target) -> None:
    """25P03 comes as InternalError, not as OperationalError (research: health §2.3)."""

    def idle(conn: Connection) -> None:
        conn.execute("set local idle_in_transaction_session_timeout = '50ms'")
        time.sleep(0.3)
        conn.execute("select 1")

    work = Failing(idle, times=1)
    assert run_transaction(database, work, retry=QUICK) == "done"
    assert new_accounts(target) == [102]


def test_a_session_that_the_server_ended_for_idling_in_the_pool_is_not_lent(target: Target) -> None:
    """57P05, the idle_session_timeout of a server or a service."""
    limits = replace(target, params={"options": "-c idle_session_timeout=100ms"})
    with Database(limits, LIMITS) as database:
        for _ in range(3):
            with database.connection(autocommit=True) as conn:
                assert conn.execute("select 1").fetchone() == (1,)
            time.sleep(0.3)
        assert database.stats().hung_up >= 1


def test_a_cut_network_is_survived_without_a_second_effect(
    database: Database, proxy: FaultProxy, target: Target
) -> None:
    with Database(proxy.target(), LIMITS) as shaky:
        work = Failing(lambda conn: [proxy.cut(), conn.execute("select 1")], times=2)
        assert run_transaction(shaky, work, retry=QUICK) == "done"
    assert new_accounts(target) == [103]


def test_a_server_that_comes_back_in_time_is_waited_for(proxy: FaultProxy) -> None:
    proxy.refuse()
    threading.Timer(0.5, proxy.heal).start()
    patient = RetryPolicy(attempts=100, base=0.2, cap=0.2)
    with Database(proxy.target(), LIMITS) as database:
        database.breaker._limit = 10**6
        assert run_transaction(database, lambda conn: conn.execute("select 1").fetchone(), retry=patient) == (1,)


def test_a_wrong_database_name_is_not_tried_again(target: Target) -> None:
    with Database(target.with_database("no_such_db"), LIMITS) as database:
        with pytest.raises(ConnectFailed):
            run_transaction(database, lambda conn: None, retries=5)
        assert database.stats().refused == 1


def test_an_interruption_is_never_tried_again(database: Database) -> None:
    calls = []

    def work(conn: Connection) -> None:
        calls.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_transaction(database, work)
    assert calls == [1]


def test_a_serialization_failure_at_commit_itself_is_tried_again(database: Database, target: Target) -> None:
    """Write skew shows at COMMIT: it has to be part of what is tried again (research: health §7)."""
    calls = []

    def withdraw(conn: Connection) -> None:
        calls.append(1)
        (total,) = conn.execute("select sum(amount) from account").fetchone()  # type: ignore[misc]
        if len(calls) == 1:
            with connect(target) as other, other.transaction():
                other.execute("set transaction isolation level serializable")
                other.execute("select sum(amount) from account")
                other.execute("update account set amount = amount - 150 where id = 2")
        if total >= 150:
            conn.execute("update account set amount = amount - 150 where id = 1")

    run_transaction(database, withdraw, isolation="serializable", retry=QUICK)
    assert len(calls) == 2
    with connect(target) as conn:
        assert conn.execute("select sum(amount) from account").fetchone() == (50,)


# ── the circuit breaker, through the front door ─────────────────────────────────────────────────────────────
def test_a_database_that_stays_away_is_refused_in_under_a_millisecond_with_cause_and_time(proxy: FaultProxy) -> None:
    with Database(proxy.target(), LIMITS) as database:
        run_transaction(database, lambda conn: None)
        proxy.refuse()
        deadline = time.monotonic() + 30
        with pytest.raises(CircuitOpen):
            while time.monotonic() < deadline:
                with pytest.raises((ConnectFailed, psycopg.OperationalError)):
                    run_transaction(database, lambda conn: conn.execute("select 1"), retries=0)
                time.sleep(0.1)
        took = []
        for _ in range(50):
            began = time.perf_counter()
            with pytest.raises(CircuitOpen) as caught:
                run_transaction(database, lambda conn: None)
            took.append(time.perf_counter() - began)
        assert min(took) < 0.001
        assert "refused" in caught.value.why
        assert caught.value.details["seconds_left"] > 0
        with pytest.raises(CircuitOpen), database.connection():
            pass
        assert database.stats().breaker.state.value == "open"
        proxy.heal()
        database.breaker._cooldown = 0.0
        assert run_transaction(database, lambda conn: conn.execute("select 1").fetchone()) == (1,)
        assert database.stats().breaker.state.value == "closed"


def test_ten_connections_lost_at_once_are_one_failure(database: Database, target: Target) -> None:
    with Database(target, replace(LIMITS, max_size=10)) as wide:
        kept = [wide.connection() for _ in range(10)]
        conns = [one.__enter__() for one in kept]
        with connect(target) as admin:
            admin.execute(
                "select pg_terminate_backend(pid, 5000) from unnest(%s::int[]) pid",
                [[c.info.backend_pid for c in conns]],
            )
        for one, conn in zip(kept, conns, strict=True):
            with pytest.raises(psycopg.OperationalError) as caught:
                conn.execute("select 1")
            one.__exit__(type(caught.value), caught.value, None)
        assert wide.stats().breaker.failures == 1
        assert run_transaction(wide, lambda conn: conn.execute("select 1").fetchone()) == (1,)


def test_an_error_of_another_database_inside_the_block_is_not_held_against_this_one(database: Database) -> None:
    for _ in range(10):
        with pytest.raises(ConnectFailed), database.connection() as conn:
            conn.execute("select 1")
            raise ConnectFailed("another database is away", kind="unreachable")
    assert database.stats().breaker.failures == 0


# ── degradation ─────────────────────────────────────────────────────────────────────────────────────────────
def test_a_read_falls_back_when_the_database_cannot_be_asked(proxy: FaultProxy) -> None:
    with Database(proxy.target(), LIMITS) as database:
        proxy.refuse()
        seen: list[Exception] = []

        def cached(error: Exception) -> str:
            seen.append(error)
            return "from the cache"

        assert (
            run_transaction(
                database, lambda conn: "fresh", read_only=True, fallback=cached, retry=replace(QUICK, attempts=2)
            )
            == "from the cache"
        )
        assert isinstance(seen[0], ConnectFailed)
        proxy.heal()
        assert run_transaction(database, lambda conn: "fresh", read_only=True, fallback=cached) == "fresh"


def test_a_mistake_in_the_read_does_not_fall_back(database: Database) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        run_transaction(
            database, lambda conn: conn.execute("select * from nowhere"), read_only=True, fallback=lambda _: "hidden"
        )


def test_a_write_has_no_fallback(database: Database) -> None:
    with pytest.raises(InputError, match="read_only=True"):
        run_transaction(database, lambda conn: None, fallback=lambda _: None)


def test_a_hung_server_is_left_at_the_deadline_and_the_fallback_serves(proxy: FaultProxy) -> None:
    with Database(proxy.target(), LIMITS) as database:
        run_transaction(database, lambda conn: None)
        proxy.blackhole()
        began = time.monotonic()
        answer = run_transaction(database, lambda conn: "fresh", read_only=True, deadline=0.5, fallback=type)
        assert answer is DeadlinePassed
        assert time.monotonic() - began < 10
