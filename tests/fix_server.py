"""One embedded server for the whole run; a fresh database for each test that asks.

With xdist the controlling process starts the server and tells its workers where it is.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.errors import BinariesMissing
from pliers_db.postgres import Binaries, Server, find_binaries, scratch_server

_numbers = itertools.count(1)
_shared: dict[str, Any] = {}
_stack = ExitStack()

# Many tests open pools of their own at once.
TEST_SETTINGS = {"max_connections": "200"}


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the controlling process, for each xdist worker before it starts."""
    if not _shared:
        server = _stack.enter_context(scratch_server(settings=TEST_SETTINGS))
        _shared.update(
            data=str(server.data),
            bin=str(server.binaries.bin),
            major=server.binaries.major,
            socket_dir=str(server.socket_dir),
            port=server.port,
        )
    node.workerinput["pliers_server"] = dict(_shared)


def pytest_unconfigure() -> None:
    _stack.close()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The embedded PostgreSQL server of this run. Never stop it; take `scratch_server` for that."""
    given = getattr(request.config, "workerinput", {}).get("pliers_server")
    if given:
        binaries = Binaries(Path(given["bin"]), given["major"])
        yield Server(Path(given["data"]), binaries, Path(given["socket_dir"]), given["port"])
    else:
        with scratch_server(settings=TEST_SETTINGS) as running:
            yield running


@pytest.fixture(scope="session")
def server15() -> Iterator[Server]:
    """A server of Debian's PostgreSQL 15 (no pgvector)."""
    try:
        binaries = find_binaries(15, server=True)
    except BinariesMissing as error:
        if os.environ.get("PLIERS_REQUIRE_PG15"):
            raise
        pytest.skip(f"{error.message}: apt-get install postgresql-15")
    with scratch_server(binaries, settings=TEST_SETTINGS) as running:
        yield running


def _database(server: Server) -> Iterator[Target]:
    name = f"t{os.getpid()}_{next(_numbers)}"
    with connect(server.target()) as admin:
        # Copied as files; the default goes page by page through the WAL.
        admin.execute(f'create database "{name}" strategy file_copy')
    yield server.target(name)
    with connect(server.target()) as admin:
        admin.execute(f'drop database if exists "{name}" with (force)')


@pytest.fixture
def target(server: Server) -> Iterator[Target]:
    """An empty database of its own."""
    yield from _database(server)


@pytest.fixture
def target15(server15: Server) -> Iterator[Target]:
    """An empty database of its own on PostgreSQL 15; mark the test ``pg15``."""
    yield from _database(server15)


@pytest.fixture
def conn(target: Target) -> Iterator[Connection]:
    """A connection (autocommit) to that database."""
    with connect(target) as connection:
        yield connection
