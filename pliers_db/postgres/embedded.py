"""The server that comes with the package: started on demand for development and test, left running."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from pliers_db.config import Settings, Target
from pliers_db.postgres.binaries import find_binaries
from pliers_db.postgres.server import Server


def embedded_server(settings: Settings) -> Server:
    """The embedded server of a project (it may not run yet)."""
    data = settings.project.data / "embedded"
    mark = hashlib.sha256(str(data).encode()).hexdigest()[:10]
    return Server(data, find_binaries(server=True), Path(tempfile.gettempdir()) / f"pliers-{mark}")


def ensure_embedded(settings: Settings) -> Target:
    """Start the embedded server if it does not run, create this environment's database if it is missing.

    :returns: how to connect to that database.
    """
    from pliers_db.db import connect

    server = embedded_server(settings)
    if not (server.data / "PG_VERSION").exists():
        server.initdb()
    if not server.running():
        server.start()
    name = settings.embedded_database
    with connect(server.target()) as conn:
        if conn.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is None:
            conn.execute(f'create database "{name}"')
    return server.target(name)
