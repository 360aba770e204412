"""Accepted findings: with a reason and an end, or because they were there before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.errors import BadSetting
from pliers_db.health import Level, Outcome, run_health
from pliers_db.health.excuse import read_baseline
from tests.fix_cli import Cli
from tests.fix_health import Outcomes, settings_of
from tests.test_health_report import break_an_index

Breaker = Callable[[str], None]


@pytest.fixture
def broken(judge: Outcomes) -> Outcomes:
    with connect(judge.target) as conn:
        break_an_index(conn)
    return judge


def ignoring(finding: str = "invalid_index:public.broken", until: str = "2999-01-01") -> str:
    return f'[[health.ignore]]\nfinding = "{finding}"\nreason = "known to ops"\nuntil = {until}'


@pytest.mark.parametrize("pattern", ["invalid_index:public.broken", "invalid_index:*", "*:public.broken"])
def test_an_accepted_finding_no_longer_decides_and_stays_in_the_report(broken: Outcomes, pattern: str) -> None:
    assert broken("invalid_index").outcome is Outcome.FAIL
    result = broken("invalid_index", toml=ignoring(pattern))
    assert result.outcome is Outcome.OK
    assert [(e.finding.about, e.reason) for e in result.excused] == [
        ("public.broken", "known to ops (until 2999-01-01)")
    ]
    document = result.as_dict()
    assert document["findings"] == []
    assert document["excused"][0]["id"] == "invalid_index:public.broken"


def test_another_finding_of_the_same_check_still_counts(broken: Outcomes) -> None:
    with connect(broken.target) as conn:
        conn.execute(
            "create index other on items (id); update pg_index set indisvalid = false"
            " where indexrelid = 'other'::regclass"
        )
    result = broken("invalid_index", toml=ignoring())
    assert result.outcome is Outcome.WARN
    assert [f.about for f in result.findings] == ["public.other"]


def test_after_its_last_day_a_finding_counts_again_and_says_so(broken: Outcomes) -> None:
    result = broken("invalid_index", toml=ignoring(until="2020-01-31"))
    assert result.outcome is Outcome.FAIL
    assert "ignored until 2020-01-31, which is past" in result.summary


@pytest.mark.parametrize(
    "entry",
    [
        'finding = "x"\nreason = "y"',
        'finding = "x"\nuntil = 2027-01-01',
        'finding = "x"\nreason = "y"\nuntil = "soon"',
        'finding = "x"\nreason = ""\nuntil = 2027-01-01',
        'finding = "x"\nreason = "y"\nuntil = 2027-01-01T10:00:00',
        'finding = "x"\nreason = "y"\nuntil = 2027-01-01\nwhy = "z"',
    ],
)
def test_an_entry_needs_a_finding_a_reason_and_an_end(project: Path, target: Target, entry: str) -> None:
    with pytest.raises(BadSetting) as caught:
        run_health(settings_of(project, target, toml=f"[[health.ignore]]\n{entry}"))
    assert "until = 2027-06-30" in caught.value.fix


def test_an_accepted_finding_is_shown_when_asked(cli: Cli, project: Path, conn: Connection) -> None:
    break_an_index(conn)
    (project / "pliers-db.toml").write_text(ignoring())
    short = cli("health", "--only", "invalid_index")
    assert short.code == 0
    assert "1 ignored: --verbose" in short.out
    assert "known to ops" in cli("health", "--only", "invalid_index", "--verbose").out


def test_only_what_is_new_counts_since_a_baseline(cli: Cli, project: Path, conn: Connection) -> None:
    break_an_index(conn)
    assert cli("health").code == 1
    assert cli("health", "--save-baseline").code == 1
    assert cli("health", "--since-baseline").code == 0
    conn.execute("create unique index newer on items (id)")
    conn.execute("update pg_index set indisvalid = false where indexrelid = 'newer'::regclass")
    result = cli("health", "--since-baseline", "--only", "invalid_index", "--json")
    assert result.code == 1
    (check,) = result.json["checks"]
    assert [f["about"] for f in check["findings"]] == ["public.newer"]
    assert [f["about"] for f in check["excused"]] == ["public.broken"]


def test_a_finding_that_got_worse_counts(cli: Cli, project: Path, conn: Connection) -> None:
    break_an_index(conn, unique=False)
    cli("health", "--save-baseline", "--only", "invalid_index")
    assert cli("health", "--since-baseline", "--only", "invalid_index", "--fail-on", "warn").code == 0
    conn.execute("update pg_index set indisunique = true where indexrelid = 'broken'::regclass")
    assert cli("health", "--since-baseline", "--only", "invalid_index").code == 1


def test_a_baseline_is_sorted_text_for_a_diff(cli: Cli, project: Path, conn: Connection) -> None:
    break_an_index(conn)
    cli("health", "--save-baseline")
    file = project / "health-baseline.json"
    body = json.loads(file.read_text())
    assert body["schema"] == "pliers.health-baseline/1"
    assert body["findings"]["invalid_index:public.broken"] == "fail"
    assert list(body["findings"]) == sorted(body["findings"])
    assert read_baseline(file)["invalid_index:public.broken"] is Level.FAIL


def test_without_a_baseline_the_error_says_how_to_make_one(cli: Cli, project: Path) -> None:
    result = cli("health", "--since-baseline")
    assert result.code == 2
    assert "--save-baseline" in result.err
    (project / "health-baseline.json").write_text("{}")
    assert cli("health", "--since-baseline").code == 2
