"""A health report of a target, by the public function, with the project's settings written for the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from pliers_db.config import Settings, Target, load_settings
from pliers_db.db import Connection, connect
from pliers_db.health import Outcome, Report, Result, run_health


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


__all__ = ["Examine", "Outcome", "Outcomes", "plain_role", "result_of", "settings_of"]
