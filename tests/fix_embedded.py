"""Projects on an embedded server of their own, also as an ordinary user and below a folder that only root can enter."""

from __future__ import annotations

import os
import pwd
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fix_cli import Cli

ROOT = Path(__file__).parent.parent


def make_project(folder: Path) -> Path:
    (folder / "migrations").mkdir(parents=True)
    (folder / "pliers-db.toml").write_text('name = "shop"\n')
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Cli]:
    """``pliers-db`` in a project without a DATABASE_URL and without a cluster yet."""
    cli = Cli(make_project(tmp_path / "my, project"), {})
    yield cli
    _stop(cli)


@pytest.fixture(scope="session")
def made_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a cluster that does not run, to be copied: initdb is the slow part."""
    cli = Cli(make_project(tmp_path_factory.mktemp("made") / "project"), {})
    assert cli("server", "start").code == 0
    _stop(cli)
    return cli.folder


@pytest.fixture
def embedded(made_project: Path, tmp_path: Path) -> Iterator[Cli]:
    """``pliers-db`` in a project with an embedded cluster that does not run yet; it is stopped at the end."""
    folder = tmp_path / "my, project"
    subprocess.run(["cp", "-a", made_project, folder], check=True)
    cli = Cli(folder, {})
    yield cli
    _stop(cli)


def _stop(cli: Cli) -> None:
    stopped = cli("server", "stop")
    assert stopped.code == 0, stopped.err


@dataclass
class PersonCli(Cli):
    """``pliers-db`` as another account, with a home of its own."""

    uid: int = 0
    gid: int = 0
    python: str = sys.executable
    paths: list[str] = field(default_factory=list)

    def command(self, *arguments: str) -> list[str]:
        drop = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--"]
        return [*drop, self.python, "-m", "pliers_db", *arguments]

    def environ(self, env: object = None) -> dict[str, str]:
        own = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder.parent),
            "NO_COLOR": "1",
            "PYTHONPATH": os.pathsep.join(self.paths),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return {**own, **self.env, **(env or {})}  # type: ignore[dict-item]


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every account can enter; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="pliers-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _python_for(uid: int, gid: int) -> str:
    """An interpreter of our version that the account can run."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for program in (
        sys.executable,
        getattr(sys, "_base_executable", ""),
        f"/usr/bin/{version}",
        f"/usr/local/bin/{version}",
    ):
        probe = ["-c", "import sys, ssl, ctypes; print(sys.version_info[:2])"]
        try:
            done = subprocess.run(
                [program, *probe], user=uid, group=gid, extra_groups=[], cwd="/", capture_output=True, text=True
            )
        except OSError:
            continue
        if done.stdout.strip() == str(tuple(sys.version_info[:2])):
            return program
    pytest.skip("no Python of this version that another account can run")


def _person(folder: Path, uid: int, gid: int) -> PersonCli:
    project = make_project(folder / "home" / "a project")
    for path in (project.parent, project, *project.iterdir()):
        os.chown(path, uid, gid)
    packages = [path for path in sys.path if path.endswith("site-packages")] or site.getsitepackages()
    return PersonCli(project, {}, uid, gid, _python_for(uid, gid), [str(ROOT), *packages])


@pytest.fixture
def as_user(public_folder: Path) -> Iterator[PersonCli]:
    """``pliers-db`` as an ordinary user (nobody) in a project of theirs; needs root to switch."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else; all other tests here run as an ordinary user already")
    entry = pwd.getpwnam("nobody")
    cli = _person(public_folder, entry.pw_uid, entry.pw_gid)
    yield cli
    _stop(cli)


@pytest.fixture
def as_number(public_folder: Path) -> Iterator[PersonCli]:
    """``pliers-db`` as a number without a name, as Kubernetes likes it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    cli = _person(public_folder, 123456, 123456)
    yield cli
    cli("server", "stop")


def postmaster_pid(project: Path) -> int:
    return int((project / "data" / "embedded" / "postmaster.pid").read_text().split()[0])


def process_gone(pid: int, patience: float = 15) -> bool:
    """Whether a process has ended (a zombie has) within some seconds."""
    import time

    for _ in range(int(patience / 0.05)):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
