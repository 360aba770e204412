"""``config check``: mistakes and contradictions, found without a database."""

from __future__ import annotations

import pytest

from pliers_db.config import Environment
from pliers_db.config.check import Finding, Level, check_settings
from tests.fix_settings import Sandbox


def check(sandbox: Sandbox, **options: str) -> list[Finding]:
    return list(check_settings(start=sandbox.root, environ=sandbox.environ, **options).findings)


def the_one(sandbox: Sandbox, level: Level = Level.WARNING, **options: str) -> Finding:
    (finding,) = check(sandbox, **options)
    assert finding.level is level
    return finding


@pytest.mark.parametrize(
    ("files", "environ"),
    [
        ({}, {}),
        ({".env": "DB_HOST=db\nDB_NAME=a\nDB_USER=b\nDB_PASSWORD='c d #e'\n"}, {}),
        ({".env": "PLIERS_ENV=dev\n", ".env.example": "DB_NAEM=x\n"}, {"ENV": "development"}),
        ({}, {"ENV": "/etc/shrc", "DB_CONNECTION": "pgsql"}),  # the shell's, and another program's
        ({".env.production": "DATABASE_URL=postgresql://a:b@c/d\n"}, {"PLIERS_ENV": "prod"}),
    ],
)
def test_sound_settings_have_no_findings(files: dict[str, str], environ: dict[str, str], sandbox: Sandbox) -> None:
    for name, text in files.items():
        sandbox.file(name, text)
    sandbox.environ |= environ
    assert check(sandbox) == []


def test_env_and_pliers_env_that_differ_are_told_apart(sandbox: Sandbox) -> None:
    sandbox.environ |= {"PLIERS_ENV": "dev", "ENV": "production"}
    finding = the_one(sandbox)
    assert finding.message == (
        "PLIERS_ENV (process environment) says development, but ENV (process environment) says production"
    )
    assert check(sandbox, env="dev") == []


def test_a_file_that_others_can_read_is_found_if_it_holds_a_secret(sandbox: Sandbox) -> None:
    path = sandbox.file(".env", "DB_HOST=db\nDB_NAME=a\nDB_USER=b\n")
    path.chmod(0o644)
    assert check(sandbox) == []
    path.write_text("DB_HOST=db\nDB_NAME=a\nDB_USER=b\nDB_PASSWORD=c-secret\n")
    finding = the_one(sandbox)
    assert ".env can be read by others (mode 0644)" in finding.message
    assert finding.fix == "chmod 600 .env"
    path.chmod(0o600)
    assert check(sandbox) == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("DB_NAEM", "DB_NAME"),
        ("DB_USERNAME", "DB_USER"),
        ("DB_DATABASE", "DB_NAME"),
        ("DB_PASSWD", "DB_PASSWORD"),
        ("DB_PASSWORD_FIEL", "DB_PASSWORD_FILE"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("PLIERS_EVN", "PLIERS_ENV"),
        ("DIRECT_URL", "DIRECT_DATABASE_URL"),
        ("DB_POOL_SIZE", "DB_POOL_MAX"),
    ],
)
@pytest.mark.parametrize("source", ["process environment", ".env"])
def test_an_unknown_name_is_found_with_the_one_that_was_meant(
    name: str, near: str, source: str, sandbox: Sandbox
) -> None:
    if source == ".env":
        sandbox.file(".env", f"{name}=a-secret\n")
    else:
        sandbox.environ[name] = "a-secret"
    finding = the_one(sandbox)
    assert finding.message == f"{name} ({source}) is not known"
    assert finding.fix == f"Did you mean {near}?"


@pytest.mark.parametrize(
    ("mode", "why"),
    [("verify-ca", "authority"), ("require", "does not check who"), ("prefer", "in clear"), ("disable", "in clear")],
)
def test_production_without_a_checked_server_is_found(mode: str, why: str, sandbox: Sandbox) -> None:
    sandbox.environ |= {"PLIERS_ENV": "production", "DATABASE_URL": f"postgresql://a:b@c/d?sslmode={mode}"}
    if mode == "verify-ca":
        sandbox.environ["DB_SSLROOTCERT"] = str(sandbox.file("ca.pem", "x"))
    finding = the_one(sandbox)
    assert f"Production connects with sslmode={mode} (the URL)" in finding.message
    assert why in finding.why
    sandbox.environ["PLIERS_ENV"] = "development"
    assert check(sandbox) == []


def test_a_certificate_that_nobody_looks_at_is_found(sandbox: Sandbox) -> None:
    authority = sandbox.file("ca.pem", "x")
    sandbox.environ |= {"DATABASE_URL": "postgresql://a:b@c/d", "DB_SSLROOTCERT": str(authority)}
    assert "DB_SSLMODE is prefer" in the_one(sandbox).message


def test_parts_beside_a_url_are_found(sandbox: Sandbox) -> None:
    sandbox.file(".env", "DATABASE_URL=postgresql://a:b@c/d\nDB_HOST=x\nDB_NAME=y\n")
    assert the_one(sandbox).message == "DB_HOST, DB_NAME beside DATABASE_URL (.env)"


def test_libpqs_own_variables_are_a_note(sandbox: Sandbox) -> None:
    sandbox.environ |= {"PGHOST": "elsewhere", "PGOPTIONS": "-c x=y", "PGSERVICE": "s", "PGPASSFILE": "/p"}
    finding = the_one(sandbox, Level.NOTE)
    assert finding.message == "PGHOST, PGOPTIONS, PGSERVICE (process environment) have no effect"


def test_a_protected_environment_that_takes_the_shared_file_is_found(sandbox: Sandbox) -> None:
    sandbox.file(".env", "DATABASE_URL=postgresql://a:b@c/d\n")
    sandbox.environ["PLIERS_ENV"] = "staging"
    finding = the_one(sandbox)
    assert finding.message == "staging takes DATABASE_URL from .env"
    assert ".env.staging" in finding.fix


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (".env.prod", ".env.production"),
        (".env.dev", ".env.development"),
        (".env.stage.local", ".env.staging.local"),
        (".env.ci", ".env.test"),
        (".env.prodution", ".env.production"),
    ],
)
def test_a_file_named_after_an_alias_is_found(name: str, meant: str, sandbox: Sandbox) -> None:
    sandbox.file(name, "DB_HOST=db\n")
    finding = the_one(sandbox)
    assert finding.message == f"{name} is not read"
    assert finding.fix == f"mv {name} {meant}"


@pytest.mark.parametrize("name", [".env.local", ".env.production", ".env.test.local"])
def test_an_environment_chosen_in_a_file_that_comes_too_late_is_found(name: str, sandbox: Sandbox) -> None:
    sandbox.file(name, "PLIERS_ENV=test\n")
    assert the_one(sandbox).message == f"PLIERS_ENV in {name} has no effect"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DB_PASSWORD=abc #def\n", "DB_PASSWORD (.env, line 2) ends at a '#'"),
        ("DB_PASSWORD=abc${X}\n", "DB_PASSWORD (.env, line 2) holds '${'"),
        ('DB_PASSWORD="a\\nb"\n', "DB_PASSWORD (.env, line 2) holds a control character"),
        ("DB_PASSWORD=abc\nDB_PASSWORD=def\n", "DB_PASSWORD is set twice in .env, lines 2 and 3"),
        ("DB_PASSWORD\n", "DB_PASSWORD (.env, line 2) has no value"),
    ],
)
def test_a_line_that_says_something_else_than_meant_is_found(text: str, message: str, sandbox: Sandbox) -> None:
    sandbox.file(".env", f"DB_NAME=shop\n{text}")
    finding = the_one(sandbox)
    assert finding.message == message
    assert "def" not in f"{finding.message} {finding.why} {finding.fix}"


def test_a_comment_after_an_ordinary_value_is_only_a_note(sandbox: Sandbox) -> None:
    sandbox.file(".env", "DB_POOL_MAX=3 # small\n")
    assert the_one(sandbox, Level.NOTE).message == "DB_POOL_MAX (.env, line 1) ends at a '#'"
    sandbox.file(".env", "DB_POOL_MAX='3' # small\n")
    assert check(sandbox) == []


def test_timeouts_that_contradict_each_other_are_found(sandbox: Sandbox) -> None:
    sandbox.environ |= {"DB_CONNECT_TIMEOUT": "20s"}
    assert "DB_CONNECT_TIMEOUT is 20 s (process environment)" in the_one(sandbox).message
    sandbox.environ = {"DB_IDLE_TIMEOUT": "2h"}
    assert "DB_IDLE_TIMEOUT" in the_one(sandbox).message


def test_two_files_of_the_project_are_found(sandbox: Sandbox) -> None:
    sandbox.file("pliers-db.toml", 'name = "a"\n')
    sandbox.file("pyproject.toml", '[tool.pliers-db]\nname = "b"\n')
    assert "both hold settings" in the_one(sandbox).message


def test_a_password_file_that_libpq_would_ignore_is_found(sandbox: Sandbox) -> None:
    passfile = sandbox.file("passfile", "*:*:*:*:a-secret\n")
    sandbox.environ |= {"DATABASE_URL": "postgresql://a@b/c", "PGPASSFILE": str(passfile)}
    assert check(sandbox) == []
    passfile.chmod(0o644)
    finding = the_one(sandbox)
    assert "can be read by others (mode 0644)" in finding.message
    assert "no password was supplied" in finding.why
    passfile.unlink()
    assert "is not there" in the_one(sandbox).message


def test_errors_and_findings_come_together_the_worst_first(sandbox: Sandbox) -> None:
    sandbox.environ |= {"DB_PORT": "0", "DB_NAME": "a", "DB_NAEM": "x", "PGHOST": "y"}
    assert [finding.level for finding in check(sandbox)] == [Level.ERROR, Level.WARNING, Level.NOTE]


@pytest.mark.parametrize(
    ("files", "environ"),
    [
        ({"pliers-db.toml": "["}, {}),
        ({".env": "'"}, {}),
        ({}, {"PLIERS_ENV": "qa"}),
        ({}, {"DATABASE_URL": "postgresql://a:a-secret@b@c/d"}),
    ],
)
def test_what_stops_every_command_is_an_error(files: dict[str, str], environ: dict[str, str], sandbox: Sandbox) -> None:
    for name, text in files.items():
        sandbox.file(name, text)
    sandbox.environ |= environ
    finding = the_one(sandbox, Level.ERROR)
    assert "a-secret" not in f"{finding}"


def test_the_report_says_which_environment_it_is_about(sandbox: Sandbox) -> None:
    report = check_settings(env="ci", start=sandbox.root, environ={})
    assert report.environment is Environment.TEST
    assert report.count(Level.ERROR) == 0
