"""Which migrations a branch has touched, asked of git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pliers_db.errors import NoGitRef
from pliers_db.migrate.files import Folder


def changed_since(folder: Folder, ref: str) -> tuple[str, ...]:
    """The ids of the migrations whose file or rollback file differs from what it was at a git ref, in their order.

    What is not committed counts, new files too.

    :param ref: a branch, tag or commit.
    :raises NoGitRef: git is missing, the folder is in no repository, or there is no such ref.
    """
    commit = _git(folder.path, ref, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()
    changed = _git(folder.path, ref, "diff", "--name-only", "--relative", "--no-renames", "-z", commit, "--", ".")
    untracked = _git(folder.path, ref, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    names = set((changed + untracked).split("\0"))
    return tuple(m.id for m in folder.migrations if {f"{m.id}.sql", f"{m.id}.rollback.sql"} & names)


def _git(folder: Path, ref: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        raise NoGitRef("git cannot be run", why=str(error), fix="Install git, or name the migrations.") from error
    if done.returncode == 0:
        return os.fsdecode(done.stdout)  # as os.scandir reads names
    why = os.fsdecode(done.stderr).strip()
    if not why:  # --quiet: only when the ref is unknown
        raise NoGitRef(
            f"git knows no {ref!r}",
            why="It is no branch, tag or commit of this repository; a shallow clone has only the last commit.",
            fix=f"git fetch origin {ref.removeprefix('origin/')}",
        )
    raise NoGitRef(f"git cannot tell what changed since {ref!r}", why=why, fix="Name the migrations.")
