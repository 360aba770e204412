"""A server for the length of a block: for checking a backup, trying a migration, running tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

from pliers_db.postgres.account import server_account
from pliers_db.postgres.binaries import Binaries, find_binaries
from pliers_db.postgres.places import claimed_folder, temporary_root
from pliers_db.postgres.server import Server

# Safe for a server whose data nobody needs after a crash.
SCRATCH_SETTINGS: Mapping[str, str] = MappingProxyType(
    {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}
)
_PREFIX = "pliers-scratch-"


@contextmanager
def scratch_server(binaries: Binaries | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A throw-away server, gone with its data at the end of the block, also when that is a signal.

    Killed with kill -9 we cannot tidy up: the kernel ends the server (Linux), and the next scratch server removes the
    folder. Call it in a thread that outlives the block. The data lies in TMPDIR (else /tmp), so there must be room.

    :param binaries: default: the newest that can run a server.
    :param settings: server settings, over those that make it fast and unsafe.
    """
    chosen = binaries or find_binaries(server=True)
    account = server_account(Path("/nonexistent"))  # as for any new folder that is nobody's
    root = temporary_root(account)
    short_root = temporary_root(account, sockets=True)
    with ExitStack() as stack:
        folder = stack.enter_context(claimed_folder(root, _PREFIX, end=_end))
        sockets = folder if root == short_root else stack.enter_context(claimed_folder(short_root, _PREFIX))
        for made in (folder, sockets):
            made.chmod(0o711 if account is not None else 0o700)
        merged = {**SCRATCH_SETTINGS, **(settings or {})}
        server = Server(folder / "data", chosen, sockets / "s", settings=merged, attached=True)
        stack.callback(server.stop, "immediate")
        server.initdb(alone=True)
        server.start()
        yield server


def _end(folder: Path) -> None:
    """End the server of a scratch folder whose maker has died."""
    Server(folder / "data", Binaries(folder, 0), folder / "s").stop("immediate")
