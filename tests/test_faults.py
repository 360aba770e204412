"""What networks and servers do: refuse, delay, cut, swallow, restart. Each ends in a classified error, in time."""

from __future__ import annotations

import time

import psycopg
import pytest

from pliers_db.config import PoolSettings, Target
from pliers_db.db import Database, connect
from pliers_db.errors import ConnectFailed, DeadlinePassed
from tests.fix_migrate import wait_until
from tests.fix_proxy import FaultProxy

LIMITS = PoolSettings(min_size=1, max_size=4, checkout_timeout=20.0)


def one(database: Database, **how: float) -> object:
    with database.connection(autocommit=True, **how) as conn:  # type: ignore[arg-type]
        return conn.execute("select 1").fetchone()


def test_a_refused_port_is_told_and_healing_needs_nobody(proxy: FaultProxy) -> None:
    with Database(proxy.target(), LIMITS) as database:
        assert one(database) == (1,)
        proxy.refuse()
        time.sleep(0.1)
        with pytest.raises(ConnectFailed) as caught:
            one(database)
        assert caught.value.kind == "unreachable"
        proxy.heal()
        assert one(database) == (1,)


def test_latency_makes_things_slow_and_nothing_else(proxy: FaultProxy) -> None:
    proxy.latency = 0.02
    with Database(proxy.target(), LIMITS) as database:
        assert [one(database) for _ in range(3)] == [(1,)] * 3


def test_connections_that_the_server_ended_are_not_lent(target: Target) -> None:
    """Without a look at the socket the next two borrowers would each meet 57P01 (research: health §2.2)."""
    with Database(target, LIMITS) as database:
        kept = [database.borrow() for _ in range(4)]
        for conn in kept:
            database.give_back(conn)
        with connect(target) as admin:
            admin.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'pliers-db'"
                " and pid <> pg_backend_pid() and datname = current_database()"
            )
        time.sleep(0.15)
        for _ in range(6):
            assert one(database) == (1,)
        assert database.stats().hung_up >= 1


def test_a_cut_during_a_statement_is_an_error_of_the_statement_and_the_next_one_works(proxy: FaultProxy) -> None:
    with Database(proxy.target(), LIMITS) as database:
        with pytest.raises(psycopg.OperationalError), database.connection() as conn:
            conn.execute("select 1")
            proxy.cut()
            conn.execute("select 1")
        assert one(database) == (1,)


def test_a_server_that_hangs_is_cut_off_at_the_deadline(proxy: FaultProxy, caplog: pytest.LogCaptureFixture) -> None:
    with Database(proxy.target(), LIMITS) as database:
        assert one(database) == (1,)
        proxy.blackhole()
        began = time.monotonic()
        with pytest.raises(DeadlinePassed) as caught:
            one(database, deadline=0.5)
        assert 0.4 < time.monotonic() - began < 10
        assert caught.value.exit_code == 3
        wait_until(lambda: "in one" in caplog.text)  # the borrower is named, right after the cut
        assert database.stats().cut == 1
        proxy.heal()
        assert one(database) == (1,)


def test_a_server_that_does_not_keep_its_own_statement_timeout_is_cut_off(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pliers_db.db.lent._GRACE", 0.3)
    limits = PoolSettings(min_size=1, max_size=1, statement_timeout=0.3)
    with Database(proxy.target(), limits) as database:
        assert one(database) == (1,)
        proxy.blackhole()
        with pytest.raises(DeadlinePassed):
            one(database)


def test_who_lifts_the_statement_timeout_may_take_as_long_as_it_needs(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pliers_db.db.lent._GRACE", 0.1)
    limits = PoolSettings(min_size=1, max_size=1, statement_timeout=0.2)
    with Database(proxy.target(), limits) as database:
        with database.connection(autocommit=True) as conn:
            conn.execute("set statement_timeout = 0")
            conn.execute("select pg_sleep(0.8)")
        with database.connection() as conn:
            conn.execute("set local statement_timeout = 0")
            conn.execute("select pg_sleep(0.8)")


def test_a_deadline_that_was_kept_cuts_nobody_later(target: Target) -> None:
    with Database(target, PoolSettings(min_size=1, max_size=1)) as database:
        one(database, deadline=0.3)
        with database.connection(autocommit=True) as conn:
            assert conn.execute("select pg_sleep(0.7)").fetchone() is not None
        assert database.stats().cut == 0


def test_a_black_hole_while_connecting_ends_after_the_connect_timeout(proxy: FaultProxy) -> None:
    from dataclasses import replace

    proxy.blackhole()
    patient = PoolSettings(min_size=1, max_size=2, checkout_timeout=60.0)
    with Database(replace(proxy.target(), connect_timeout=2.0), patient) as database:
        began = time.monotonic()
        with pytest.raises(ConnectFailed) as caught:
            one(database)
        assert time.monotonic() - began < 30
        assert caught.value.kind == "timeout"
