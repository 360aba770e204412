"""The doctor climbs until a rung breaks, says which and how to mend it, and changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pliers_db.config import Target
from pliers_db.db import connect
from pliers_db.health import RUNGS
from pliers_db.postgres import Server
from tests.fix_cli import Cli, Result, url_of
from tests.fix_health import plain_role
from tests.fix_proxy import FaultProxy
from tests.fix_tcp import PASSWORD, tcp_target


def broken(result: Result) -> Any:
    """The rung that broke, after making sure that it is the last one."""
    document = result.json
    assert document["schema"] == "pliers.doctor/1"
    names = [rung["name"] for rung in document["rungs"]]
    assert names == list(RUNGS[: len(names)])
    assert document["broken"] == names[-1]
    assert all(rung["outcome"] in ("ok", "warn") for rung in document["rungs"][:-1])
    rung = document["rungs"][-1]
    assert rung["outcome"] == "fail"
    assert rung["fix"]
    return rung


def rung_of(result: Result, name: str) -> Any:
    return next(rung for rung in result.json["rungs"] if rung["name"] == name)


def test_a_whole_ladder_is_exit_0(cli: Cli) -> None:
    result = cli("doctor", "--json")
    assert result.code == 0, result.out
    assert [rung["name"] for rung in result.json["rungs"]] == list(RUNGS)
    assert result.json["broken"] is None
    text = cli("doctor")
    assert text.out.splitlines()[-1].startswith("Nothing is broken")


def test_a_server_that_is_not_started_yet_is_no_fault_and_is_not_started(
    project: Path, make_cli: Callable[..., Cli]
) -> None:
    result = make_cli(project, {})("doctor", "--json")
    assert result.code == 0
    assert result.json["rungs"][-1]["outcome"] == "skipped"
    assert "pliers-db server start" in result.json["rungs"][-1]["message"]
    assert not (project / "data").exists()


@pytest.mark.parametrize(
    ("env", "name", "code", "fix"),
    [
        ({"PLIERS_ENV": "porduction"}, "settings", 2, "production"),
        ({"DATABASE_URL": "postgresql://u:a@b@h/x"}, "settings", 2, "%40"),
        ({"DATABASE_URL": "postgresql://u@nowhere.invalid/x"}, "name", 3, "DB_HOST"),
        ({"DATABASE_URL": "postgresql://u@/x?host=/nowhere/at/all"}, "name", 3, "DB_HOST"),
        ({"DATABASE_URL": "postgresql://u@127.0.0.1:1/x"}, "port", 3, "firewall"),
    ],
)
def test_the_first_broken_rung_is_named(cli: Cli, env: dict[str, str], name: str, code: int, fix: str) -> None:
    result = cli("doctor", "--json", env=env)
    rung = broken(result)
    assert (rung["name"], result.code) == (name, code)
    assert fix in rung["fix"]
    assert f"The first broken rung: {name}" in cli("doctor", env=env).out


def test_a_threshold_that_cannot_be_read_breaks_the_settings(cli: Cli, project: Path) -> None:
    (project / "pliers-db.toml").write_text("[health.thresholds]\nconnections = 3\n")
    assert broken(cli("doctor", "--json"))["name"] == "settings"


def test_a_wrong_password_a_missing_database_and_role_break_the_login(password_server: Server, cli: Cli) -> None:
    target = tcp_target(password_server)
    for wrong, word in (
        (replace(target, password=None), "password"),
        (replace(target, dbname="nothing"), "createdb"),
    ):
        env = {"DATABASE_URL": "", "DB_HOST": "127.0.0.1", "DB_PORT": str(wrong.port), "DB_NAME": wrong.dbname}
        env |= {"DB_USER": "app", "DB_PASSWORD": "hunter2wrong" if wrong.password is None else PASSWORD}
        result = cli("doctor", "--json", env=env)
        rung = broken(result)
        assert (rung["name"], result.code) == ("login", 3), rung
        assert word in (rung["message"] + rung["fix"]).lower()
        assert "hunter2wrong" not in result.out + result.err
        assert PASSWORD not in result.out + result.err


def test_a_server_without_tls_breaks_where_tls_is_demanded(password_server: Server, cli: Cli) -> None:
    url = f"postgresql://app@127.0.0.1:{password_server.port}/app"
    rung = broken(cli("doctor", "--json", env={"DATABASE_URL": f"{url}?sslmode=require", "DB_PASSWORD": PASSWORD}))
    assert rung["name"] == "tls"
    assert (
        rung_of(cli("doctor", "--json", env={"DATABASE_URL": url, "DB_PASSWORD": PASSWORD}), "tls")["outcome"] == "ok"
    )


def test_something_else_on_the_port_is_told_apart_from_a_database(cli: Cli, proxy: FaultProxy) -> None:
    proxy.blackhole()
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/x"
    rung = broken(cli("doctor", "--json", env={"DATABASE_URL": url}))
    assert rung["name"] == "tls"
    assert "does not speak" in rung["message"]


def test_of_several_servers_one_is_enough(cli: Cli, proxy: FaultProxy, target: Target) -> None:
    url = f"postgresql://postgres@127.0.0.1:1,127.0.0.1:{proxy.port}/{target.dbname}"
    result = cli("doctor", "--json", env={"DATABASE_URL": url})
    assert rung_of(result, "port")["outcome"] == "warn"
    assert rung_of(result, "login")["outcome"] == "ok"


def test_a_role_that_may_not_create_tables_is_warned_and_the_grant_mends_it(cli: Cli, target: Target) -> None:
    with plain_role(target, f"doctor_{target.dbname}") as role:
        env = {"DATABASE_URL": url_of(replace(target, user=role))}
        rung = rung_of(cli("doctor", "--json", env=env), "role")
        assert rung["outcome"] == "warn"
        with connect(target) as admin:
            admin.execute(rung["fix"])
        assert rung_of(cli("doctor", "--json", env=env), "role")["outcome"] == "ok"


@pytest.mark.pg15
def test_a_newer_server_than_pg_dump_is_warned_and_a_missing_extension_breaks(
    cli: Cli, project: Path, server15: Server, target15: Target
) -> None:
    older = {"PGBIN": str(server15.binaries.bin)}
    rung = rung_of(cli("doctor", "--json", env=older), "server")
    assert rung["outcome"] == "warn"
    assert "pg_dump is 15" in rung["message"]
    (project / "pliers-db.toml").write_text('[health]\nextensions = ["vector"]\n')
    assert cli("doctor", "--json").code == 0
    rung = broken(cli("doctor", "--json", env={"DATABASE_URL": url_of(target15)}))
    assert rung["name"] == "extensions"


def test_without_a_package_it_still_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError('no psycopg here')")
    done = subprocess.run(
        [sys.executable, "-m", "pliers_db", "doctor"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no psycopg here" in done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_leaves_no_connection_behind(cli: Cli, target: Target) -> None:
    assert cli("doctor").code == 0
    with connect(target) as conn:
        row = conn.execute(
            "select count(*) from pg_stat_activity where application_name = 'pliers-db/doctor'"
        ).fetchone()
    assert row == (0,)


@pytest.mark.pg15
def test_a_certificate_that_is_not_trusted_breaks_tls_with_openssls_reason(
    cli: Cli, make_tls_server: Callable[..., Any], stranger_authority: Path
) -> None:
    server = make_tls_server()
    target = server.target(sslmode="verify-full", authority=stranger_authority)
    env = {
        "DATABASE_URL": "",
        "DB_HOST": str(target.host),
        "DB_PORT": str(target.port),
        "DB_NAME": target.dbname,
        "DB_USER": str(target.user),
        "DB_SSLMODE": "verify-full",
        "DB_SSLROOTCERT": str(stranger_authority),
    }
    rung = broken(cli("doctor", "--json", env=env))
    assert rung["name"] == "tls"
    assert "certificate is not accepted" in rung["message"]
