"""The project beside its database: settings, folders, stamp."""

from __future__ import annotations

from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import connect, write_stamp
from pliers_db.health import Outcome
from tests.fix_cli import Cli
from tests.fix_health import Examine, Outcomes, plain_role, result_of


def test_a_secret_that_everybody_reads_is_found_in_a_protected_environment(
    examine: Examine, target: Target, project: Path
) -> None:
    file = project / ".env"
    file.write_text("export DB_PASSWORD=hunter2\n")
    file.chmod(0o644)
    result = result_of(examine(target, "config", env="production"), "config")
    assert result.outcome is Outcome.WARN
    assert result.fix == f"chmod 600 '{file}'"
    file.chmod(0o600)
    assert result_of(examine(target, "config", env="production"), "config").outcome is Outcome.OK


def test_an_env_file_without_secrets_or_on_a_laptop_is_nobodys_business(
    examine: Examine, target: Target, project: Path
) -> None:
    file = project / ".env"
    file.write_text("DB_POOL_MAX=4\nDB_PASSWORD=\n# DB_PASSWORD=x\n")
    file.chmod(0o644)
    (project / ".env.example").write_text("DB_PASSWORD=example\n")
    assert result_of(examine(target, "config", env="production"), "config").outcome is Outcome.OK
    file.write_text("DB_PASSWORD=dev\n")
    assert result_of(examine(target, "config", env="development"), "config").outcome is Outcome.OK


def test_a_project_without_migrations_is_told_so(judge: Outcomes, project: Path) -> None:
    assert judge.found("files") == ["migrations"]
    (project / "migrations" / "20260101000000_one.sql").write_text("select 1;\n")
    (project / "migrations" / "20260101000000_one.rollback.sql").write_text("select 1;\n")
    result = judge("files")
    assert result.outcome is Outcome.OK
    assert "1 migration," in result.summary


@pytest.fixture
def migrated(cli: Cli, project: Path) -> Cli:
    """Two migrations, both applied, in a schema that the role's search path names."""
    for number in (1, 2):
        (project / "migrations" / f"2026010100000{number}_t{number}.sql").write_text(
            f"create table t{number} (a int);\n"
        )
    assert cli("migrate", "up").code == 0
    return cli


def test_a_pending_migration_is_found_and_applying_it_mends_it(judge: Outcomes, migrated: Cli, project: Path) -> None:
    assert judge("migrations").outcome is Outcome.OK
    (project / "migrations" / "20260101000003_t3.sql").write_text("create table t3 (a int);\n")
    result = judge("migrations")
    assert result.outcome is Outcome.WARN
    assert "20260101000003_t3" in result.summary
    assert judge("migrations", env="production").outcome is Outcome.FAIL
    assert migrated(*result.fix.split()[1:]).code == 0
    assert judge("migrations").outcome is Outcome.OK


def test_an_applied_migration_without_its_file_is_found(judge: Outcomes, migrated: Cli, project: Path) -> None:
    file = project / "migrations" / "20260101000002_t2.sql"
    text = file.read_text()
    file.unlink()
    assert judge.found("migrations") == ["20260101000002_t2"]
    file.write_text(text)
    assert judge("migrations").outcome is Outcome.OK


def test_a_project_without_a_folder_of_migrations_is_skipped_not_ok(judge: Outcomes, project: Path) -> None:
    (project / "migrations").rmdir()
    assert judge("migrations").outcome is Outcome.SKIPPED


def test_a_role_that_may_not_read_the_history_gets_no_answer(judge: Outcomes, migrated: Cli) -> None:
    with plain_role(judge.target, "health_history") as role:
        result = judge("migrations", role=role)
        assert result.outcome is Outcome.UNKNOWN
        assert "may not read" in result.summary
        assert "grant select" in result.fix


def test_an_empty_database_needs_no_stamp(either: Outcomes) -> None:
    assert either("env_mark").outcome is Outcome.OK


def test_tables_without_a_stamp_are_found_and_a_stamp_mends_it(either: Outcomes) -> None:
    with connect(either.target) as conn:
        conn.execute("create table t (id int primary key)")
        result = either("env_mark")
        assert result.outcome is Outcome.WARN
        assert result.fix == "pliers-db env set test"
        write_stamp(conn, Environment.TEST)
    assert either("env_mark").outcome is Outcome.OK


def test_the_tables_of_an_extension_are_not_the_projects(either: Outcomes) -> None:
    with connect(either.target) as conn:
        conn.execute("create table ext_t (id int)")
        conn.execute("create extension btree_gin; alter extension btree_gin add table ext_t")
    assert either("env_mark").outcome is Outcome.OK


@pytest.mark.parametrize(
    ("stamped", "run", "outcome"),
    [("production", "test", "fail"), ("test", "production", "fail"), ("development", "test", "warn")],
)
def test_a_stamp_of_another_environment_is_found(judge: Outcomes, stamped: str, run: str, outcome: str) -> None:
    with connect(judge.target) as conn:
        write_stamp(conn, Environment(stamped))
    result = judge("env_mark", env=run)
    assert result.outcome == outcome
    assert f"--env {stamped}" in result.fix


def test_a_stamp_of_another_cluster_is_found(judge: Outcomes) -> None:
    with connect(judge.target) as conn:
        conn.execute(
            f"comment on database \"{judge.target.dbname}\" is '[pliers:environment=test;system=1234567890123456789]'"
        )
    result = judge("env_mark")
    assert result.outcome is Outcome.FAIL
    assert "another cluster" in result.summary
