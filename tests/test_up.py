"""``pliers-db up``: from nothing, with nothing configured, to a migrated, seeded, healthy database."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pliers_db.config import Target
from tests.fix_cli import Cli, url_of

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh copy of the Pliers project, with a blank in its path."""
    folder = tmp_path / "fresh clone"
    folder.mkdir()
    for name in ("migrations", "seeds"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def unconfigured(clone: Path, make_cli: Callable[..., Cli]) -> Iterator[Cli]:
    """The command line in a folder below that project, with no database configured."""
    below = clone / "some" / "where"
    below.mkdir(parents=True)
    pliers = make_cli(below, {})
    yield pliers
    pliers("server", "stop")


def test_a_fresh_clone_becomes_a_healthy_database_and_stays_as_it_is(unconfigured: Cli, clone: Path) -> None:
    first = unconfigured("up", "--json")
    assert first.code == 0, first.err
    files = [f for f in (clone / "migrations").glob("*.sql") if not f.name.endswith(".rollback.sql")]
    assert len(first.json["applied"]) == len(files)
    assert first.json["seed"]["added"] > 100
    assert first.json["health"]["counts"]["fail"] == 0
    assert (clone / "data" / "embedded").exists()

    silent = unconfigured("up", "--quiet")
    assert (silent.code, silent.out) == (0, ""), silent.err

    again = unconfigured("up")
    assert again.code == 0, again.err
    assert "Migrations: all were applied before" in again.out
    assert "were there before" in again.out
    assert "Next:" in again.out

    for line in ("migrate up", "seed --env dev", "backup nightly", "health"):
        result = unconfigured(*line.split())
        assert result.code == 0, (line, result.err)
    restored = unconfigured("restore", "latest")
    assert restored.code == 0, restored.err
    assert unconfigured("health").code == 0


def test_two_that_start_at_once_share_one_server(unconfigured: Cli) -> None:
    running = [unconfigured.start("up", "--quiet") for _ in range(2)]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err


def test_a_protected_environment_gets_no_seeds(clone: Path, make_cli: Callable[..., Cli], target: Target) -> None:
    staging = make_cli(clone, {"DATABASE_URL": url_of(target), "PLIERS_ENV": "staging"})
    result = staging("up")
    assert "Seeds: not loaded into staging" in result.out, result.err
    status = staging("migrate", "status", "--check")
    assert status.code == 0


def test_an_unreachable_server_is_exit_3_and_nothing_is_written(clone: Path, make_cli: Callable[..., Cli]) -> None:
    result = make_cli(clone, {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"})("up", "--json")
    assert result.code == 3
    assert result.json["error"]["code"] == "db.connect"
    assert not (clone / "data").exists()


def test_a_refused_migration_stops_before_the_seeds(clone: Path, make_cli: Callable[..., Cli], target: Target) -> None:
    (clone / "migrations" / "29990101000000_wrong.sql").write_text("select nothing_like_this();\n")
    pliers = make_cli(clone, {"DATABASE_URL": url_of(target), "PLIERS_ENV": "test"})
    result = pliers("up")
    assert result.code == 6
    assert "29990101000000_wrong.sql:1" in result.err
    count = subprocess.run(
        [*pliers.command("seed", "plan", "--json")], cwd=clone, env=pliers.environ(), capture_output=True, text=True
    )
    assert '"present": 0' in count.stdout


def test_a_project_need_not_have_seeds(project: Path, make_cli: Callable[..., Cli], target: Target) -> None:
    (project / "migrations" / "20260101000000_t.sql").write_text("create table t (id int primary key);\n")
    pliers = make_cli(project, {"DATABASE_URL": url_of(target), "PLIERS_ENV": "test"})
    for seeds in ("no folder", "a folder without this environment"):
        result = pliers("up")
        assert result.code == 0, (seeds, result.err)
        assert "Seeds: there are none for test" in result.out
        (project / "seeds" / "dev").mkdir(parents=True, exist_ok=True)
