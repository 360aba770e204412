"""PostgreSQL's own programs: find them, run them, run a server.

The names are looked up when they are first used: a command on a running server needs only a small part of this.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "binaries": ("Binaries", "find_binaries"),
    "embedded": (
        "ServerStatus",
        "embedded_log",
        "embedded_server",
        "embedded_status",
        "embedded_url",
        "ensure_embedded",
        "start_embedded",
        "stop_embedded",
    ),
    "programs": ("Finished", "Program", "exec_program", "read_program", "run_program", "start_program"),
    "scratch": ("scratch_server",),
    "server": ("Server",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
