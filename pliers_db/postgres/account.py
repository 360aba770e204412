"""The account that a server runs as. PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliers_db.errors import NoServerAccount, WrongOwner


@dataclass(frozen=True, slots=True)
class Account:
    """Another account, to start programs as; only root can."""

    name: str
    uid: int
    gid: int

    def popen(self) -> dict[str, Any]:
        """The arguments for ``subprocess``."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give it a file or folder that we have just made."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def reaches(self, folder: Path) -> bool:
        """Whether it may enter a folder: all above it count too."""
        # Open to everybody is the usual case; otherwise the kernel is asked, which knows groups and ACLs as well.
        if all(_open_to_all(part) for part in (folder, *folder.parents)):
            return True
        done = subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$1"', "sh", folder],
            **self.popen(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode == 0


def server_account(data: Path) -> Account | None:
    """Who a server with this data folder runs as; None: we ourselves.

    As root: the owner of the folder, else the nearest owner above it that is not root (so that those whose project it
    is can go on without root), else postgres, else nobody, else the first other account there is.

    :raises NoServerAccount: root is the only account here.
    :raises WrongOwner: the folder belongs to an account that we cannot be.
    """
    there = data.stat() if data.exists() else None
    if os.geteuid() != 0:
        if there is not None and there.st_uid != os.geteuid():
            raise wrong_owner(data, there.st_uid)
        return None
    if there is not None and there.st_uid != 0:
        return _known(there.st_uid) or Account(str(there.st_uid), there.st_uid, there.st_gid)
    account = _account_above(data)
    if there is not None and (data / "PG_VERSION").exists():
        raise WrongOwner(
            f"{data} belongs to root",
            why="PostgreSQL refuses to run as root, and its folder must belong to the account it runs as.",
            fix=f"chown -R {account.name} '{data}'",
        )
    return account


def _account_above(data: Path) -> Account:
    for folder in data.parents:
        if folder.exists() and (owner := folder.stat().st_uid) != 0 and (found := _known(owner)) is not None:
            return found
    for entry in _candidates():
        if entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise NoServerAccount(
        "PostgreSQL refuses to run as root, and there is no other account",
        why="/etc/passwd names root only.",
        fix="echo 'postgres:x:999:999::/nonexistent:/sbin/nologin' >> /etc/passwd",
    )


def wrong_owner(path: Path, owner: int) -> WrongOwner:
    """The error for a folder of somebody else."""
    name = account_name(owner)
    return WrongOwner(
        f"{path} belongs to {name}, and you are {account_name(os.geteuid())}",
        why="A server and its folder belong to one account. It was probably started as root or by somebody else.",
        fix=f"Run it as root or as {name}, or once: sudo chown -R {account_name(os.geteuid())} '{path}'",
    )


def account_name(uid: int) -> str:
    """The name of an account, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def check_passwd_entry(account: Account | None) -> None:
    """initdb, alone among PostgreSQL's programs, refuses an account that has no name.

    :raises NoServerAccount: the container runs with a bare number (Kubernetes, ``docker run --user 123456``).
    """
    uid = os.geteuid() if account is None else account.uid
    if _known(uid) is None:
        raise NoServerAccount(
            f"User {uid} has no name",
            why="initdb looks the user up in /etc/passwd. Only the making of the cluster needs it; a server on an "
            "existing folder runs without.",
            fix=f"Once, as root, in the image: echo 'pliers:x:{uid}:0::/tmp:/sbin/nologin' >> /etc/passwd\n"
            "or set DATABASE_URL to another server.",
        )


def _open_to_all(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IXOTH)
    except OSError:
        return False


def _known(uid: int) -> Account | None:
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        return None
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def _candidates() -> Iterator[pwd.struct_passwd]:
    for name in ("postgres", "nobody"):
        try:
            yield pwd.getpwnam(name)
        except KeyError:
            continue
    yield from sorted(pwd.getpwall(), key=lambda entry: entry.pw_uid)
