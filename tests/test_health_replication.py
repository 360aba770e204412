"""Replication and archiving, with a real standby: lag, slots, a failing archive_command."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pliers_db.config import Target
from pliers_db.db import connect
from pliers_db.health import Level, Outcome
from pliers_db.postgres import Server, run_program
from pliers_db.postgres.account import server_account
from tests.fix_health import Examine, Lab, result_of

_numbers = itertools.count(1)
SECOND = '[health.thresholds]\nrepl_lag = { warn = "300ms", fail = "10min" }'


def until(promise: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that takes a moment."""
    for _ in range(int(seconds * 10)):
        if promise():
            return
        time.sleep(0.1)
    raise AssertionError("it never came true")


@contextmanager
def standby_of(lab: Lab) -> Iterator[Server]:
    """A streaming standby of the lab's server."""
    primary = lab.server
    data = primary.data.parent / f"standby{next(_numbers)}"
    data.mkdir(mode=0o700)
    account = server_account(data)
    if account is not None:
        account.own(data)
    run_program(
        primary.binaries,
        "pg_basebackup",
        ["-D", data, "-X", "stream", "-R", "-c", "fast"],
        target=lab.target,
        account=account,
    ).check()
    standby = Server(
        data,
        primary.binaries,
        primary.socket_dir.parent / "s2",
        settings={
            **primary.settings,
            "hot_standby": "on",
            "cluster_name": "second",
            "wal_receiver_status_interval": "1s",
        },
        attached=True,
    )
    standby.start()
    try:
        yield standby
    finally:
        standby.stop("immediate")


@pytest.mark.slow
def test_a_standby_that_lags_is_found_on_both_sides_and_catching_up_mends_it(lab: Lab, examine: Examine) -> None:
    with standby_of(lab) as standby, connect(lab.target) as primary, connect(standby.target()) as second:
        until(lambda: bool(primary.execute("select 1 from pg_stat_replication where state = 'streaming'").fetchone()))

        def here(toml: str = SECOND) -> Outcome:
            return lab.judge("repl_lag", toml=toml).outcome

        def there(toml: str = SECOND) -> Outcome:
            return result_of(examine(standby.target(), "repl_lag", toml=toml), "repl_lag").outcome

        primary.execute("create table if not exists ping (v int); insert into ping values (1)")
        until(lambda: here() is Outcome.OK and there() is Outcome.OK)
        time.sleep(1)
        assert there() is Outcome.OK, "an idle primary is no lag, however long its last transaction is past"

        second.execute("select pg_wal_replay_pause()")
        primary.execute("insert into ping values (2)")
        until(lambda: here() is Outcome.WARN and there() is Outcome.WARN)
        paused = result_of(examine(standby.target(), "repl_lag"), "repl_lag")
        assert paused.fix == "select pg_wal_replay_resume();"
        second.execute(paused.fix)
        until(lambda: here() is Outcome.OK and there() is Outcome.OK)

        # the whole report on a standby
        report = examine(standby.target())
        assert report.server is not None
        assert report.server.standby
        assert [(r.check.id, r.summary) for r in report.results if r.outcome is Outcome.UNKNOWN] == []
        primary.execute("drop table ping")


@pytest.mark.slow
def test_a_standby_that_lost_its_primary_is_found(lab: Lab, examine: Examine) -> None:
    with standby_of(lab) as standby, connect(standby.target()) as second:
        until(lambda: bool(second.execute("select 1 from pg_stat_wal_receiver").fetchone()))
        with connect(lab.target) as primary:
            second.execute("select 1")
            primary.execute("alter system set max_wal_senders = 10")
        auto = standby.data / "postgresql.auto.conf"
        auto.write_text(auto.read_text() + "\nprimary_conninfo = 'host=/nowhere'\n")
        second.execute("select pg_reload_conf()")

        def found() -> bool:
            result = result_of(examine(standby.target(), "repl_lag"), "repl_lag")
            return "no WAL receiver" in result.summary

        until(found)


def test_a_slot_that_nobody_reads_is_found_and_dropping_it_mends_it(lab: Lab) -> None:
    idle = '[health.thresholds]\nslots_idle = { warn = "10ms" }'
    some = '[health.thresholds]\nslots_bytes = { warn = "1MB", fail = "1GB" }'
    with connect(lab.target) as conn:
        conn.execute("select pg_create_physical_replication_slot('forgotten', true)")
        try:
            time.sleep(0.1)
            result = lab.judge("slots", toml=idle)
            assert [f.about for f in result.findings] == ["forgotten"]
            # since when it is idle is known from 17 on
            modern = conn.execute("select current_setting('server_version_num')::int >= 170000").fetchone()
            assert result.outcome is (Outcome.WARN if modern == (True,) else Outcome.OK)
            conn.execute("create table if not exists wal (v text)")
            conn.execute("insert into wal select repeat(i::text, 100) from generate_series(1, 20000) i")
            result = lab.judge("slots", toml=some)
            assert result.outcome is Outcome.WARN
            assert "nobody reads it" in result.summary
            conn.execute(result.fix)
        finally:
            conn.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'forgotten';"
                "drop table if exists wal"
            )
    assert lab.judge.found("slots", toml=some) == []


def test_a_slot_whose_wal_is_gone_fails(lab: Lab) -> None:
    lab.set("max_slot_wal_keep_size", "'1MB'")
    with connect(lab.target) as conn:
        conn.execute("select pg_create_physical_replication_slot('lost', true)")
        try:
            for _ in range(3):
                conn.execute("select pg_switch_wal() from pg_logical_emit_message(true, 'x', repeat('x', 100000))")
            conn.execute("checkpoint")
            result = lab.judge("slots")
            assert result.outcome is Outcome.FAIL
            assert [f.level for f in result.findings] == [Level.FAIL]
            conn.execute(result.fix)
        finally:
            conn.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'lost'"
            )
            lab.set("max_slot_wal_keep_size", None)
    assert lab.judge("slots").outcome is Outcome.OK


def test_an_archive_command_that_fails_is_found_and_a_success_ends_it(lab: Lab) -> None:
    never = '[health.thresholds]\narchiver = { warn = "0s", fail = "1h" }'
    with connect(lab.target) as conn:
        conn.execute("select pg_switch_wal() from pg_logical_emit_message(true, 'x', 'first')")
        until(lambda: lab.judge("archiver", toml=never).outcome is Outcome.OK)
        lab_command(lab, "false")
        conn.execute("select pg_switch_wal() from pg_logical_emit_message(true, 'x', 'second')")
        until(lambda: lab.judge("archiver", toml=never).outcome is Outcome.WARN)
        at_once = '[health.thresholds]\narchiver = { warn = "0s", fail = "1ms" }'
        assert lab.judge("archiver", toml=at_once).outcome is Outcome.FAIL
        lab_command(lab, "true")
        # the count of failures stays; what counts is that a success has followed
        until(lambda: lab.judge("archiver", toml=never).outcome is Outcome.OK, 90)
        row = conn.execute("select failed_count > 0 from pg_stat_archiver").fetchone()
        assert row == (True,)


def lab_command(lab: Lab, command: str) -> None:
    """The lab's command to archive is a script whose content a test changes."""
    script = lab.server.data / "archive.sh"
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(0o755)


def test_archiving_to_nowhere_is_found(lab: Lab) -> None:
    """By the judgement: the servers of the tests have a command on their command line."""
    from pliers_db.health.checks import replication

    row = {"mode": "on", "nowhere": True}
    judged = replication.archiver.judge([row], None)  # type: ignore[arg-type]
    assert [f.about for f in judged.findings] == ["command"]


def test_without_archiving_the_check_is_skipped(examine: Examine, target: Target) -> None:
    assert result_of(examine(target, "archiver"), "archiver").outcome is Outcome.SKIPPED


def test_a_running_base_backup_is_no_standby(lab: Lab) -> None:
    assert lab.judge("repl_lag").summary == "0 standbys connected"
