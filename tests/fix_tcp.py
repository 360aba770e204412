"""A server of our own on TCP with passwords (SCRAM), that a test may stop, kill and start again."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest

from pliers_db.config import Target
from pliers_db.config.secret import Secret
from pliers_db.db import connect
from pliers_db.postgres import Server, scratch_server

USER, PASSWORD = "app", "pliers-version3-2025!"


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def tcp_server(settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A throw-away server on 127.0.0.1 where role ``app`` needs its password."""
    with scratch_server(settings={"max_connections": "60", "listen_addresses": "", **(settings or {})}) as first:
        with connect(first.target()) as admin:
            admin.execute(f"create role {USER} login password '{PASSWORD}'")
            admin.execute(f"create database app owner {USER}")
        hba = first.data / "pg_hba.conf"
        hba.write_text("local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        first.stop()
        running = replace(first, port=free_port(), settings={**first.settings, "listen_addresses": "127.0.0.1"})
        running.start()
        try:
            yield running
        finally:
            if running.running():
                running.stop("immediate")


def tcp_target(server: Server, password: str = PASSWORD, **changes: object) -> Target:
    """How to reach it over TCP as ``app``."""
    target = Target(
        dbname="app",
        host="127.0.0.1",
        port=str(server.port),
        user=USER,
        password=Secret(password) if password else None,
    )
    return replace(target, connect_timeout=5.0, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def password_server() -> Iterator[Server]:
    """Shared by the tests of a file that leave it running."""
    with tcp_server() as server:
        yield server
