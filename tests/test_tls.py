"""TLS: verify-full lets in only the right server, and each refusal says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pliers_db.config import Target
from pliers_db.db import Database, connect
from pliers_db.errors import ConnectFailed
from pliers_db.postgres import Server
from tests.fix_cli import Cli
from tests.fix_tcp import tcp_target
from tests.fix_tls import TlsServer

pytestmark = [pytest.mark.pg15, pytest.mark.slow]
MakeServer = Callable[..., TlsServer]


@pytest.fixture(scope="module")
def tls(make_tls_server: MakeServer) -> TlsServer:
    return make_tls_server()


def refusal(target: Target) -> ConnectFailed:
    with pytest.raises(ConnectFailed) as caught:
        connect(target)
    assert caught.value.details["kind"] == "tls"
    assert "DB_SSL" in caught.value.fix
    return caught.value


def test_verify_full_reaches_the_right_server(tls: TlsServer) -> None:
    with Database(tls.target(sslmode="verify-full")) as database, database.connection() as conn:
        row = conn.execute("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()").fetchone()
    assert row is not None
    assert row[0] is True
    assert row[1].startswith("TLSv1.")


def test_another_host_name_is_refused(make_tls_server: MakeServer) -> None:
    other = make_tls_server(host="db.elsewhere.example")
    assert "does not match host name" in refusal(other.target(sslmode="verify-full")).why
    with connect(other.target(sslmode="verify-ca")) as conn:  # the name is all that was wrong
        assert conn.execute("select 1").fetchone() == (1,)


def test_an_expired_certificate_is_refused(make_tls_server: MakeServer) -> None:
    expired = make_tls_server(expired=True)
    assert "expired" in refusal(expired.target(sslmode="verify-full")).why


def test_an_unknown_authority_is_refused(tls: TlsServer, stranger_authority: Path) -> None:
    assert "certificate verify failed" in refusal(tls.target(sslmode="verify-full", authority=stranger_authority)).why


def test_the_systems_authorities_do_not_know_a_throw_away_one(tls: TlsServer) -> None:
    why = refusal(replace(tls.target(sslmode="verify-full"), sslrootcert="system")).why
    assert "certificate verify failed" in why


def test_a_missing_authority_file_is_named(tls: TlsServer, tmp_path: Path) -> None:
    absent = tmp_path / "absent.pem"
    assert str(absent) in refusal(tls.target(sslmode="verify-full", authority=absent)).why


def test_a_server_without_tls_is_refused(password_server: Server) -> None:
    target = replace(tcp_target(password_server), sslmode="verify-full", sslrootcert="system", host="localhost")
    assert "server does not support SSL" in refusal(target).why


def test_production_asks_for_verify_full_without_being_told(
    tls: TlsServer, make_cli: Callable[..., Cli], project: Path
) -> None:
    """The same URL that development takes is refused by production: nobody has vouched for the server."""
    url = f"postgresql://postgres@localhost:{tls.server.port}/postgres"
    pliers = make_cli(project, {"DATABASE_URL": url})
    (project / "migrations" / "20260101000000_t.sql").write_text("create table t (id int);\n")
    assert pliers("migrate", "status", env={"PLIERS_ENV": "development"}).code == 0
    refused = pliers("migrate", "status", "--json", env={"PLIERS_ENV": "production"})
    assert refused.code == 3
    assert "certificate verify failed" in refused.json["error"]["why"]
    trusted = {"PLIERS_ENV": "production", "DB_SSLROOTCERT": str(tls.authority)}
    assert pliers("migrate", "status", env=trusted).code == 0
