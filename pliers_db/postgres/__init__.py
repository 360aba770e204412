"""PostgreSQL's own programs: find them, run them, run a server."""

from pliers_db.postgres.binaries import Binaries, find_binaries
from pliers_db.postgres.embedded import embedded_server, ensure_embedded
from pliers_db.postgres.server import Server, scratch_server

__all__ = ["Binaries", "Server", "embedded_server", "ensure_embedded", "find_binaries", "scratch_server"]
