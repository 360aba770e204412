"""What runs right now: planted sessions are found, gone ones are not, and each false positive stays silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.health import Outcome
from tests.fix_health import Lab, Outcomes, plain_role

Opener = Callable[[Target], Connection]


def at_once(name: str, fail: str = '"1h"') -> str:
    """Limits that are reached at once."""
    return f'[health.thresholds]\n{name} = {{ warn = "10ms", fail = {fail} }}'


@contextmanager
def running(conn: Connection, statement: str) -> Iterator[None]:
    """A statement that runs while the block does; it ends by being cancelled."""

    def run() -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute(statement)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.3)
    try:
        yield
    finally:
        conn.cancel_safe()
        thread.join(10)


def test_a_session_idle_in_a_transaction_is_found_and_its_end_mends_it(either: Outcomes, session: Opener) -> None:
    idle = session(either.target)
    idle.execute("begin")
    time.sleep(0.05)
    result = either("idle_in_tx", toml=at_once("idle_in_tx"))
    assert result.outcome is Outcome.WARN
    assert result.fix == f"select pg_terminate_backend({idle.info.backend_pid});"
    assert either("idle_in_tx", toml=at_once("idle_in_tx", '"20ms"')).outcome is Outcome.FAIL
    assert either("idle_in_tx").outcome is Outcome.OK, "a short pause is nothing"
    idle.execute("commit")
    assert either("idle_in_tx", toml=at_once("idle_in_tx")).outcome is Outcome.OK


def test_a_transaction_that_failed_and_was_left_is_found_too(either: Outcomes, session: Opener) -> None:
    idle = session(either.target)
    idle.execute("begin")
    with pytest.raises(psycopg.errors.DivisionByZero):
        idle.execute("select 1 / 0")
    time.sleep(0.05)
    assert len(either.found("idle_in_tx", toml=at_once("idle_in_tx"))) == 1
    idle.execute("rollback")


@pytest.mark.parametrize("check", ["idle_in_tx", "long_query", "blocking", "xmin_horizon"])
def test_a_plain_role_is_not_told_that_all_is_well(either: Outcomes, session: Opener, check: str) -> None:
    session(either.target).execute("begin")
    name = f"health_{check}_{either.target.dbname}"
    with plain_role(either.target, name) as role:
        result = either(check, role=role)
        assert result.outcome is Outcome.SKIPPED
        assert f"grant pg_monitor to {name};" in result.summary
        with connect(either.target) as admin:
            admin.execute(f'grant pg_monitor to "{name}"')
        assert either(check, role=role).outcome.examined


def test_a_long_statement_is_found_and_its_end_mends_it(either: Outcomes, session: Opener) -> None:
    with running(session(either.target), "select pg_sleep(60)"):
        result = either("long_query", toml=at_once("long_query"))
        assert result.outcome is Outcome.WARN
        assert result.fix.startswith("select pg_cancel_backend(")
    assert either("long_query", toml=at_once("long_query")).outcome is Outcome.OK


def test_the_text_of_a_statement_is_never_in_the_report(either: Outcomes, session: Opener) -> None:
    with running(session(either.target), "select pg_sleep(60), 'a secret of a person'"):
        assert "secret" not in str(either("long_query", toml=at_once("long_query")).as_dict())


def test_dumps_and_named_applications_may_run_long(either: Outcomes, session: Opener) -> None:
    limits = at_once("long_query")
    conn = session(either.target)
    conn.execute("set application_name = 'pg_dump'")
    with running(conn, "select pg_sleep(60)"):
        assert either.found("long_query", toml=limits) == []
    conn.execute("set application_name = 'nightly report'")
    with running(conn, "select pg_sleep(60)"):
        assert len(either.found("long_query", toml=limits)) == 1
        ignoring = f'[health]\nignore_applications = ["nightly report"]\n{limits}'
        assert either.found("long_query", toml=ignoring) == []


def test_maintenance_that_shows_progress_may_run_long(either: Outcomes, session: Opener) -> None:
    holder = session(either.target)
    holder.execute("create table items (id int)")
    holder.execute("begin; insert into items values (1)")
    with running(session(either.target), "create index concurrently items_id on items (id)"):
        assert either.found("long_query", toml=at_once("long_query")) == []
    holder.execute("rollback")


def test_a_session_that_waits_for_a_lock_is_found_with_the_one_that_holds_it(either: Outcomes, session: Opener) -> None:
    holder, waiter = session(either.target), session(either.target)
    holder.execute("create table items (id int)")
    holder.execute("begin; lock table items in access exclusive mode")
    with running(waiter, "select * from items"):
        result = either("blocking", toml=at_once("blocking"))
        assert result.outcome is Outcome.WARN
        assert f"pid {waiter.info.backend_pid} " in result.summary
        assert "public.items" in result.summary
        assert f"held by pid {holder.info.backend_pid} " in result.summary
        assert result.fix == f"select pg_cancel_backend({holder.info.backend_pid});"
    holder.execute("rollback")
    assert either("blocking", toml=at_once("blocking")).outcome is Outcome.OK


def test_holding_a_lock_that_nobody_waits_for_is_no_finding(either: Outcomes, session: Opener) -> None:
    holder = session(either.target)
    holder.execute("create table items (id int)")
    holder.execute("begin; lock table items in access exclusive mode")
    assert either.found("blocking", toml=at_once("blocking")) == []


def test_a_prepared_transaction_left_lying_is_found_and_its_rollback_mends_it(lab: Lab) -> None:
    with connect(lab.target) as conn:
        conn.execute("begin; create table pt (id int); prepare transaction 'it''s mine'")
        try:
            time.sleep(0.05)
            result = lab.judge("prepared_xacts", toml=at_once("prepared_xacts"))
            assert result.outcome is Outcome.WARN
            assert lab.judge("prepared_xacts").outcome is Outcome.OK, "a young one is how it works"
            conn.execute(result.fix)
        except BaseException:
            conn.execute("rollback prepared 'it''s mine'")
            raise
    assert lab.judge("prepared_xacts", toml=at_once("prepared_xacts")).outcome is Outcome.OK


def test_what_holds_vacuum_back_is_named(lab: Lab, session: Opener) -> None:
    limits = "[health.thresholds]\nxmin_xids = { warn = 3, fail = 50 }"
    holder = session(lab.target)
    holder.execute("set application_name = 'report'; begin isolation level repeatable read")
    holder.execute("select count(*) from pg_class")
    with connect(lab.target) as conn:
        burn(conn, 10)
        result = lab.judge("xmin_horizon", toml=limits)
        assert result.outcome is Outcome.WARN
        assert f"session {holder.info.backend_pid} (report)" in result.summary
        burn(conn, 50)
        assert lab.judge("xmin_horizon", toml=limits).outcome is Outcome.FAIL
    holder.execute("commit")
    assert lab.judge("xmin_horizon", toml=limits).outcome is Outcome.OK


def test_a_slot_that_holds_vacuum_back_is_named(lab: Lab) -> None:
    limits = "[health.thresholds]\nxmin_xids = { warn = 3, fail = 1000 }"
    with connect(lab.target) as conn:
        conn.execute("select pg_create_logical_replication_slot('lagging', 'pgoutput')")
        try:
            burn(conn, 10)
            assert lab.judge.found("xmin_horizon", toml=limits) == ["replication slot lagging"]
        finally:
            conn.execute("select pg_drop_replication_slot('lagging')")
    assert lab.judge.found("xmin_horizon", toml=limits) == []


def burn(conn: Connection, count: int) -> None:
    """Use up transaction ids."""
    for _ in range(count):
        conn.execute("select pg_current_xact_id()")
