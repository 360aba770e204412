"""PostgreSQL's own programs: find them, run them, run a server."""

from pliers_db.postgres.binaries import Binaries, find_binaries
from pliers_db.postgres.embedded import embedded_server, ensure_embedded
from pliers_db.postgres.programs import Finished, Program, read_program, run_program, start_program
from pliers_db.postgres.server import Server, scratch_server

__all__ = [
    "Binaries",
    "Finished",
    "Program",
    "Server",
    "embedded_server",
    "ensure_embedded",
    "find_binaries",
    "read_program",
    "run_program",
    "scratch_server",
    "start_program",
]
