"""One embedded server for the whole run; a fresh database for each test that asks."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.postgres import Server, scratch_server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The embedded PostgreSQL server (one for each xdist worker)."""
    with scratch_server() as running:
        yield running


@pytest.fixture
def target(server: Server) -> Iterator[Target]:
    """An empty database of its own."""
    name = f"t{os.getpid()}_{next(_numbers)}"
    with connect(server.target()) as admin:
        admin.execute(f'create database "{name}"')
    yield server.target(name)
    with connect(server.target()) as admin:
        admin.execute(f'drop database if exists "{name}" with (force)')


@pytest.fixture
def conn(target: Target) -> Iterator[Connection]:
    """A connection (autocommit) to that database."""
    with connect(target) as connection:
        yield connection
