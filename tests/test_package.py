"""The wheel works outside the repository, in another project with its own migrations."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pliers_db.config import Target
from tests.fix_cli import Cli, url_of

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_carries_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "pliers_db/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"pliers_db"}
    for source in (ROOT / "pliers_db").rglob("*"):
        if source.is_file() and source.suffix in (".py", ".sql", ".json", ".toml", ".html"):
            assert str(source.relative_to(ROOT)) in names, f"{source.name} is not in the wheel"


@pytest.mark.slow
def test_the_wheel_serves_another_project(wheel: Path, tmp_path: Path, target: Target) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel],
        check=True,
        capture_output=True,
    )
    shop = tmp_path / "a shop"
    (shop / "migrations").mkdir(parents=True)
    (shop / "deep" / "down").mkdir(parents=True)
    (shop / "migrations" / "20260101000000_goods.sql").write_text("create table goods (id int primary key);\n")
    pliers = Cli(
        shop / "deep" / "down", {"DATABASE_URL": url_of(target), "PYTHONPATH": str(site), "PLIERS_ENV": "test"}
    )
    origin = subprocess.run(
        [sys.executable, "-c", "import pliers_db; print(pliers_db.__file__)"],
        cwd=pliers.folder,
        env=pliers.environ(),
        capture_output=True,
        text=True,
    )
    assert origin.stdout.startswith(str(site))
    up = pliers("migrate", "up")
    assert up.code == 0, up.err
    assert pliers("migrate", "status", "--check").code == 0
    made = pliers("backup", "create")
    assert made.code == 0, made.err
    assert [path for path in (shop / "backups").iterdir() if not path.name.startswith(".")]
