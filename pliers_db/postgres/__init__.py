"""PostgreSQL's own programs: find them, run them, run a server."""

from pliers_db.postgres.binaries import Binaries, find_binaries
from pliers_db.postgres.embedded import (
    ServerStatus,
    embedded_log,
    embedded_server,
    embedded_status,
    embedded_url,
    ensure_embedded,
    start_embedded,
    stop_embedded,
)
from pliers_db.postgres.programs import Finished, Program, exec_program, read_program, run_program, start_program
from pliers_db.postgres.scratch import scratch_server
from pliers_db.postgres.server import Server

__all__ = [
    "Binaries",
    "Finished",
    "Program",
    "Server",
    "ServerStatus",
    "embedded_log",
    "embedded_server",
    "embedded_status",
    "embedded_url",
    "ensure_embedded",
    "exec_program",
    "find_binaries",
    "read_program",
    "run_program",
    "scratch_server",
    "start_embedded",
    "start_program",
    "stop_embedded",
]
