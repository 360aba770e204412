"""Settings, collations, security and statistics: planted faults are found, repaired states are clean."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from pliers_db.config import Target
from pliers_db.db import connect
from pliers_db.health import Level, Outcome, Report, Result
from pliers_db.postgres import Server, find_binaries, run_program, scratch_server
from pliers_db.postgres.account import server_account
from tests.fix_health import Examine, Lab, Outcomes, plain_role, result_of
from tests.fix_proxy import FaultProxy
from tests.test_health_schema import lay


@pytest.mark.parametrize(
    ("name", "bad"), [("zero_damaged_pages", "on"), ("password_encryption", "md5"), ("ignore_checksum_failure", "on")]
)
def test_a_setting_that_endangers_data_is_found_and_the_printed_statement_mends_it(
    lab: Lab, name: str, bad: str
) -> None:
    lab.set(name, bad)
    try:
        result = lab.judge("settings", env="production")
        finding = next(f for f in result.findings if f.about == name)
        assert finding.level is (Level.WARN if name == "password_encryption" else Level.FAIL)
        with connect(lab.target) as conn:
            for statement in finding.fix.split("; "):
                conn.execute(statement.removesuffix(";"))
        time.sleep(0.3)
        assert name not in lab.judge.found("settings", env="production")
    finally:
        lab.set(name, None)


def test_what_is_fast_instead_of_safe_is_a_note_in_test_and_fails_in_production(lab: Lab) -> None:
    """The servers of the tests run without fsync."""
    assert "fsync" in lab.judge.found("settings")
    assert lab.judge("settings").outcome is Outcome.OK, lab.judge("settings").summary
    assert lab.judge("settings", env="development").outcome is Outcome.WARN
    assert lab.judge("settings", env="production").outcome is Outcome.FAIL


def test_a_changed_setting_that_waits_for_a_restart_is_found(lab: Lab) -> None:
    lab.set("max_worker_processes", "9")
    try:
        assert "max_worker_processes restart" in lab.judge.found("settings")
        assert lab.judge("settings").outcome is Outcome.WARN
        lab.set("max_worker_processes", "8")  # as it runs
        assert "max_worker_processes restart" not in lab.judge.found("settings")
    finally:
        lab.set("max_worker_processes", None)


def test_what_the_command_line_sets_does_not_wait_for_a_restart(lab: Lab) -> None:
    """The server calls it pending after a reload, since its file says otherwise."""
    with connect(lab.target) as conn:
        conn.execute("select pg_reload_conf()")
        time.sleep(0.3)
        row = conn.execute("select pending_restart from pg_settings where name = 'max_connections'").fetchone()
    assert row == (True,)
    assert "max_connections restart" not in lab.judge.found("settings")


def test_a_transaction_without_a_limit_is_found_in_production_only(lab: Lab) -> None:
    name = "idle_in_transaction_session_timeout"
    assert name in lab.judge.found("settings", env="production")
    assert name not in lab.judge.found("settings", env="development")
    lab.set(name, "'10min'")
    try:
        assert name not in lab.judge.found("settings", env="production")
    finally:
        lab.set(name, None)


@pytest.mark.pg15
def test_a_collation_that_has_changed_its_version_is_found_and_refreshing_mends_it(
    examine: Examine, target15: Target
) -> None:
    name = f"{target15.dbname}_icu"
    with connect(target15) as admin:
        admin.execute(f'create database "{name}" locale_provider icu icu_locale "en" template template0')
        there = target15.with_database(name)
        try:
            assert result_of(examine(there, "collation"), "collation").outcome is Outcome.OK
            admin.execute(f"update pg_database set datcollversion = '1.1' where datname = '{name}'")
            result = result_of(examine(there, "collation"), "collation")
            assert result.outcome is Outcome.FAIL
            with connect(there) as conn:
                for statement in result.fix.removesuffix(";").split("; "):
                    conn.execute(statement)
            assert result_of(examine(there, "collation"), "collation").outcome is Outcome.OK
        finally:
            admin.execute(f'drop database "{name}" with (force)')


def test_a_builtin_collation_of_18_is_watched_too(examine: Examine, target: Target) -> None:
    name = f"{target.dbname}_builtin"
    with connect(target) as admin:
        admin.execute(f'create database "{name}" locale_provider builtin builtin_locale "C.UTF-8" template template0')
        try:
            there = target.with_database(name)
            assert result_of(examine(there, "collation"), "collation").outcome is Outcome.OK
            admin.execute(f"update pg_database set datcollversion = '0' where datname = '{name}'")
            assert result_of(examine(there, "collation"), "collation").outcome is Outcome.FAIL
        finally:
            admin.execute(f'drop database "{name}" with (force)')


@pytest.mark.pg15
def test_only_collations_in_use_count(examine: Examine, target15: Target) -> None:
    with connect(target15) as conn:
        conn.execute("create collation german (provider = icu, locale = 'de')")
        conn.execute("update pg_collation set collversion = '1.1' where collname = 'german'")
        assert result_of(examine(target15, "collation"), "collation").outcome is Outcome.OK
        conn.execute("create table words (w text collate german)")
        result = result_of(examine(target15, "collation"), "collation")
        assert [f.about for f in result.findings] == ["collation public.german"]
        conn.execute("alter collation german refresh version")
    assert result_of(examine(target15, "collation"), "collation").outcome is Outcome.OK


def test_a_provider_that_tracks_no_version_is_no_alarm(either: Outcomes) -> None:
    """The test servers have C.UTF-8 of libc, of which no version is known."""
    assert either("collation").outcome is Outcome.OK


def test_a_local_socket_needs_no_encryption(either: Outcomes) -> None:
    assert either("tls", env="production").outcome is Outcome.OK


def test_a_connection_in_clear_is_found_in_production(judge: Outcomes) -> None:
    """By the judgement: no test host has an address that is not its own."""
    from pliers_db.health.checks import security

    row = {"ssl": False, "version": None, "cipher": None, "is_local": False, "address": "10.1.2.3"}

    class At:
        class settings:
            environment: object = None

    def judged(environment: str, **changes: object) -> list[Level]:
        from pliers_db.config import Environment

        At.settings.environment = Environment(environment)
        return [f.level for f in security.tls.judge([row | changes], At).findings]  # type: ignore[arg-type]

    assert judged("production") == [Level.FAIL]
    assert judged("staging") == [Level.WARN]
    assert judged("development") == [Level.INFO]
    assert judged("production", address="127.0.0.1") == [Level.WARN]
    assert judged("production", ssl=True, version="TLSv1.3", cipher="x") == []


def test_an_encrypted_connection_is_clean(proxy: FaultProxy, examine: Examine) -> None:
    """In clear over TCP to this machine: a note on a laptop."""
    result = result_of(examine(proxy.target(), "tls"), "tls")
    assert result.outcome is Outcome.OK


def test_lines_of_pg_hba_that_let_anybody_in_are_found(lab: Lab) -> None:
    hba = lab.server.data / "pg_hba.conf"
    before = hba.read_text()
    strict = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    try:
        write_hba(lab, strict)
        assert lab.judge.found("hba", env="production") == []
        write_hba(lab, strict + "host all all 0.0.0.0/0 trust\nhostnossl all app 10.0.0.0/8 password\n")
        result = lab.judge("hba", env="production")
        assert [(f.about, f.level) for f in result.findings] == [
            ("pg_hba.conf line 3", Level.FAIL),
            ("pg_hba.conf line 4", Level.WARN),
        ]
        assert lab.judge("hba", env="development").outcome is Outcome.OK
        write_hba(lab, strict + "host all all nonsense/99 trust\n")
        assert "cannot be read" in lab.judge("hba").summary
    finally:
        write_hba(lab, before)


def test_a_password_in_clear_within_tls_is_no_finding(judge: Outcomes) -> None:
    """By the judgement: the servers of the tests have no TLS, and reject such a line."""
    from pliers_db.health.checks import security

    class At:
        class settings:
            from pliers_db.config import Environment

            environment = Environment.PRODUCTION

    row = {"line_number": 3, "users": "app", "databases": "all", "address": "10.0.0.0", "error": None}
    for kind, count in (("hostssl", 0), ("host", 1), ("hostnossl", 1)):
        judged = security.hba.judge([row | {"type": kind, "method": "password"}], At)  # type: ignore[arg-type]
        assert len(judged.findings) == count, kind


def write_hba(lab: Lab, text: str) -> None:
    (lab.server.data / "pg_hba.conf").write_text(text)
    with connect(lab.target) as conn:
        conn.execute("select pg_reload_conf()")
    time.sleep(0.2)


def test_reading_pg_hba_needs_a_grant_that_is_printed(lab: Lab) -> None:
    with plain_role(lab.target, "health_hba") as role:
        result = lab.judge("hba", role=role)
        assert result.outcome is Outcome.SKIPPED
        with connect(lab.target) as conn:
            conn.execute(result.summary.partition(": ")[2])
        assert lab.judge("hba", role=role).outcome.examined
        with connect(lab.target) as conn:
            conn.execute("revoke select on pg_hba_file_rules from health_hba")


def test_a_superuser_is_found_in_production_and_a_role_of_its_own_is_clean(either: Outcomes) -> None:
    assert either("role", env="production").outcome is Outcome.FAIL
    assert either("role", env="development").outcome is Outcome.OK
    with plain_role(either.target, f"health_app_{either.target.dbname}") as role:
        assert either("role", env="production", role=role).outcome is Outcome.OK
        with connect(either.target) as admin:
            admin.execute(f'alter role "{role}" createrole bypassrls')
            result = either("role", env="production", role=role)
            assert {f.about for f in result.findings} == {"createrole", "bypassrls"}


def test_a_password_that_ends_soon_is_found(either: Outcomes) -> None:
    with plain_role(either.target, f"health_old_{either.target.dbname}") as role, connect(either.target) as admin:
        for until, outcome in (
            ("now() + interval '3 days'", Outcome.WARN),
            ("now() - interval '1 day'", Outcome.FAIL),
            ("now() + interval '90 days'", Outcome.OK),
            ("'infinity'::timestamptz", Outcome.OK),
        ):
            row = admin.execute(f"select ({until})::text").fetchone()
            assert row is not None
            admin.execute(f"alter role \"{role}\" valid until '{row[0]}'")
            assert either("role", role=role).outcome is outcome, until


def test_a_schema_in_which_everybody_creates_is_found_and_the_revoke_mends_it(either: Outcomes) -> None:
    lay(either, "create schema open", "grant create on schema open to public")
    result = either("role")
    assert "schema open" in [f.about for f in result.findings]
    assert result.fix == "revoke create on schema open from public;"
    lay(either, result.fix)
    assert "schema open" not in either.found("role")


def test_a_security_definer_without_a_search_path_is_found_and_setting_one_mends_it(either: Outcomes) -> None:
    lay(
        either,
        "create function f(a int, b text) returns int language sql security definer as 'select 1'",
        "create function g() returns int language sql as 'select 1'",
    )
    result = either("secdef")
    assert [f.about for f in result.findings] == ["public.f(integer,text)"]
    lay(either, result.fix)
    assert either.found("secdef") == []


def test_a_database_or_role_near_its_own_limit_is_found(either: Outcomes) -> None:
    name = either.target.dbname
    with connect(either.target) as admin, connect(either.target):
        admin.execute(f'alter database "{name}" connection limit 3')
        result = either("conn_limits")
        assert result.outcome is Outcome.FAIL
        assert f"database {name} uses 3 of its 3" in result.summary
        admin.execute(result.fix)
        assert either("conn_limits").outcome is Outcome.OK
    with plain_role(either.target, f"health_limit_{name}") as role, connect(either.target) as admin:
        admin.execute(f'alter role "{role}" connection limit 2')
        with connect(replace(either.target, user=role)):
            assert f"role {role}" in either.found("conn_limits", role=role)
            admin.execute(f'alter role "{role}" connection limit 50')
            assert either.found("conn_limits", role=role) == []


def test_blocks_from_disk_are_a_note_once_there_is_enough_to_count(lab: Lab) -> None:
    from pliers_db.health.checks import statistics

    class At:
        limits = statistics.cache_hit.limits

        def level(self, limit: str, value: float) -> Level | None:
            found = self.limits[limit].exceeded(value)
            return Level(found) if found else None

        def measure(self, *args: object) -> None:
            return None

    def judged(hit: float, read: float) -> list[Level]:
        row = {"hit": hit, "read": read, "window_seconds": 7200.0}
        return [f.level for f in statistics.cache_hit.judge([row], At()).findings]  # type: ignore[arg-type]

    assert judged(200_000, 100_000) == [Level.INFO]
    assert judged(1_000_000, 1000) == []
    assert lab.judge("cache_hit").outcome is Outcome.SKIPPED, "the server is younger than an hour"


def test_checkpoints_by_demand_are_found_and_a_reset_begins_anew(lab: Lab) -> None:
    with connect(lab.target) as conn:
        for _ in range(22):
            conn.execute("checkpoint")
        result = lab.judge("checkpoints")
        assert result.outcome is Outcome.WARN
        assert "max_wal_size" in result.fix
        row = conn.execute("select current_setting('server_version_num')::int >= 170000").fetchone()
        conn.execute(f"select pg_stat_reset_shared('{'checkpointer' if row and row[0] else 'bgwriter'}')")
    assert lab.judge("checkpoints").outcome is Outcome.SKIPPED


@pytest.fixture(params=[pytest.param(18, id="pg18"), pytest.param(15, id="pg15", marks=pytest.mark.pg15)])
def stoppable(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that a test may stop."""
    request.getfixturevalue("lab_server15" if request.param == 15 else "lab_server")  # skips where it is missing
    with scratch_server(find_binaries(request.param, server=True)) as server:
        yield server


@pytest.mark.slow
def test_a_damaged_block_is_found(examine: Examine, stoppable: Server) -> None:
    """Bytes of a table are changed while the server is down."""

    def check() -> Result:
        return result_of(examine(stoppable.target(), "checksums"), "checksums")

    with connect(stoppable.target()) as conn:
        assert check().outcome is Outcome.OK
        conn.execute(
            "create table items (v text); insert into items select repeat('x', 500) from generate_series(1, 99)"
        )
        row = conn.execute("select pg_relation_filepath('items')").fetchone()
        assert row is not None
        conn.execute("checkpoint")
    stoppable.stop()
    with (stoppable.data / row[0]).open("r+b") as file:
        file.seek(8192 + 4000)
        file.write(b"damage")
    stoppable.start()
    with connect(stoppable.target()) as conn:
        with pytest.raises(psycopg.errors.DataCorrupted, match="invalid page"):
            conn.execute("select count(*) from items")
        conn.execute("select pg_stat_force_next_flush()")
        result = check()
        assert result.outcome is Outcome.FAIL
        assert result.findings[0].about == "postgres"
        conn.execute("drop table items; select pg_stat_reset()")
    assert check().outcome is Outcome.OK


@pytest.mark.slow
def test_without_checksums_damage_is_not_ruled_out(examine: Examine, stoppable: Server) -> None:
    assert "data_checksums" not in about(examine(stoppable.target(), "settings", env="production"))
    stoppable.stop()
    account = server_account(stoppable.data)
    run_program(stoppable.binaries, "pg_checksums", ["--disable", "-D", stoppable.data], account=account).check()
    stoppable.start()
    result = result_of(examine(stoppable.target(), "checksums"), "checksums")
    assert result.outcome is Outcome.SKIPPED
    assert "off" in result.summary
    assert "data_checksums" in about(examine(stoppable.target(), "settings", env="production"))


def about(report: Report) -> list[str]:
    return [f.about for r in report.results for f in r.findings]


def test_the_whole_report_runs_in_production(examine: Examine, target: Target) -> None:
    report = examine(target, env="production")
    assert [r.check.id for r in report.results if r.outcome is Outcome.UNKNOWN] == []
    assert report.exit_code() == 1
