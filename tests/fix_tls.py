"""Servers of Debian's PostgreSQL 15 that speak TLS with certificates of a throw-away authority.

The embedded server is built without TLS.
"""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pliers_db.config import Target
from pliers_db.postgres import Server, scratch_server
from tests.fix_tcp import free_port

trustme = pytest.importorskip("trustme", reason="pip install trustme (extra dev)")


@dataclass(frozen=True)
class TlsServer:
    """A server and the authority that a client has to trust to reach it."""

    server: Server
    authority: Path
    """The certificate of the authority that signed the server's certificate, PEM."""

    def target(self, *, host: str = "localhost", sslmode: str, authority: Path | None = None) -> Target:
        """Connect by TCP. :param authority: trust this one instead of the right one."""
        root = authority or self.authority
        return Target(
            dbname="postgres", host=host, port=str(self.server.port), user="postgres",
            sslmode=sslmode, sslrootcert=str(root), connect_timeout=10,
        )  # fmt: skip


@pytest.fixture(scope="session")
def stranger_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of an authority that has signed nothing here."""
    path = tmp_path_factory.mktemp("stranger") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def make_tls_server(server15: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., TlsServer]]:
    """Start PostgreSQL 15 with a certificate for a host name; ``expired`` makes it one of yesterday."""
    with ExitStack() as stack:

        def make(*, host: str = "localhost", expired: bool = False) -> TlsServer:
            folder = tmp_path_factory.mktemp("tls")
            authority = trustme.CA()
            now = datetime.datetime.now(datetime.UTC)
            certificate = authority.issue_cert(
                host,
                not_before=now - datetime.timedelta(days=10),
                not_after=now + datetime.timedelta(days=-1 if expired else 10),
            )
            authority.cert_pem.write_to_path(str(folder / "ca.pem"))
            server = stack.enter_context(scratch_server(server15.binaries))
            server.stop()
            key, chain = server.data / "server.key", server.data / "server.crt"
            certificate.private_key_pem.write_to_path(str(key))
            certificate.cert_chain_pems[0].write_to_path(str(chain))
            (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
            owner = server.data.stat()
            for file in (key, chain):
                file.chmod(0o600)
                if os.geteuid() == 0:
                    shutil.chown(file, owner.st_uid, owner.st_gid)
            running = replace(
                server, port=free_port(), settings={**server.settings, "listen_addresses": "127.0.0.1", "ssl": "on"}
            )
            running.start()
            stack.callback(running.stop, "immediate")
            return TlsServer(running, folder / "ca.pem")

        yield make
