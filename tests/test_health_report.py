"""The report is honest: what was not looked at says so, errors never look like health, exit codes hold."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.errors import BadSetting, UnknownCheck
from pliers_db.health import CHECKS, Outcome, Verdict, render_text, run_health
from pliers_db.health.session import Session
from tests.fix_cli import Cli, url_of
from tests.fix_health import Examine, plain_role, result_of, settings_of
from tests.fix_proxy import FaultProxy

DATABASE_CHECKS = [c.id for c in CHECKS if c.needs_database and c.id != "connect"]


def test_the_command_prints_the_report_and_the_verdict_last(cli: Cli) -> None:
    result = cli("health")
    assert result.code == 0, result.out + result.err
    lines = result.out.splitlines()
    for check in CHECKS:
        assert any(check.id in line for line in lines), check.id
    assert lines[-1].startswith("examined ")
    assert f"of {len(CHECKS)} checks" in lines[-1]
    assert "healthy" in lines[-1]
    assert "\033[" not in result.out


def test_the_json_is_one_versioned_document_with_every_check(cli: Cli) -> None:
    result = cli("health", "--json")
    assert result.code == 0
    document = result.json
    assert document["schema"] == "pliers.health/1"
    assert [c["id"] for c in document["checks"]] == [c.id for c in CHECKS]
    assert document["total"] == len(CHECKS)
    assert document["examined"] == sum(c["outcome"] in ("ok", "warn", "fail") for c in document["checks"])
    assert sum(document["counts"].values()) == document["total"]
    assert document["server"]["version_num"] >= 150000
    assert document["error"] is None
    for check in document["checks"]:
        assert check["summary"], check
        assert check["docs"] == f"docs/health.md#{check['id']}"


def test_colours_only_where_they_are_wanted(cli: Cli) -> None:
    assert "\033[32mok" in cli("health", env={"FORCE_COLOR": "1", "NO_COLOR": ""}).out


def test_a_failed_check_is_exit_1_and_tells_what_mends_it(cli: Cli, conn: Connection) -> None:
    break_an_index(conn)
    result = cli("health")
    assert result.code == 1
    line = next(n for n, text in enumerate(result.out.splitlines()) if text.startswith("fail     invalid_index"))
    assert "fix: reindex index concurrently public.broken;" in result.out.splitlines()[line + 1]
    assert result.out.splitlines()[-1].endswith("unhealthy")


def test_a_warning_is_exit_0_unless_asked_otherwise(cli: Cli, conn: Connection) -> None:
    break_an_index(conn, unique=False)
    assert cli("health", "--only", "invalid_index").code == 0
    assert cli("health", "--only", "invalid_index", "--fail-on", "warn").code == 1
    assert cli("health", "--only", "invalid_index", "--fail-on", "unknown").code == 0


def test_only_and_skip_choose_and_the_skipped_ones_are_named(cli: Cli) -> None:
    result = cli("health", "--only", "connect,version", "--skip", "version", "--json")
    outcomes = {c["id"]: c["outcome"] for c in result.json["checks"]}
    assert outcomes == {"connect": "ok", "version": "skipped"}
    assert result.json["examined"] == 1


def test_a_mistyped_check_is_exit_2_with_a_guess(cli: Cli) -> None:
    result = cli("health", "--only", "invalid_indexes", "--json")
    assert result.code == 2
    assert result.json["error"]["code"] == "health.unknown-check"
    assert "invalid_index" in result.json["error"]["fix"]


def test_an_unknown_word_for_fail_on_is_exit_2(cli: Cli) -> None:
    assert cli("health", "--fail-on", "fire").code == 2


def test_an_unreachable_server_is_exit_3_and_the_rest_still_reports(cli: Cli) -> None:
    result = cli("health", "--json", env={"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"})
    assert result.code == 3
    document = result.json
    outcomes = {c["id"]: c for c in document["checks"]}
    assert outcomes["connect"]["outcome"] == "fail"
    assert "refused" in outcomes["connect"]["summary"]
    assert outcomes["config"]["outcome"] == "ok"
    assert outcomes["files"]["outcome"] in ("ok", "warn")
    for check in DATABASE_CHECKS:
        assert outcomes[check]["outcome"] == "skipped", check
        assert outcomes[check]["summary"] == "no connection"
    assert document["verdict"] == "unreachable"
    assert document["error"]["code"] == "db.connect"


def test_an_unreachable_server_prints_what_works_without_it(cli: Cli) -> None:
    result = cli("health", env={"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"})
    assert result.code == 3
    assert "fail     connect" in result.out
    assert "ok       config" in result.out
    assert result.out.splitlines()[-1].endswith("unreachable")


def test_no_password_in_any_output(cli: Cli) -> None:
    url = "postgresql://nobody:hunter2secret@127.0.0.1:1/nothing"
    for words in ([], ["--json"]):
        result = cli("health", *words, "--debug", env={"DATABASE_URL": url})
        assert "hunter2secret" not in result.out + result.err


def test_a_server_that_does_not_start_is_reported_like_one_that_is_away(
    project: Path, make_cli: Callable[..., Cli]
) -> None:
    (project / "data").write_text("a file where the server's folder should be")
    result = make_cli(project, {})("health", "--json")
    if "schema" not in result.json:  # the file system's own error
        assert result.code == 3
    else:
        assert result.json["verdict"] == "unreachable"


def test_a_check_that_errs_is_unknown_and_the_others_go_on(examine: Examine, target: Target, conn: Connection) -> None:
    """The view it asks is taken away from everybody: an error that privileges did not foretell."""
    with plain_role(target, "health_erring") as role:
        conn.execute("revoke select on pg_catalog.pg_stat_database from public")
        try:
            report = examine(target, role=role)
        finally:
            conn.execute("grant select on pg_catalog.pg_stat_database to public")
    result = result_of(report, "connections")
    assert result.outcome is Outcome.UNKNOWN
    assert "permission denied" in result.summary
    assert result_of(report, "invalid_index").outcome is Outcome.OK
    assert report.exit_code() == 0
    assert report.exit_code({Outcome.UNKNOWN}) == 1


def test_a_plain_role_is_told_what_it_could_not_see(examine: Examine, target: Target) -> None:
    needing = [c for c in CHECKS if c.needs.value not in ("any role", "no database")]
    with plain_role(target, "health_plain") as role:
        report = examine(target, role=role)
        assert report.server is not None
        assert not report.server.monitor
        for check in needing:
            result = result_of(report, check.id)
            assert result.outcome is Outcome.SKIPPED
            assert "grant " in result.summary
        for result in report.results:
            assert result.outcome is not Outcome.UNKNOWN, result


def test_a_locked_table_does_not_make_it_hang(
    examine: Examine, target: Target, conn: Connection, session: Callable[[Target], Connection]
) -> None:
    conn.execute("create table held (id int generated always as identity primary key, v int default 1 check (v > 0))")
    holder = session(target)
    holder.execute("begin; lock table held in access exclusive mode")
    report = examine(target)
    assert result_of(report, "invalid_index").outcome is Outcome.OK
    assert report.verdict in (Verdict.HEALTHY, Verdict.WARNINGS)
    assert report.seconds < 20
    holder.execute("rollback")


def when_asked(monkeypatch: pytest.MonkeyPatch, query: str, then: Callable[[], None]) -> None:
    """Do something to the server's way just before a query is sent."""
    from pliers_db.health import runner

    honest = runner.load

    def load(name: str, version_num: int = 0) -> object:
        if name == query:
            then()
        return honest(name, version_num)

    monkeypatch.setattr(runner, "load", load)


def test_a_server_that_stops_answering_ends_the_run_at_its_deadline(
    project: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    when_asked(monkeypatch, "server.connections", proxy.blackhole)
    began = time.monotonic()
    report = run_health(settings_of(project, proxy.target(), toml='[health]\ndeadline = "2s"'))
    assert time.monotonic() - began < 10
    assert report.exit_code() == 3
    assert report.verdict is Verdict.UNREACHABLE
    assert report.error is not None
    assert "does not answer" in report.error.message
    assert len(report.results) == len(CHECKS)
    hung = [r.check.id for r in report.results].index("connections")
    assert report.results[hung].outcome is Outcome.UNKNOWN
    assert result_of(report, "connect").outcome is Outcome.OK
    for result in report.results[hung + 1 :]:
        assert result.outcome is Outcome.SKIPPED, result
        assert "does not answer" in result.summary


def test_a_server_that_never_answers_ends_with_the_connect_timeout(cli: Cli, proxy: FaultProxy) -> None:
    proxy.blackhole()
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/x"
    result = cli("health", "--json", env={"DATABASE_URL": url, "DB_CONNECT_TIMEOUT": "2s"}, timeout=30)
    assert result.code == 3
    assert result.json["error"]["code"] == "db.connect"


def test_a_connection_lost_midway_is_said_and_is_exit_3(
    project: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    when_asked(monkeypatch, "server.connections", proxy.cut)
    report = run_health(settings_of(project, proxy.target()))
    assert report.exit_code() == 3
    assert result_of(report, "connections").outcome is Outcome.UNKNOWN
    assert "was lost" in result_of(report, "connections").summary
    assert report.results[-1].outcome is Outcome.SKIPPED


def test_the_session_is_read_only_and_named(
    examine: Examine, target: Target, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pliers_db.health import session

    seen: list[object] = []
    honest = session.Session.fetch

    def spy(self: session.Session, query: str, params: object = None) -> object:
        seen[:] = (
            self._conn.execute(
                "select current_setting('transaction_read_only'), current_setting('application_name'),"
                " current_setting('lock_timeout'), current_setting('statement_timeout')"
            ).fetchone()
            or []
        )
        return honest(self, query)  # type: ignore[arg-type]

    monkeypatch.setattr(session.Session, "fetch", spy)
    examine(target, "connections")
    assert seen == ["on", "pliers-db/health", "500ms", "5s"]


def test_a_run_leaves_no_connection_behind(examine: Examine, target: Target, conn: Connection) -> None:
    examine(target)
    for _ in range(50):
        row = conn.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchone()
        if row == (0,):
            return
        time.sleep(0.1)
    pytest.fail(f"{row} connections are left")


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ("[health]\nthreshold = 1", "threshold"),
        ("[health.thresholds]\nconection = { warn = 1 }", "conection"),
        ("[health.thresholds]\nconnections = 80", "connections"),
        ('[health.thresholds]\nconnections = { warn = "2 h" }', "2 h"),
        ("[health.thresholds]\nconnect = { warn = 5 }", "connect"),
        ('[health]\nskip = ["nonsense"]', "nonsense"),
        ('[health]\ndeadline = "soon"', "soon"),
        ('[health]\nextensions = "vector"', "extensions"),
    ],
)
def test_a_wrong_setting_is_named(project: Path, target: Target, toml: str, text: str) -> None:
    settings = settings_of(project, target, toml=toml)
    with pytest.raises((BadSetting, UnknownCheck)) as caught:
        run_health(settings)
    assert text in caught.value.message
    assert caught.value.fix


def test_thresholds_are_the_projects_and_the_environments(examine: Examine, target: Target) -> None:
    everywhere = "[health.thresholds]\nconnections = { warn = 0, fail = false }"
    assert result_of(examine(target, "connections", toml=everywhere), "connections").outcome is Outcome.WARN
    here = everywhere + "\n[health.test.thresholds]\nconnections = { fail = 0 }"
    assert result_of(examine(target, "connections", toml=here), "connections").outcome is Outcome.FAIL
    elsewhere = everywhere + "\n[health.staging.thresholds]\nconnections = { fail = 0 }"
    assert result_of(examine(target, "connections", toml=elsewhere), "connections").outcome is Outcome.WARN


def test_the_project_can_leave_a_check_out_and_only_brings_it_back(examine: Examine, target: Target) -> None:
    toml = '[health]\nskip = ["pool"]'
    assert result_of(examine(target, toml=toml), "pool").outcome is Outcome.SKIPPED
    assert result_of(examine(target, "pool", toml=toml), "pool").outcome is Outcome.OK


def test_long_messages_are_never_cut_without_a_terminal(cli: Cli, conn: Connection) -> None:
    name = "x" * 63
    break_an_index(conn, name=name)
    assert f"reindex index concurrently public.{name};" in cli("health", env={"COLUMNS": "40"}).out


def test_the_report_can_be_written_again_from_its_parts(examine: Examine, target: Target) -> None:
    report = examine(target)
    assert json.loads(json.dumps(report.as_dict())) == report.as_dict()
    assert render_text(report).count("\n") >= len(CHECKS)


def break_an_index(conn: Connection, *, unique: bool = True, name: str = "broken") -> None:
    """An invalid index, as a failed CREATE INDEX CONCURRENTLY leaves it."""
    conn.execute("create table items (id int)")
    conn.execute(f"create {'unique' if unique else ''} index {name} on items (id)")
    conn.execute("update pg_index set indisvalid = false where indexrelid = %s::regclass", [name])


def test_a_url_of_the_test_server_is_reported_without_its_folder(cli: Cli, target: Target) -> None:
    assert url_of(target)
    assert cli("health").out.splitlines()[0].startswith(f"postgres@local socket/{target.dbname} (test), PostgreSQL ")


@pytest.mark.pg15
def test_every_check_has_an_answer_on_15(examine: Examine, target15: Target) -> None:
    report = examine(target15)
    assert [r.check.id for r in report.results if r.outcome is Outcome.UNKNOWN] == []
    assert report.server is not None
    assert report.server.version_num // 10000 == 15


def test_every_check_has_an_answer_as_superuser(examine: Examine, target: Target) -> None:
    report = examine(target)
    assert [(r.check.id, r.summary) for r in report.results if r.outcome is Outcome.UNKNOWN] == []


def test_connections_opened_by_others_are_counted_for_a_plain_role(examine: Examine, target: Target) -> None:
    with plain_role(target, "health_counter") as role, connect(target), connect(target), connect(target):
        result = result_of(examine(target, "connections", role=role), "connections")
        assert int(result.summary.split()[0]) >= 4


def test_behind_a_pooler_nothing_is_left_in_the_session_of_others(
    examine: Examine, bounced: Target, target: Target
) -> None:
    """SET would stay with the server's session, which PgBouncer hands to the next client."""
    report = examine(bounced)
    assert report.server is not None
    assert report.server.pooled
    assert [(r.check.id, r.summary) for r in report.results if r.outcome is Outcome.UNKNOWN] == []
    assert "through a pooler" in result_of(report, "connect").summary
    with Session(bounced, time.monotonic() + 20) as session:
        (row,) = session.fetch(
            "select current_setting('transaction_read_only') as ro, current_setting('lock_timeout') as lock_timeout"
        )
    assert row == {"ro": "on", "lock_timeout": "500ms"}
    with connect(bounced) as conn:
        rows = conn.execute(
            "select name, setting from pg_settings where name in"
            " ('search_path', 'jit', 'lock_timeout', 'statement_timeout', 'default_transaction_read_only')"
        ).fetchall()
    assert dict(rows) == {
        "search_path": '"$user", public',
        "jit": "on",
        "lock_timeout": "0",
        "statement_timeout": "0",
        "default_transaction_read_only": "off",
    }
