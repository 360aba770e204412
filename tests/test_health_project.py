"""The project beside its database: settings, folders, stamp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from pliers_db.backup import Backup, Proof, Repository, create_backup
from pliers_db.backup.manifest import StoredFile
from pliers_db.config import Environment, Target
from pliers_db.db import Database, connect, write_stamp
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


def test_the_report_says_where_its_environment_comes_from(cli: Cli) -> None:
    assert "test, from PLIERS_ENV (process environment);" in cli("health", "--only", "config").out
    assert "staging, from --env;" in cli("health", "--only", "config", "--env", "staging").out


def test_a_full_disk_for_backups_is_found(judge: Outcomes, project: Path, small_disk: Callable[[int], Path]) -> None:
    (project / "migrations" / "20260101000000_one.sql").write_text("select 1;\n")
    disk = small_disk(20_000)
    (project / "backups").symlink_to(disk)
    assert judge.found("files") == []
    (disk / "filler").write_bytes(b"x" * 10_000_000)
    assert judge.found("files") == ["backups"]


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


def test_an_edited_migration_is_found_and_undoing_the_edit_mends_it(
    judge: Outcomes, migrated: Cli, project: Path
) -> None:
    file = project / "migrations" / "20260101000002_t2.sql"
    text = file.read_text()
    file.write_text(text + "create table more (a int);\n")
    assert judge("migrations").outcome is Outcome.WARN
    assert judge("migrations", env="production").outcome is Outcome.FAIL
    assert judge.found("migrations") == ["20260101000002_t2"]
    file.write_text("-- only a comment\n" + text)
    assert judge.found("migrations") == []
    file.write_text(text)
    assert judge("migrations").outcome is Outcome.OK


def test_a_lock_of_yoyo_left_behind_is_found_and_unlocking_mends_it(judge: Outcomes, migrated: Cli) -> None:
    with connect(judge.target) as conn:
        conn.execute("insert into yoyo_lock (locked, ctime, pid) values (1, now() at time zone 'utc', 4711)")
        assert judge("migrations").outcome is Outcome.OK, "it may be at work"
        conn.execute("update yoyo_lock set ctime = ctime - interval '3 hours'")
        result = judge("migrations")
        assert result.outcome is Outcome.WARN
        assert "3 h" in result.summary
        with conn.transaction():
            conn.execute("select pg_advisory_xact_lock(1886153061, 1)")  # one of ours is at work: the row is its own
        conn.execute("delete from yoyo_lock")
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


@pytest.fixture
def backed_up(judge: Outcomes, project: Path, tmp_path: Path) -> Callable[..., Backup]:
    """Lay a backup of this test's database into the project's folder, as if made some time ago."""
    with Database(judge.target) as database:
        made = create_backup(database, Repository(tmp_path / "elsewhere"))
    assert made.manifest is not None
    real = made.manifest

    def lay(age: timedelta, size: int = 1000) -> Backup:
        repository = Repository(project / "backups")
        at = datetime.now(UTC) - age
        with repository.incoming(judge.target.dbname) as incoming:
            dump = incoming.path / "dump.pgc"
            dump.write_bytes(b"x" * size)
            stored = StoredFile(dump.name, size, sha256(dump.read_bytes()).hexdigest())
            manifest = replace(real, id=incoming.id, started_at=at, finished_at=at, files=(stored,))
            return repository.publish(incoming, manifest)

    return lay


def test_no_backup_fails_where_one_is_expected_and_is_a_note_on_a_laptop(judge: Outcomes) -> None:
    assert judge("backup_age", env="production").outcome is Outcome.FAIL
    assert judge("backup_age", env="staging").outcome is Outcome.FAIL
    result = judge("backup_age", env="development")
    assert result.outcome is Outcome.OK
    assert [f.about for f in result.findings] == ["none"]


def test_an_old_backup_is_found_and_a_new_one_mends_it(judge: Outcomes, backed_up: Callable[..., Backup]) -> None:
    backed_up(timedelta(hours=60))
    assert judge("backup_age", env="production").outcome is Outcome.FAIL
    backed_up(timedelta(hours=30))
    assert judge("backup_age", env="production").outcome is Outcome.WARN
    backed_up(timedelta(hours=3))
    assert judge("backup_age", env="production").outcome is Outcome.OK


def test_a_damaged_backup_does_not_count_and_is_told(judge: Outcomes, backed_up: Callable[..., Backup]) -> None:
    backed_up(timedelta(hours=60))
    newest = backed_up(timedelta(hours=1))
    (newest.path / "dump.pgc").write_bytes(b"short")
    result = judge("backup_age", env="production")
    assert result.outcome is Outcome.FAIL
    assert {f.about for f in result.findings} == {newest.id, "age"}


def test_a_backup_that_shrank_is_found(judge: Outcomes, backed_up: Callable[..., Backup]) -> None:
    for days in (4, 3, 2):
        backed_up(timedelta(days=days), 10_000)
    backed_up(timedelta(hours=2), 9_000)
    assert judge.found("backup_age", env="production") == []
    backed_up(timedelta(hours=1), 4_000)
    assert judge.found("backup_age", env="production") == ["size"]


def test_a_backup_from_the_future_is_found(judge: Outcomes, backed_up: Callable[..., Backup]) -> None:
    backed_up(timedelta(hours=-3))
    assert judge.found("backup_age", env="production") == ["clock"]


def test_a_backup_that_was_never_restored_is_found_and_verifying_it_mends_it(migrated: Cli, judge: Outcomes) -> None:
    assert judge("backup_proof", env="production").outcome is Outcome.SKIPPED
    assert migrated("backup", "create").code == 0
    result = judge("backup_proof", env="production")
    assert result.outcome is Outcome.WARN
    assert judge("backup_proof").outcome is Outcome.OK, "a note on a laptop"
    verified = migrated(*result.fix.split()[1:])
    assert verified.code == 0, verified.err
    assert judge("backup_proof", env="production").outcome is Outcome.OK


def test_an_old_proof_says_little_about_today(judge: Outcomes, backed_up: Callable[..., Backup]) -> None:
    old = backed_up(timedelta(days=20))
    proof = Proof(datetime.now(UTC), 1.0, "18.6", "test")
    Repository(old.path.parents[2]).record(old, proof)
    backed_up(timedelta(hours=1))
    result = judge("backup_proof", env="production")
    assert result.outcome is Outcome.WARN
    assert old.id in result.summary


def test_the_backups_of_another_database_do_not_count(
    judge: Outcomes, examine: Examine, backed_up: Callable[..., Backup]
) -> None:
    backed_up(timedelta(hours=1))
    elsewhere = judge.target.with_database("postgres")
    assert result_of(examine(elsewhere, "backup_age", env="production"), "backup_age").outcome is Outcome.FAIL


def test_a_backup_of_our_own_is_clean(migrated: Cli, judge: Outcomes) -> None:
    made = migrated("backup", "create")
    assert made.code == 0, made.err
    result = judge("backup_age", env="production")
    assert result.outcome is Outcome.OK
    assert "old" in result.summary
