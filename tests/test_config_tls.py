"""The system's certificates, as production trusts them by default, are found by every libpq."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pliers_db.config import load_settings
from pliers_db.config import target as module
from pliers_db.db import connect
from pliers_db.errors import ConnectFailed
from tests.fix_tls import TlsServer

pytestmark = [pytest.mark.pg15, pytest.mark.slow]


@pytest.fixture(scope="module")
def tls(make_tls_server: Callable[..., TlsServer]) -> TlsServer:
    return make_tls_server()


def production(tls: TlsServer, folder: Path, **environ: str) -> str:
    """Connect as production would, and say with which protocol."""
    url = f"postgresql://postgres@localhost:{tls.server.port}/postgres"
    settings = load_settings(start=folder, environ={"PLIERS_ENV": "production", "DATABASE_URL": url, **environ})
    assert settings.target is not None
    assert (settings.target.sslmode, settings.sources["DB_SSLMODE"]) == ("verify-full", "default of production")
    with connect(settings.target) as conn:
        row = conn.execute("select version from pg_stat_ssl where pid = pg_backend_pid()").fetchone()
    assert row is not None
    return str(row[0])


def test_a_server_that_the_system_trusts_is_reached(
    tls: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConnectFailed, match="Cannot connect"):
        production(tls, tmp_path)
    monkeypatch.setattr(module, "_BUNDLES", ("/no/such/file", str(tls.authority)))
    assert production(tls, tmp_path).startswith("TLS")


def test_the_bundle_that_openssl_is_told_about_is_used(
    tls: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority))
    assert production(tls, tmp_path).startswith("TLS")
