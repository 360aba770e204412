"""Folders that a server needs beside its data: for its sockets, for what is thrown away, for half-made things."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pliers_db.errors import ServerStartFailed, WrongOwner
from pliers_db.postgres.account import Account, account_name

_LONGEST_SOCKET = 107  # bytes of sun_path without its last NUL, unix(7)
_NAME = "/.s.PGSQL.65535"
_GRACE = 60.0  # seconds: younger unclaimed folders may be about to be claimed


def temporary_roots() -> list[Path]:
    """TMPDIR, /tmp, /var/tmp: those that are there."""
    roots = dict.fromkeys([Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")])
    return [root for root in roots if root.is_dir() and os.access(root, os.W_OK | os.X_OK)]


def temporary_root(account: Account | None, *, sockets: bool = False) -> Path:
    """The first of them that the server's account can enter.

    :param sockets: its path must be short enough for a socket in a folder there.
    """
    for root in temporary_roots():
        short = len(os.fsencode(root)) + 32 + len(_NAME) <= _LONGEST_SOCKET and "," not in str(root)
        if (short or not sockets) and (account is None or account.reaches(root)):
            return root
    raise ServerStartFailed(
        "There is no folder for temporary files",
        why="Neither TMPDIR nor /tmp nor /var/tmp can be written to by the server's account.",
        fix="Set TMPDIR to a folder with a short path that everybody may enter.",
    )


def socket_folder(data: Path, account: Account | None) -> Path:
    """Where the sockets of a cluster go: always the same short path, private to the account and the data folder.

    Not the data folder itself: its path may be too long for a socket (107 bytes), hold a comma (libpq would read two
    hosts), or lie on a file system without sockets.
    """
    mark = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    return temporary_root(account, sockets=True) / f"pliers-{os.geteuid()}-{mark}"


def make_socket_folder(path: Path, account: Account | None) -> None:
    """Make it, for the account alone.

    :raises WrongOwner: somebody else has it: they could pose as our server.
    """
    if len(os.fsencode(path)) + len(_NAME) > _LONGEST_SOCKET:
        raise ServerStartFailed(
            "The socket's folder has too long a path",
            why=f"{path}: a socket's path has {_LONGEST_SOCKET} bytes at most.",
            fix="Set TMPDIR to a folder with a short path.",
        )
    wanted = os.geteuid() if account is None else account.uid
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (wanted, os.geteuid()):
            raise WrongOwner(
                f"{path}, the folder for the server's socket, belongs to {account_name(found.st_uid)}",
                why="Whoever owns it could pose as the server.",
                fix=f"rm -r '{path}' (as its owner or root), or set TMPDIR to a folder of your own.",
            ) from None
    if account is not None:
        account.own(path)
    if stat.S_IMODE(path.lstat().st_mode) != 0o700:
        path.chmod(0o700)


@contextmanager
def claimed_folder(
    parent: Path, prefix: str, *, grace: float = _GRACE, end: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """A new folder that is removed at the end of the block, unless it has been renamed by then.

    A lock on it says that its maker lives; what dead makers (kill -9, power) left beside it is removed first.

    :param grace: seconds that a folder without a lock must be old to count as left behind; 0 if the caller holds a
        lock that keeps others from making one here.
    :param end: called with each before it is removed, to end what works in it.
    """
    _sweep(parent, prefix, grace, end)
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)  # close-on-exec: no child keeps it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
    finally:
        if end is not None and path.exists():
            end(path)
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _sweep(parent: Path, prefix: str, grace: float, end: Callable[[Path], None] | None) -> None:
    try:
        names = [name for name in os.listdir(parent) if name.startswith(prefix)]
    except OSError:
        return
    for path in (parent / name for name in names):
        try:
            found = path.lstat()
            # Only what we ourselves have made: in /tmp others may lay bait.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            if time.time() - found.st_mtime < grace:
                continue
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            if end is not None:
                end(path)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
