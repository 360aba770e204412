"""``pliers-db config show`` and ``config check`` as a user runs them: no database, no secret, the right exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fix_cli import Cli

KNOWN = "pliers-version3-2025!"
URL = f"postgresql://pliers_user:{KNOWN}@host.docker.internal:5432/pliers_dev"


@pytest.fixture
def bare(project: Path, make_cli: Callable[..., Cli]) -> Cli:
    """The command line in an empty project without any setting."""
    return make_cli(project, {})


def settings_of(cli: Cli, *arguments: str, **env: str) -> dict[str, tuple[str | None, str]]:
    document = cli("config", "show", "--json", *arguments, env=env).json
    return {s["name"]: (s["value"], s["source"]) for s in document["settings"]}


def test_show_names_the_source_of_each_value_and_masks_secrets(bare: Cli) -> None:
    (bare.folder / ".env").write_text(f"DATABASE_URL={URL}\nDB_POOL_MAX=7\n")
    result = bare("config", "show", env={"DB_POOL_MIN": "3"})
    assert result.code == 0
    assert KNOWN not in result.out + result.err
    lines = {line.split()[0]: line for line in result.out.splitlines()}
    assert lines["DATABASE_URL"].split()[1:] == [
        "postgresql://pliers_user:********@host.docker.internal:5432/pliers_dev",
        ".env",
    ]
    assert lines["DB_POOL_MIN"].split()[1:] == ["3", "process", "environment"]
    assert lines["DB_POOL_MAX"].split()[1:] == ["7", ".env"]
    assert lines["DB_PASSWORD"].split()[1:] == ["********", "the", "URL"]
    assert lines["DB_IDLE_TIMEOUT"].split()[1:] == ["600s", "default", "of", "development"]
    assert lines["name"].split()[1:] == ["shop", "pliers-db.toml"]


def test_show_starts_no_server(bare: Cli) -> None:
    settings = settings_of(bare)
    assert settings["DATABASE_URL"] == ("embedded server, database shop_dev", "no database is configured")
    assert settings["DB_HOST"] == (None, "not set")
    assert not (bare.folder / "data").exists()


def test_show_imports_no_driver(bare: Cli) -> None:
    import subprocess

    code = (
        "import sys; sys.argv = ['pliers-db', 'config', 'show']\n"
        "from pliers_db.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as leave: assert not leave.code\n"
        "heavy = [m for m in ('psycopg', 'logging', 'dotenv', 'yoyo', 'rich') if m in sys.modules]\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [bare.command()[0], "-c", code], cwd=bare.folder, env=bare.environ(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_show_works_where_the_server_is_not_reached(bare: Cli) -> None:
    result = bare("config", "show", "--database-url", "postgresql://u@127.0.0.1:1/d", "--env", "production")
    assert result.code == 0
    assert "verify-full" in result.out


@pytest.mark.parametrize(
    ("env", "code", "level", "words"),
    [
        ({}, 0, None, "The settings for development are in order."),
        ({"PGHOST": "x"}, 0, "note", "no effect"),
        ({"PLIERS_ENV": "dev", "ENV": "prod"}, 1, "warning", "says production"),
        ({"DB_PORT": "x", "DB_NAME": "d"}, 2, "error", "DB_PORT"),
        ({"PLIERS_ENV": "qa"}, 2, "error", "Unknown environment 'qa'"),
    ],
)
def test_check_ends_with_the_code_of_its_worst_finding(
    env: dict[str, str], code: int, level: str | None, words: str, bare: Cli
) -> None:
    plain, document = bare("config", "check", env=env), bare("config", "check", "--json", env=env)
    assert (plain.code, document.code) == (code, code)
    assert words in plain.out
    assert plain.err == document.err == ""
    assert document.json["ok"] is (code == 0)
    assert [finding["level"] for finding in document.json["findings"]] == ([level] if level else [])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:{}@x@host/db",
        "postgresql://user:{}/x@host/db",
        "postgresql://user:{}%x@host/db",
        "postgresql://user:{} x@host/db",
        "postgresql://user:{}",
        "postgresql://user@host/db?password={}",
        "user:{}@host/db",
    ],
)
@pytest.mark.parametrize("how", ["flag", "variable", "file"])
@pytest.mark.parametrize("form", [[], ["--json"], ["--debug"]])
def test_no_way_of_giving_a_bad_url_shows_its_password(url: str, how: str, form: list[str], bare: Cli) -> None:
    bad = url.format("Hunter2-Hunter2")
    arguments, env = ["config", "show", *form], {}
    if how == "flag":
        arguments += ["--database-url", bad]
    elif how == "variable":
        env = {"DATABASE_URL": bad}
    else:
        (bare.folder / ".env").write_text(f"DATABASE_URL='{bad}'\n")
    result = bare(*arguments, env=env)
    assert result.code == 2
    said = {"flag": "--database-url", "variable": "process environment", "file": ".env"}[how]
    assert said in result.out + result.err
    assert "Hunter2" not in result.out + result.err
    if form == ["--json"]:
        assert result.json["error"]["code"] == "config.bad-url"
        assert result.json["error"]["fix"]


def test_a_secret_in_two_places_is_exit_2(bare: Cli) -> None:
    result = bare("migrate", "status", env={"DATABASE_URL": URL, "DB_PASSWORD": KNOWN})
    assert result.code == 2
    assert "DB_PASSWORD is set, too" in result.err
    assert KNOWN not in result.out + result.err
