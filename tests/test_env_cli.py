"""``pliers-db env show`` and ``env set``, as a user runs them."""

from __future__ import annotations

import os
import pty
import subprocess
import time

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import connect, read_stamp, write_stamp
from tests.fix_cli import Cli, url_of

DEV, TEST, STAGING, PRODUCTION = Environment


def stamp(target: Target, environment: Environment) -> None:
    with connect(target) as conn:
        write_stamp(conn, environment)


def stamped(target: Target) -> str | None:
    with connect(target) as conn:
        found = read_stamp(conn)
    return found.environment.value if found else None


def test_a_database_is_said_to_be_what_it_is(cli: Cli, target: Target) -> None:
    assert "stamp:     none; it is empty" in cli("env", "show").out
    done = cli("env", "set", "test")
    assert done.code == 0
    assert done.out == f"{target.dbname} is test\n"
    assert done.err.startswith("Target: postgres@local socket/")
    shown = cli("env", "show")
    assert shown.out.splitlines() == [
        "run:       test, by PLIERS_ENV (process environment)",
        f"database:  {target}",
        "stamp:     test",
        "protected: no",
    ]
    assert shown.err == ""


def test_tables_without_a_stamp_are_shown_as_protected(cli: Cli, target: Target) -> None:
    with connect(target) as conn:
        conn.execute("create table t (a int)")
    shown = cli("env", "show")
    assert "none, but it has tables" in shown.out
    assert "protected: yes" in shown.out
    assert "pliers-db env set test" in shown.err
    document = cli("env", "show", "--json").json
    assert (document["stamp"], document["has_tables"], document["protected"], document["agree"]) == (
        None,
        True,
        True,
        False,
    )
    assert cli("env", "set", "test").code == 0
    assert cli("env", "show", "--json").json["agree"] is True


def test_a_run_for_another_environment_is_warned(cli: Cli, target: Target) -> None:
    stamp(target, DEV)
    shown = cli("env", "show")
    assert "this run is for test, the database is development" in shown.err


def test_a_stamp_of_another_cluster_is_shown_as_not_believed(cli: Cli, target: Target) -> None:
    with connect(target) as conn:
        conn.execute(f"comment on database {target.dbname} is '[pliers:environment=development;system=1]'")
    shown = cli("env", "show")
    assert "made on another cluster: not believed" in shown.out
    assert "protected: yes" in shown.out
    assert cli("env", "show", "--json").json["stamp"]["foreign"] is True


@pytest.mark.parametrize("environment", [STAGING, PRODUCTION])
def test_leaving_a_protected_environment_needs_the_typed_name(
    environment: Environment, cli: Cli, target: Target
) -> None:
    stamp(target, environment)
    refused = cli("env", "set", "test", "--json")
    assert refused.code == 4
    assert refused.json["error"]["code"] == "db.protected"
    assert f"--confirm-db {target.dbname}" in refused.json["error"]["fix"]
    assert cli("env", "set", "test", "--confirm-db", "other").code == 4
    assert stamped(target) == environment
    done = cli("env", "set", "test", "--confirm-db", target.dbname, "--json")
    assert done.code == 0
    assert (done.json["before"], done.json["environment"]) == (environment, "test")
    assert stamped(target) == "test"


def test_protecting_more_needs_no_name(cli: Cli, target: Target) -> None:
    assert cli("env", "set", "prod").code == 0
    assert stamped(target) == "production"
    assert cli("env", "set", "production").code == 0


def test_an_unknown_name_is_refused(cli: Cli, target: Target) -> None:
    refused = cli("env", "set", "prodution")
    assert refused.code == 2
    assert "production" in refused.err
    assert stamped(target) is None


def test_a_role_that_does_not_own_the_database_is_told(cli: Cli, target: Target) -> None:
    with connect(target) as conn:
        conn.execute(f"create role reader_{target.dbname} login")
    try:
        url = f"postgresql://reader_{target.dbname}@:{target.port}/{target.dbname}?host={target.host}"
        refused = cli("env", "set", "test", "--database-url", url)
        assert refused.code == 3
        assert "must be owner of database" in refused.err
    finally:
        with connect(target) as conn:
            conn.execute(f"drop role reader_{target.dbname}")


def at_a_terminal(cli: Cli, *words: str, typed: str, **env: str) -> tuple[int, str]:
    """Run a command with a person at the keyboard, who types when asked for a name; gives exit code and output."""
    ours, theirs = pty.openpty()
    try:
        running = subprocess.Popen(
            cli.command(*words),
            cwd=cli.folder,
            env=cli.environ(env),
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.PIPE,
            text=True,
        )
        os.close(theirs)
        said = ""
        deadline = time.monotonic() + 60
        while "Type the database's name" not in said and time.monotonic() < deadline:
            said += os.read(ours, 1000).decode()
        assert "Target: postgres@" in said
        os.write(ours, f"{typed}\n".encode())
        out, _ = running.communicate(timeout=60)
    finally:
        os.close(ours)
    return running.returncode, out


@pytest.mark.parametrize(("typed", "code"), [("{name}", 0), ("other", 4), ("", 4)])
def test_a_person_at_a_terminal_is_asked_for_the_name(typed: str, code: int, cli: Cli, target: Target) -> None:
    stamp(target, PRODUCTION)
    ended, out = at_a_terminal(cli, "env", "set", "test", typed=typed.format(name=target.dbname))
    assert ended == code
    assert stamped(target) == ("test" if code == 0 else "production")
    assert ("is test" in out) is (code == 0)


def test_every_destructive_command_asks_in_the_same_way(cli: Cli, target: Target) -> None:
    (cli.folder / "migrations" / "20260101000000_t.sql").write_text("create table t (a int);\n")
    (cli.folder / "migrations" / "20260101000000_t.rollback.sql").write_text("drop table t;\n")
    production = {"PLIERS_ENV": "production"}
    assert cli("migrate", "up", env=production).code == 0
    assert stamped(target) == "production"
    refused = cli("migrate", "down", env=production)
    assert refused.code == 4
    assert f"--confirm-db {target.dbname}" in refused.err
    ended, out = at_a_terminal(cli, "migrate", "down", typed="other", **production)
    assert ended == 4
    ended, out = at_a_terminal(cli, "migrate", "down", typed=target.dbname, **production)
    assert ended == 0
    assert "Rolled back 1 migration" in out


def test_a_command_goes_past_the_pooler(cli: Cli, target: Target) -> None:
    """Locks and stamps need a session; a pooler that hands out transactions has none."""
    env = {"DATABASE_URL": f"postgresql://app@127.0.0.1:1/{target.dbname}", "DIRECT_DATABASE_URL": url_of(target)}
    shown = cli("env", "show", "--json", env=env)
    assert shown.code == 0, shown.err
    assert shown.json["database"] == str(target)
