"""``pliers-db server``: what each command prints and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from pliers_db.config import parse_url
from pliers_db.db import connect
from tests.fix_cli import Cli
from tests.fix_tcp import free_port


def test_status_is_yes_or_no(bare: Cli) -> None:
    before = bare("server", "status", "--json")
    assert (before.code, before.json["state"], before.json["major"]) == (1, "stopped", None)
    assert bare("server", "start").code == 0
    running = bare("server", "status", "--json")
    assert (running.code, running.json["state"], running.json["running"]) == (0, "running", True)
    assert running.json["data"] == str(bare.folder / "data" / "embedded")
    assert running.json["tcp"] is False
    assert running.json["since"].endswith("+00:00")
    shown = bare("server", "status").out
    assert "state    running" in shown
    assert "TCP      off" in shown
    assert bare("server", "stop").out == "stopped\n"
    after = bare("server", "status")
    assert (after.code, after.out.splitlines()[0]) == (1, "state    stopped")


def test_stopping_what_does_not_run_is_no_error(embedded: Cli) -> None:
    assert embedded("server", "stop", "--json").json == {"stopped": False}


def test_starting_what_runs_changes_nothing(embedded: Cli) -> None:
    first = embedded("server", "start", "--json").json
    assert embedded("server", "start", "--json").json == first


def test_the_url_works_in_any_client_and_in_ours(embedded: Cli) -> None:
    result = embedded("server", "url", "--quiet")
    assert result.err == ""
    with psycopg.connect(result.out.strip()) as conn:
        assert conn.info.dbname == "shop_dev"
    with connect(parse_url(result.out.strip())) as conn:
        assert conn.info.dbname == "shop_dev"
    assert Cli(embedded.folder, {"DATABASE_URL": result.out.strip()})("server", "url").out == result.out


def test_a_port_needs_the_password_that_only_the_url_shows(embedded: Cli) -> None:
    embedded("server", "start")
    port = free_port()
    started = embedded("server", "start", "--port", str(port))
    assert started.code == 0, started.err
    assert f"127.0.0.1:{port}, with a password" in started.out
    found = embedded("server", "url").out.strip()
    parts = urlsplit(found)
    assert (parts.hostname, parts.port, parts.username) == ("127.0.0.1", port, "postgres")
    assert parts.password
    with psycopg.connect(found) as conn:
        assert (
            conn.execute("select rolpassword from pg_authid where rolname = 'postgres'")
            .fetchone()[0]
            .startswith(  # type: ignore[index]
                "SCRAM-SHA-256$"
            )
        )
    for wrong in ("postgres", ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://postgres:{wrong}@127.0.0.1:{port}/shop_dev")
    with socket.socket() as outside, pytest.raises(OSError, match=r"refused|unreachable|assign"):
        outside.settimeout(2)
        outside.connect(("127.0.0.2", port))
    kept = embedded.folder / "data" / "embedded" / "pliers_password"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_text() == parts.password
    for shown in (started.out, started.err, embedded("server", "logs", "-n", "1000").out):
        assert parts.password not in shown
    # The same port again changes nothing; a stop and a start without one closes it.
    assert embedded("server", "start", "--port", str(port)).err == ""
    embedded("server", "stop")
    embedded("server", "start")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(found)
    embedded("server", "start", "--port", str(port))
    assert embedded("server", "url").out.strip() == found, "the password stays the same"


def test_a_taken_port_leaves_the_running_server_as_it_is(embedded: Cli) -> None:
    first = embedded("server", "start", "--json").json
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        result = embedded("server", "start", "--port", str(other.getsockname()[1]), "--json")
    assert result.code == 3
    assert result.json["error"]["code"] == "postgres.port-taken"
    assert embedded("server", "status", "--json").json == first


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_a_number_that_is_no_port_is_a_usage_error(port: str, embedded: Cli) -> None:
    assert embedded("server", "start", "--port", port).code == 2


def test_psql_takes_arguments_and_gives_its_own_exit_code(embedded: Cli) -> None:
    result = embedded("server", "psql", "-XAt", "-v", "x=a b", "-c", "select current_database()")
    assert (result.code, result.out.strip()) == (0, "shop_dev")
    assert embedded("server", "psql", "-f", "/nonexistent").code == 1
    how = embedded("server", "psql", "--json", "-c", "select 1").json
    assert how["command"][1:] == ["-c", "select 1"]
    assert how["environment"]["PGDATABASE"] == "shop_dev"


def test_logs_show_the_end_and_follow(bare: Cli) -> None:
    none = bare("server", "logs", "--json")
    assert (none.code, none.json["error"]["code"]) == (3, "postgres.not-running")
    bare("server", "start")
    last = bare("server", "logs", "-n", "1").out.splitlines()
    assert len(last) == 1
    assert "ready to accept connections" in bare("server", "logs").out
    assert bare("server", "logs", "-n", "2", "--json").json["lines"][1:] != []
    assert bare("server", "logs", "--follow", "--json").code == 2
    following = bare.start("server", "logs", "-n", "0", "--follow")
    assert following.stdout is not None
    try:
        time.sleep(1.5)
        os.set_blocking(following.stdout.fileno(), True)
        bare("server", "psql", "-c", "do $$ begin raise log 'a new line'; end $$")
        assert "a new line" in following.stdout.readline()
    finally:
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=20)
    assert (following.returncode, err) == (0, "")


def test_a_configured_database_is_named_but_not_touched(embedded: Cli) -> None:
    other = Cli(embedded.folder, {"DATABASE_URL": "postgresql://ann:s3cret-word@db.example/shop"})
    result = other("server", "start")
    assert result.code == 0, result.err
    assert "Other commands do not use the embedded server: ann@db.example:5432/shop" in result.err
    assert "s3cret-word" not in result.err


@pytest.mark.parametrize("name", ["staging", "production"])
def test_there_is_no_embedded_server_for_protected_environments(name: str, bare: Cli) -> None:
    result = bare("server", "start", "--env", name, "--json")
    assert result.code == 2
    configured = Cli(bare.folder, {"DATABASE_URL": "postgresql://u@h/d", "PLIERS_ENV": name})
    for command in ("start", "url", "psql"):
        assert configured("server", command).code == 2
    assert not (bare.folder / "data").exists()


def test_it_works_from_any_folder_of_the_project(bare: Cli) -> None:
    deep = bare.folder / "src" / "deep down"
    deep.mkdir(parents=True)
    assert Cli(deep, {})("server", "start").code == 0
    assert not (deep / "data").exists()
    assert (bare.folder / "data" / "embedded" / "PG_VERSION").exists()


def test_the_folder_of_the_sockets_is_gone_after_a_stop(embedded: Cli) -> None:
    folder = Path(embedded("server", "start", "--json").json["socket"])
    assert folder.is_dir()
    embedded("server", "stop")
    assert not folder.exists()
