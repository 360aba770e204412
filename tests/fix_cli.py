"""The command line, run as a user runs it: in a process of its own, in a project folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pliers_db.config import Target
from tests.zygote import BEFORE_PYTHON, Zygote

PLAIN = {"NO_COLOR": "1", "TERM": "dumb"}
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "PGBIN")
ZYGOTE = Zygote({name: os.environ[name] for name in KEPT if name in os.environ} | PLAIN)


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


@dataclass
class Cli:
    """Runs ``pliers-db`` in ``folder`` with a clean environment plus ``env``."""

    folder: Path
    env: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pliers_db", *arguments]

    def environ(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return {**kept, **PLAIN, **self.env, **(env or {})}

    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 120) -> Result:
        environ = self.environ(env)
        if type(self).command is Cli.command and not any(
            n.startswith(BEFORE_PYTHON) for n in {**self.env, **(env or {})}
        ):
            return Result(*ZYGOTE.run(arguments, self.folder, environ, timeout))
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start without waiting, for tests that kill."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environ(env),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def url_of(target: Target) -> str:
    """A DATABASE_URL for a socket target."""
    return f"postgresql://{target.user}@:{target.port}/{target.dbname}?host={target.host}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project folder with a blank in its name."""
    root = tmp_path / "my project"
    (root / "migrations").mkdir(parents=True)
    (root / "pliers-db.toml").write_text('name = "shop"\n')
    return root


@pytest.fixture
def cli(project: Path, target: Target) -> Cli:
    """``pliers-db`` in an empty project, pointed at an empty database."""
    return Cli(project, {"DATABASE_URL": url_of(target), "PLIERS_ENV": "test"})


@pytest.fixture
def make_cli() -> Callable[..., Cli]:
    """Build a `Cli` for a folder and environment of your own."""
    return Cli
