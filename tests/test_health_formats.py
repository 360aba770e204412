"""What machines read: JUnit, GitHub, Nagios, Prometheus; each says of a check what the report says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pliers_db.db import Connection
from pliers_db.health import CHECKS, Outcome, Report, render_github, render_junit, render_markdown, render_nagios
from pliers_db.health import render_prometheus as prometheus
from tests.fix_cli import Cli
from tests.fix_health import Examine
from tests.test_health_report import break_an_index

AWAY = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
FORMATS = ("text", "json", "junit", "github", "nagios", "prometheus")


@pytest.fixture
def faulty(examine: Examine, target: object, conn: Connection) -> Report:
    """A report with every outcome but unknown."""
    break_an_index(conn)
    return examine(target, env="staging")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_works_with_and_without_a_server(cli: Cli, name: str) -> None:
    assert cli("health", "--format", name, "--skip", "settings").out
    away = cli("health", "--format", name, env=AWAY)
    assert away.code == (2 if name == "nagios" else 3)
    assert "refused" in away.out or name == "prometheus"


def test_an_unknown_format_is_exit_2(cli: Cli) -> None:
    result = cli("health", "--format", "xml")
    assert result.code == 2
    assert "junit" in result.err


def junit(report: Report, *fail_on: Outcome) -> ElementTree.Element:
    return ElementTree.fromstring(render_junit(report, fail_on))


def test_junit_has_a_case_for_each_check_and_its_ending(faulty: Report) -> None:
    suites = junit(faulty)
    suite = suites.find("testsuite")
    assert suite is not None
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == [c.id for c in CHECKS]
    tags = {Outcome.FAIL: "failure", Outcome.SKIPPED: "skipped", Outcome.UNKNOWN: "error"}
    for result in faulty.results:
        case = cases[result.check.id]
        assert [child.tag for child in case] == [tags.get(result.outcome, "system-out")]
    for element in (suites, suite):
        assert element.get("tests") == str(len(CHECKS))
        assert element.get("failures") == str(faulty.counts[Outcome.FAIL])
        assert element.get("errors") == "0"
    assert suite.get("skipped") == str(faulty.counts[Outcome.SKIPPED])
    failure = cases["invalid_index"].find("failure")
    assert failure is not None
    assert "reindex index concurrently" in (failure.text or "")


def test_junit_uses_only_what_the_schema_of_jenkins_knows(faulty: Report) -> None:
    """Elements and attributes of junit-10.xsd (jenkinsci/xunit-plugin), in the part that we use."""
    known = {
        "testsuites": {"name", "time", "tests", "failures", "errors"},
        "testsuite": {"name", "tests", "failures", "errors", "time", "skipped", "timestamp"},
        "properties": set(),
        "property": {"name", "value"},
        "testcase": {"name", "classname", "time"},
        "failure": {"message", "type"},
        "error": {"message", "type"},
        "skipped": {"message"},
        "system-out": set(),
    }
    for element in junit(faulty).iter():
        assert set(element.attrib) <= known[element.tag], element.tag


def test_a_warning_is_a_failure_in_junit_when_asked(faulty: Report) -> None:
    warned = next(r.check.id for r in faulty.results if r.outcome is Outcome.WARN)
    case = next(c for c in junit(faulty, Outcome.WARN).iter("testcase") if c.get("name") == warned)
    assert case.find("failure") is not None


def test_names_that_xml_cannot_hold_do_not_break_it(examine: Examine, target: object, conn: Connection) -> None:
    conn.execute('create table "a<b>&\'\x07]]>" (id int)')
    conn.execute('create unique index "x\x1b<&" on "a<b>&\'\x07]]>" (id)')
    conn.execute(
        "update pg_index set indisvalid = false where indrelid = (select oid from pg_class where relname ~ '^a<')"
    )
    report = examine(target, "invalid_index")  # type: ignore[arg-type]
    assert report.results[0].outcome is Outcome.FAIL
    assert "a<b>&" in ElementTree.tostring(junit(report), encoding="unicode", method="text")


def test_github_gets_an_annotation_for_each_check_that_is_not_well(faulty: Report) -> None:
    lines = render_github(faulty).splitlines()
    commands = [line for line in lines if line.startswith("::")]
    bad = [r for r in faulty.results if r.outcome in (Outcome.WARN, Outcome.FAIL, Outcome.UNKNOWN)]
    assert len(commands) == len(bad)
    broken = next(line for line in commands if "invalid_index" in line)
    assert broken.startswith("::error title=health%3A invalid_index::unique index public.broken")
    assert "%0Afix: reindex index concurrently public.broken;" in broken
    assert lines[-1].startswith("examined ")


def test_what_a_check_says_cannot_end_an_annotation_or_a_cell(
    examine: Examine, target: object, conn: Connection
) -> None:
    conn.execute('create table "a|b\n::error::x 100%" (id int)')
    conn.execute('create unique index odd on "a|b\n::error::x 100%" (id)')
    conn.execute("update pg_index set indisvalid = false where indexrelid = 'odd'::regclass")
    report = examine(target, "invalid_index")  # type: ignore[arg-type]
    lines = render_github(report).splitlines()
    assert len([line for line in lines if line.startswith("::")]) == 1
    assert "100%25" in lines[0]
    rows = [line for line in render_markdown(report).splitlines() if "invalid_index" in line]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 5


def test_the_step_summary_is_appended_to(cli: Cli, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    cli("health", "--format", "github", env={"GITHUB_STEP_SUMMARY": str(summary)})
    text = summary.read_text()
    assert text.startswith("before\n### Database health: ")
    for check in CHECKS:
        assert f"| {check.id} |" in text


def test_nagios_gets_one_line_with_plain_numbers_and_its_own_codes(cli: Cli, conn: Connection) -> None:
    result = cli("health", "--format", "nagios", "--only", "connections,wraparound,cache_hit")
    assert result.code == 0
    assert re.fullmatch(
        r"PLIERS OK - examined 2 of 3 checks \| 'connections'=[\d.]+%;80;95 'wraparound'=\d+;500000000;1200000000\n",
        result.out,
    )
    break_an_index(conn, unique=False)
    assert cli("health", "--format", "nagios", "--only", "invalid_index").code == 1
    conn.execute("drop table items")
    break_an_index(conn)
    critical = cli("health", "--format", "nagios", "--only", "invalid_index")
    assert critical.code == 2
    assert critical.out.startswith("PLIERS CRITICAL - invalid_index: ")


@pytest.mark.parametrize(
    "words", [["--nonsense"], ["--only", "nonsense"], ["--fail-on", "fire"], ["--env", "nowhere"], ["extra"]]
)
def test_usage_errors_are_unknown_to_nagios_not_critical(cli: Cli, words: list[str]) -> None:
    result = cli("health", "--format", "nagios", *words)
    assert result.code == 3, result.out + result.err
    assert result.out.startswith("PLIERS UNKNOWN - ")
    assert len(result.out.splitlines()) == 1


def test_less_is_worse_is_a_range_of_its_own_for_nagios(faulty: Report) -> None:
    from pliers_db.health import Measure
    from pliers_db.health.formats.nagios import _perfdata

    assert _perfdata(Measure("cache_hit", 99.5, "percent", 90, None, True)) == "'cache_hit'=99.5%;90:;"
    assert "|" not in render_nagios(faulty).split(" | ")[0]


def test_prometheus_gets_valid_families_without_endless_labels(faulty: Report) -> None:
    text = prometheus(faulty)
    seen: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in seen, f"{name} twice"
            seen.add(name)
        elif not line.startswith("#"):
            found = re.fullmatch(r'([a-z_]+)(\{(check|outcome)="[a-z_]+"\})? (-?[\d.e+-]+|NaN)', line)
            assert found, line
            assert found[1] in seen
    assert "pliers_db_up 1\n" in text
    assert 'pliers_db_check_status{check="invalid_index"} 2\n' in text
    assert 'check_status{check="archiver"}' not in text, "what was skipped has no status"
    assert text.endswith("\n")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here: apt-get install prometheus")
def test_promtool_finds_nothing_to_say(faulty: Report) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=prometheus(faulty), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""


def test_prometheus_says_that_a_server_is_away(cli: Cli) -> None:
    result = cli("health", "--format", "prometheus", env=AWAY)
    assert "pliers_db_up 0\n" in result.out
    assert 'check_status{check="connect"} 2' in result.out
