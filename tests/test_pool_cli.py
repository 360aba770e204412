"""``pliers-db pool``: the limits in force, who is connected, and ratios to a bare connection."""

from __future__ import annotations

from pathlib import Path

from pliers_db.config import Target
from pliers_db.db import connect
from tests.fix_cli import Cli


def test_status_tells_each_limit_and_its_source(cli: Cli, project: Path) -> None:
    (project / ".env.test").write_text("DB_POOL_MAX=7\n")
    status = cli("pool", "status", "--json", env={"DB_SLOW_QUERY": "250ms"})
    assert status.code == 0, status.err
    limits = status.json["limits"]
    assert limits["DB_POOL_MAX"] == {"value": 7, "source": ".env.test"}
    assert limits["DB_SLOW_QUERY"]["value"] == 0.25
    assert "default" in limits["DB_POOL_MIN"]["source"]


def test_status_sees_who_else_is_connected(cli: Cli, target: Target) -> None:
    with connect(target, application_name="the neighbour"):
        status = cli("pool", "status", "--json").json
    assert {"application": "the neighbour", "state": "idle", "count": 1} in status["server"]["groups"]
    assert 0 < status["server"]["taken"] <= status["server"]["slots"]
    assert status["stats"]["borrowed"] == 1
    assert status["stats"]["breaker"]["state"] == "closed"
    assert status["pooler"] is False


def test_bench_compares_with_a_bare_connection(cli: Cli) -> None:
    result = cli("pool", "bench", "--rounds", "2", "--calls", "20", "--json")
    assert result.code == 0, result.err
    costs = {c["name"]: c for c in result.json["costs"]}
    assert costs["query, bare connection"]["ratio"] == 1.0
    assert costs["checkout alone"]["ratio"] < costs["checkout and query"]["ratio"]
    assert all(c["lowest"] <= c["ratio"] <= c["highest"] for c in costs.values())


def test_text_is_plain_lines(cli: Cli) -> None:
    out = cli("pool", "status").out
    assert "DB_POOL_MAX" in out
    assert "breaker: closed" in out
    assert cli("pool", "bench", "--rounds", "1", "--calls", "5").out.count("\n") == 7
