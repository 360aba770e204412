"""A health report of a target, by the public function, with the project's settings written for the test."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

from pliers_db.config import Settings, Target, load_settings
from pliers_db.db import Connection, connect
from pliers_db.errors import BinariesMissing
from pliers_db.health import Outcome, Report, Result, run_health
from pliers_db.postgres import Server, find_binaries, scratch_server


def settings_of(project: Path, target: Target | None, *, env: str = "test", toml: str = "") -> Settings:
    """The settings of a project folder for a target."""
    (project / "pliers-db.toml").write_text(f'name = "shop"\n{toml}\n')
    settings = load_settings(env=env, start=project, environ={"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    return replace(settings, target=target)


class Examine(Protocol):
    def __call__(self, target: Target, *only: str, env: str = "test", toml: str = "", role: str = "") -> Report: ...


@pytest.fixture
def examine(project: Path) -> Examine:
    """Run the checks with these ids (none: all) on a target, as a role if one is named."""

    def run(target: Target, *only: str, env: str = "test", toml: str = "", role: str = "") -> Report:
        if role:
            target = replace(target, user=role)
        return run_health(settings_of(project, target, env=env, toml=toml), only=only)

    return run


def result_of(report: Report, check: str) -> Result:
    """One check's result."""
    return next(r for r in report.results if r.check.id == check)


class Outcomes:
    """Judges one check on one target: ``check("invalid_index") == ok``."""

    def __init__(self, examine: Examine, target: Target) -> None:
        self.examine, self.target = examine, target

    def __call__(self, check: str, **options: str) -> Result:
        return result_of(self.examine(self.target, check, **options), check)

    def found(self, check: str, **options: str) -> list[str]:
        """What the findings are about, after making sure that the check has an answer."""
        result = self(check, **options)
        assert result.outcome.examined, result
        return [f.about for f in result.findings]


@pytest.fixture
def judge(examine: Examine, target: Target) -> Outcomes:
    """One check on this test's database (embedded 18)."""
    return Outcomes(examine, target)


BOTH = [pytest.param("target", id="pg18"), pytest.param("target15", id="pg15", marks=pytest.mark.pg15)]


@pytest.fixture(params=BOTH)
def either(request: pytest.FixtureRequest, examine: Examine) -> Outcomes:
    """One check on an empty database of the embedded 18, then of Debian's 15."""
    return Outcomes(examine, request.getfixturevalue(request.param))


@pytest.fixture
def session(request: pytest.FixtureRequest) -> Iterator[Callable[[Target], Connection]]:
    """Open further connections (autocommit) that end with the test."""
    with ExitStack() as stack:
        yield lambda target: stack.enter_context(connect(target))


@contextmanager
def plain_role(target: Target, name: str) -> Iterator[str]:
    """A login role with no privileges at all."""
    with connect(target) as admin:
        admin.execute(f'drop role if exists "{name}"')
        admin.execute(f'create role "{name}" login')
    try:
        yield name
    finally:
        with connect(target) as admin:
            admin.execute(f'drop owned by "{name}"; drop role "{name}"')


# What a check needs that a usual test server lacks.
LAB_SETTINGS = {
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "archive_mode": "on",
    "archive_command": "sh archive.sh || exit 1",
    "max_connections": "60",
    "track_counts": "on",
}


@dataclass(frozen=True)
class Lab:
    """A server of its own for tests that change settings, and the judge of a check on its first database."""

    server: Server
    judge: Outcomes

    @property
    def target(self) -> Target:
        return self.server.target()

    def set(self, name: str, value: str | None) -> None:
        """Change a setting, or take the change back (None), and wait until it holds."""
        with connect(self.target) as conn:
            conn.execute(f"alter system reset {name}" if value is None else f"alter system set {name} = {value}")
            conn.execute("select pg_reload_conf()")
            time.sleep(0.3)


def _lab(major: int) -> Iterator[Server]:
    try:
        binaries = find_binaries(major, server=True)
    except BinariesMissing as error:
        if major == 18 or os.environ.get("PLIERS_REQUIRE_PG15"):
            raise
        pytest.skip(f"{error.message}: apt-get install postgresql-15")
    with scratch_server(binaries, settings=LAB_SETTINGS) as server:
        (server.data / "archive.sh").write_text("true\n")
        yield server


@pytest.fixture(scope="session")
def lab_server() -> Iterator[Server]:
    yield from _lab(18)


@pytest.fixture(scope="session")
def lab_server15() -> Iterator[Server]:
    yield from _lab(15)


@pytest.fixture(
    params=[pytest.param("lab_server", id="pg18"), pytest.param("lab_server15", id="pg15", marks=pytest.mark.pg15)]
)
def lab(request: pytest.FixtureRequest, examine: Examine) -> Lab:
    """The embedded 18, then Debian's 15, with the settings above."""
    server: Server = request.getfixturevalue(request.param)
    return Lab(server, Outcomes(examine, server.target()))


__all__ = ["Examine", "Lab", "Outcome", "Outcomes", "plain_role", "result_of", "settings_of"]
