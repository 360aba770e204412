"""A failed connect is reported at once, with its real cause."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

import pliers_db
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Database, ErrorClass, connect, failure_class
from pliers_db.db.connect import explain
from pliers_db.errors import ConnectFailed
from pliers_db.postgres import Server
from tests.fix_tcp import free_port, tcp_target

PATIENT = PoolSettings(min_size=2, max_size=4, checkout_timeout=30.0)


def failure(target: Target) -> ConnectFailed:
    """The error of the pool, which must not have waited for the checkout timeout."""
    begin = time.monotonic()
    with Database(target, PATIENT) as database, pytest.raises(ConnectFailed) as caught:
        with database.connection():
            pass
    assert time.monotonic() - begin < PATIENT.checkout_timeout / 2
    return caught.value


def test_a_wrong_password_is_called_a_wrong_password_and_not_shown(password_server: Server) -> None:
    error = failure(tcp_target(password_server, password="hunter2-wrong"))
    assert error.kind == "password"
    assert "DB_PASSWORD" in error.fix
    assert "hunter2" not in str(error.as_dict())


def test_a_missing_password_is_called_that(password_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert failure(tcp_target(password_server, password="")).kind == "password"


def test_an_unknown_database_names_the_command_that_creates_it(server: Server) -> None:
    error = failure(server.target("no_such_db"))
    assert error.kind == "database"
    assert "createdb no_such_db" in error.fix


def test_an_unknown_role_is_named(server: Server) -> None:
    assert failure(replace(server.target(), user="no_such_role")).kind == "role"


def test_a_closed_port_is_unreachable() -> None:
    error = failure(Target(dbname="x", host="127.0.0.1", port=str(free_port()), user="u"))
    assert error.kind == "unreachable"
    assert "refused" in error.why


def test_an_unknown_host_is_named() -> None:
    error = failure(Target(dbname="x", host="no-such-host.invalid", user="u"))
    assert error.kind == "host"
    assert "DB_HOST" in error.fix


def test_a_server_that_is_full_says_so(password_server: Server) -> None:
    with connect(password_server.target()) as admin:
        admin.execute("alter role app connection limit 0")
        try:
            assert failure(tcp_target(password_server)).kind == "slots"
        finally:
            admin.execute("alter role app connection limit -1")


def test_a_setting_that_libpq_refuses_is_not_taken_for_an_outage(server: Server) -> None:
    error = failure(replace(server.target(), params={"sslmode_": "x"}))
    assert error.kind == "settings"
    assert "sslmode_" in error.why


def test_everybody_who_waits_hears_of_it(server: Server) -> None:
    heard: list[str] = []
    with Database(server.target("no_such_db"), PATIENT) as database:

        def ask() -> None:
            with pytest.raises(ConnectFailed) as caught, database.connection():
                pass
            heard.append(caught.value.kind)

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENT.checkout_timeout / 2)
    assert heard == ["database"] * 20


def test_the_next_request_is_the_next_try(server: Server) -> None:
    name = "appears_later"
    with Database(server.target(name), PATIENT) as database, connect(server.target()) as admin:
        with pytest.raises(ConnectFailed), database.connection():
            pass
        admin.execute(f"create database {name}")
        try:
            with database.connection() as conn:
                assert conn.execute("select current_database()").fetchone() == (name,)
        finally:
            database.close()
            admin.execute(f"drop database {name} with (force)")


def test_a_command_opens_one_connection(target: Target) -> None:
    with Database(target, PATIENT, application_name="one-shot", one_shot=True) as database:
        with database.connection() as conn:
            row = conn.execute("select count(*) from pg_stat_activity where application_name = 'one-shot'").fetchone()
    assert row == (1,)


def test_nothing_is_opened_before_the_first_use(target: Target) -> None:
    with Database(target.with_database("no_such_db")):
        pass


def test_the_statement_timeout_holds_and_comes_back_after_a_borrower_lifted_it(target: Target) -> None:
    limits = PoolSettings(min_size=1, max_size=1, statement_timeout=7.5)
    with Database(target, limits) as database:
        for _ in range(2):
            with database.connection(autocommit=True) as conn:
                assert conn.execute("show statement_timeout").fetchone() == ("7500ms",)
                conn.execute("set statement_timeout = 0")


def test_options_of_the_url_win_over_the_pools(target: Target) -> None:
    chosen = replace(target, params={"options": "-c statement_timeout=1234"})
    with Database(chosen, PoolSettings(statement_timeout=7.5)) as database, database.connection() as conn:
        assert conn.execute("show statement_timeout").fetchone() == ("1234ms",)


def test_the_cause_is_told_in_any_language(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's words come in its own language; what is not understood is sorted by a ping, not by guesswork."""
    foreign = psycopg.OperationalError("connexion : FATAL:  le rôle « x » n'a pas le droit de se connecter")
    up = explain(foreign, server.target())
    assert (up.kind, failure_class(up)) == ("refused", ErrorClass.PERMANENT)
    down = explain(foreign, Target(dbname="x", host="127.0.0.1", port=str(free_port())))
    assert (down.kind, failure_class(down)) == ("unreachable", ErrorClass.CONNECTION)


@pytest.mark.parametrize(
    ("kind", "kind_of_error"),
    [
        ("password", ErrorClass.PERMANENT),
        ("database", ErrorClass.PERMANENT),
        ("role", ErrorClass.PERMANENT),
        ("tls", ErrorClass.PERMANENT),
        ("settings", ErrorClass.PERMANENT),
        ("slots", ErrorClass.NOT_NOW),
        ("starting", ErrorClass.NOT_NOW),
        ("standby", ErrorClass.NOT_NOW),
        ("timeout", ErrorClass.CONNECTION),
        ("host", ErrorClass.CONNECTION),
    ],
)
def test_only_what_may_pass_by_itself_is_tried_again(kind: str, kind_of_error: ErrorClass) -> None:
    """A failed connect has no SQLSTATE (psycopg#1188), so its kind decides."""
    assert failure_class(ConnectFailed(kind=kind)) is kind_of_error


def test_no_thread_is_left_behind(target: Target) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with Database(target, PATIENT, application_name="gone-soon") as database, database.connection():
        pass
    assert {t.name for t in threading.enumerate()} - before <= {"pliers-db-watchdog"}


def test_settings_are_enough(server: Server, target: Target, tmp_path: Path) -> None:
    from tests.fix_cli import url_of

    environ = {"DATABASE_URL": url_of(target), "PLIERS_ENV": "test", "DB_STATEMENT_TIMEOUT": "7s"}
    settings = pliers_db.load_settings(start=tmp_path, environ=environ)
    with pliers_db.Database(settings) as database, database.connection() as conn:
        assert conn.execute("show statement_timeout").fetchone() == ("7s",)
    assert database.limits == settings.pool
