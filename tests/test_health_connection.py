"""Connection, version, extensions, capacity: a planted fault is found, its repaired state is clean."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, breaker_for, connect
from pliers_db.errors import ConnectFailed
from pliers_db.health import Level, Outcome, run_health
from pliers_db.health.checks import connection
from pliers_db.health.limit import Limit, override
from pliers_db.health.releases import AS_OF, release_of
from pliers_db.health.situation import Situation
from tests.fix_health import Examine, Outcomes, plain_role, result_of, settings_of
from tests.fix_proxy import FaultProxy


def test_a_slow_way_is_found_and_a_fast_one_is_clean(project: Path, proxy: FaultProxy) -> None:
    settings = settings_of(project, proxy.target(), env="production")
    proxy.latency = 0.03
    slow = result_of(run_health(settings, only=["connect"]), "connect")
    assert slow.outcome is Outcome.WARN
    assert slow.measures[0].value > 0.1
    proxy.heal()
    assert result_of(run_health(settings, only=["connect"]), "connect").outcome is Outcome.OK


def judged_version(version_num: int, today: str = "") -> Any:
    """What the check says about a server of that version."""
    limits = {"end_of_life": connection.version.limits["end_of_life"]}
    server = SimpleNamespace(version_num=version_num, version=f"{version_num // 10000}.{version_num % 10000}")
    return connection.version.judge(server, cast(Situation, _Fake(server, limits)))


class _Fake:
    """A situation as far as the check of the version looks at it."""

    def __init__(self, server: object, limits: dict[str, Limit]) -> None:
        self.server, self.limits = server, limits

    def level(self, limit: str, value: float) -> Level | None:
        found = self.limits[limit].exceeded(value)
        return Level(found) if found else None


def test_a_version_without_support_fails() -> None:
    findings = judged_version(140099).findings
    assert [(f.about, f.level) for f in findings] == [("end-of-life", Level.FAIL)]
    assert "2026-11-12" in findings[0].message
    assert judged_version(90600).findings[0].level is Level.FAIL


def test_an_old_minor_version_is_found_with_the_date_of_our_knowledge() -> None:
    findings = judged_version(180001).findings
    assert [f.about for f in findings] == ["minor"]
    assert str(AS_OF) in findings[0].message
    assert judged_version(180099).findings == []


def test_a_version_that_the_table_does_not_know_is_not_judged() -> None:
    assert release_of(190000) is None
    assert not judged_version(190000).findings
    assert "newer than" in judged_version(190000).summary


def test_the_table_of_releases_ends_each_in_a_november() -> None:
    for major in range(14, 19):
        release = release_of(major * 10000)
        assert release is not None
        assert release.end.month == 11
        assert release.end.year == major + 2012
        assert release.end > date(2025, 1, 1)


def test_the_running_server_is_supported(either: Outcomes) -> None:
    assert "end-of-life" not in either.found("version")


def test_a_required_extension_that_is_missing_fails_until_it_is_there(either: Outcomes) -> None:
    toml = '[health]\nextensions = ["btree_gin"]'
    result = either("extensions", toml=toml)
    assert result.outcome is Outcome.FAIL
    assert result.fix == 'create extension "btree_gin";'
    with connect(either.target) as conn:
        conn.execute(result.fix)
    assert either("extensions", toml=toml).outcome is Outcome.OK


def test_an_outdated_extension_is_found_and_an_update_mends_it(either: Outcomes) -> None:
    with connect(either.target) as conn:
        conn.execute("create extension btree_gin version '1.2'")
        result = either("extensions")
        assert result.outcome is Outcome.WARN
        assert "1.2" in result.summary
        conn.execute(result.fix)
    assert either("extensions").outcome is Outcome.OK


def test_what_pg_upgrade_left_behind_is_not_an_update_to_make(either: Outcomes) -> None:
    """The installed version is one that this server does not offer."""
    with connect(either.target) as conn:
        conn.execute(
            "create extension btree_gin; update pg_extension set extversion = '0.9' where extname = 'btree_gin'"
        )
    assert either.found("extensions") == []


def test_connections_near_the_maximum_are_found(either: Outcomes, session: Callable[[Target], Connection]) -> None:
    used = either("connections").measures[0].value  # others use the same server
    few = f"[health.thresholds]\nconnections = {{ warn = {used + 8}, fail = 95 }}"  # percent of 197
    assert either("connections", toml=few).outcome is Outcome.OK
    opened = [session(either.target) for _ in range(32)]
    result = either("connections", toml=few)
    assert result.outcome is Outcome.WARN
    assert result.measures[0].value >= used + 8
    for conn in opened:
        conn.close()


def test_a_pool_larger_than_the_servers_limit_is_found(either: Outcomes) -> None:
    """As the role's limit: the pool of a test has four connections."""
    with plain_role(either.target, f"health_pool_{either.target.dbname}") as role, connect(either.target) as admin:
        assert either("pool", role=role).outcome is Outcome.OK
        admin.execute(f'alter role "{role}" connection limit 5')
        assert either("pool", role=role).outcome is Outcome.WARN
        admin.execute(f'alter role "{role}" connection limit 3')
        result = either("pool", role=role)
        assert result.outcome is Outcome.FAIL
        assert "limit of role" in result.summary


def test_an_open_circuit_breaker_is_found_until_it_closes(judge: Outcomes) -> None:
    breaker = breaker_for(judge.target)
    for _ in range(5):
        with pytest.raises(ConnectFailed), breaker.guard():
            raise ConnectFailed("planted", why="the server was away", kind="unreachable")
        time.sleep(0.21)  # failures at the same moment count as one
    assert judge.found("pool") == ["breaker"]
    assert "the server was away" in judge("pool").findings[0].message
    breaker.reset()
    assert judge.found("pool") == []


def test_the_pool_of_a_database_with_a_limit_is_held_against_it(either: Outcomes) -> None:
    with connect(either.target) as admin:
        admin.execute(f'alter database "{either.target.dbname}" connection limit 3')
        assert "limit of database" in either("pool").summary


@pytest.mark.parametrize(
    ("unit", "given", "bound"),
    [
        ("seconds", "26h", 26 * 3600.0),
        ("seconds", "500 ms", 0.5),
        ("seconds", "2d", 172800.0),
        ("bytes", "1GB", 1024.0**3),
        ("percent", "80%", 80.0),
        ("percent", 80, 80.0),
        ("count", 3, 3.0),
        ("count", False, None),
    ],
)
def test_a_threshold_is_read_with_its_unit(unit: Any, given: object, bound: float | None) -> None:
    assert override("x", Limit(unit, 1.0, 2.0), {"warn": given}, "here") == Limit(unit, bound, 2.0)


def test_a_limit_below_is_reached_from_above() -> None:
    limit = Limit("count", 10, 5, below=True)
    assert [limit.exceeded(v) for v in (11, 10, 6, 5, 0)] == [None, "warn", "warn", "fail", "fail"]
    assert replace(limit, below=False).exceeded(6) == "fail"


def test_an_environment_has_its_own_bounds() -> None:
    limit = Limit("count", 1, per={Environment.PRODUCTION: (None, 1)})
    assert limit.within(Environment.TEST).exceeded(1) == "warn"
    assert limit.within(Environment.PRODUCTION).exceeded(1) == "fail"


def test_a_role_without_superuser_reads_the_stamp(examine: Examine, target: Target) -> None:
    with plain_role(target, "health_stamp") as role:
        assert result_of(examine(target, "env_mark", role=role), "env_mark").outcome is Outcome.OK
