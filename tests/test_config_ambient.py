"""libpq's own PG* variables in the shell do not choose another target or change a session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pliers_db.config import Secret, Target, drop_ambient, format_url, without_ambient
from pliers_db.config.ambient import CREDENTIALS, STEERING
from pliers_db.db import Connection, Database, connect
from pliers_db.postgres import Server
from tests.fix_cli import Cli
from tests.fix_settings import Sandbox
from tests.fix_tcp import tcp_target

MISLEADING = {
    "PGHOST": "192.0.2.1",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGDATABASE": "elsewhere",
    "PGUSER": "somebody",
    "PGOPTIONS": "-c default_transaction_read_only=on -c search_path=elsewhere",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/no/such/file",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCLIENTENCODING": "LATIN1",
    "PGCONNECT_TIMEOUT": "1",
    "PGAPPNAME": "somebody",
}
WHAT = "select current_database(), current_user::text, current_setting('default_transaction_read_only'), "
WHAT += "current_setting('search_path'), current_setting('client_encoding'), current_setting('application_name')"


def facts(conn: Connection) -> tuple[str, ...]:
    row = conn.execute(WHAT).fetchone()
    assert row is not None
    return tuple(row)


def test_a_connection_is_the_same_whatever_the_shell_says(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(target) as conn:
        plain = facts(conn)
    for name, value in MISLEADING.items():
        monkeypatch.setenv(name, value)
    with connect(target) as conn:
        assert facts(conn) == plain
    with Database(target) as database, database.connection() as conn:
        assert facts(conn) == plain


def test_pgsslmode_does_not_decide_about_tls(password_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")  # the embedded server has no TLS
    with connect(tcp_target(password_server)) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


def test_without_our_explicit_values_the_shell_would_win(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for them."""
    bare = {
        key: value for key, value in target.parameters().items() if value and key in ("host", "port", "user", "dbname")
    }
    monkeypatch.setenv("PGOPTIONS", MISLEADING["PGOPTIONS"])
    with psycopg.connect(**bare, autocommit=True) as conn:  # type: ignore[arg-type]
        assert facts(conn)[2:4] == ("on", "elsewhere")


def test_a_url_without_a_host_does_not_take_pghost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "192.0.2.1")
    given = Target("shop").parameters()
    assert (given["host"], given["hostaddr"], given["port"]) == ("", "", "5432")


@pytest.mark.parametrize("name", sorted(STEERING))
def test_no_steering_variable_changes_what_is_set(name: str, sandbox: Sandbox) -> None:
    sandbox.environ["DATABASE_URL"] = "postgresql://app:word@db/shop"
    before = sandbox.load()
    sandbox.environ[name] = "misleading"
    assert sandbox.load() == before


def test_every_variable_of_libpq_is_sorted() -> None:
    """A new libpq may bring a new one."""
    known = {default.envvar.decode() for default in psycopg.pq.Conninfo.get_defaults() if default.envvar}
    assert known - STEERING - CREDENTIALS <= {"PGPASSWORD"}


def test_pgpassword_is_the_last_source_of_a_password(sandbox: Sandbox) -> None:
    sandbox.environ |= {"DATABASE_URL": "postgresql://app@db/shop", "PGPASSWORD": "ambient-word"}
    found = sandbox.load()
    assert found.target
    assert found.target.password == Secret("ambient-word")
    assert found.sources["DB_PASSWORD"] == "PGPASSWORD (process environment)"
    sandbox.environ["DB_PASSWORD"] = "our-own-word"
    found = sandbox.load()
    assert found.target
    assert found.target.password == Secret("our-own-word")


def test_a_child_process_gets_our_target_and_no_one_elses() -> None:
    environ = {**MISLEADING, "PGSERVICE": "x", "PGPASSWORD": "y", "PGPASSFILE": "/p", "PATH": "/bin", "PGBIN": "/b"}
    target = Target("shop", host="db", user="app", password=Secret("word-of-ours"), params={"options": "-c a=b"})
    assert {**without_ambient(environ), **target.environment()} == {
        "PGPASSFILE": "/p",
        "PATH": "/bin",
        "PGBIN": "/b",
        "PGHOST": "db",
        "PGPORT": "5432",
        "PGDATABASE": "shop",
        "PGUSER": "app",
        "PGPASSWORD": "word-of-ours",
        "PGOPTIONS": "-c a=b",
    }


def test_every_parameter_of_a_url_has_the_variable_that_libpq_reads() -> None:
    """A misnamed variable would be silently without effect."""
    from pliers_db.config.target import _NO_VARIABLE
    from pliers_db.config.url import PARAMETERS

    names = {d.keyword.decode(): d.envvar.decode() for d in psycopg.pq.Conninfo.get_defaults() if d.envvar}
    for parameter in PARAMETERS - set(Target.__slots__):
        environment = Target("d", params={parameter: "7"}).environment()
        if parameter in names:
            assert environment[names[parameter]] == "7", parameter
        else:
            assert _NO_VARIABLE.fullmatch(parameter), parameter


def test_the_command_line_ignores_a_service_of_the_shell(cli: Cli) -> None:
    """libpq looks PGSERVICE up in any case, and fails if it is not defined."""
    result = cli("env", "show", "--json", env={**MISLEADING, "PGSERVICE": "no-such-service", "PGTZ": "Asia/Tokyo"})
    assert result.code == 0, result.err
    assert result.json["stamp"] is None


def test_dropping_tells_what_was_there() -> None:
    environ = {"PGSERVICE": "x", "PGTZ": "y", "HOME": "/h", "PGPASSFILE": "/p"}
    assert drop_ambient(environ) == ["PGSERVICE", "PGTZ"]
    assert environ == {"HOME": "/h", "PGPASSFILE": "/p"}


def test_a_service_may_not_change_an_applications_target(target: Target, tmp_path: Path) -> None:
    """In a library the shell is the application's: a service fills in only what is not given, and all is given."""
    services = tmp_path / "services"
    services.write_text("[other]\nhost=192.0.2.1\nport=1\ndbname=postgres\nuser=x\noptions=-c search_path=x\n")
    code = (
        "import sys; from pliers_db.config import parse_url; from pliers_db.db import connect\n"
        "with connect(parse_url(sys.argv[1])) as c:\n"
        "    print(c.execute('select current_database()').fetchone()[0], c.execute('show search_path').fetchone()[0])"
    )
    environ = {**os.environ, "PGSERVICE": "other", "PGSERVICEFILE": str(services)}
    done = subprocess.run([sys.executable, "-c", code, format_url(target)], env=environ, capture_output=True, text=True)
    assert done.stdout.split(maxsplit=1) == [target.dbname, '"$user", public\n'], done.stderr
