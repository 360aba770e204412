"""Where the embedded cluster of a project lies: ``data/embedded``, or where a link of that name leads.

As root the server runs as another account. When that account cannot enter the project (below /root, say), the cluster
is made in a folder that it can enter, ``/var/lib/pliers-db/NAME-xxxxxxxx/data``, and ``data/embedded`` is a link there.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from pliers_db.config import Project
from pliers_db.errors import ForeignDataFolder, ServerStartFailed
from pliers_db.postgres.account import Account, server_account
from pliers_db.postgres.places import public_folder
from pliers_db.progress import Reporter

STATE = Path("/var/lib/pliers-db")
_RECORD = "project"


def embedded_folder(project: Project) -> Path:
    """The data folder of a project's embedded server, links resolved; it may not exist yet."""
    link = _link(project)
    return Path(os.path.realpath(link)) if link.is_symlink() else link


def check_link(project: Project) -> None:
    """Whether the link, if it is one of ours, was made for this project.

    :raises ForeignDataFolder: the project was copied with its link, and would share the original's databases.
    """
    link = _link(project)
    if not link.is_symlink():
        return
    record = embedded_folder(project).with_name(_RECORD)
    try:
        owner = Path(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    if owner == link:
        return
    if os.path.realpath(owner) == os.path.realpath(link):
        raise ForeignDataFolder(
            f"{link} leads to the databases of {owner.parent.parent}",
            why="This folder is a copy of that project, and the link was copied with it.",
            fix=f"rm '{link}' (a link: the databases stay) and this copy gets its own.",
        )
    if os.access(record, os.W_OK):
        record.write_text(str(link), encoding="utf-8")  # the project has moved


def make_data_folder(project: Project) -> None:
    """``data/``, with the owner of what it lies in."""
    if project.data.is_dir():
        return
    project.data.mkdir(parents=True)
    if os.geteuid() == 0:
        owner = project.data.parent.stat()
        os.chown(project.data, owner.st_uid, owner.st_gid)
        project.data.chmod(0o755)  # not root's umask: the server's account must come through


def make_place(project: Project, reporter: Reporter) -> Path:
    """An empty folder for a new cluster, that belongs to the account which will serve it and can be entered by it.

    :returns: the data folder.
    """
    link = _link(project)
    if os.geteuid() != 0:
        return embedded_folder(project)
    data = embedded_folder(project)
    if link.is_symlink() and not data.parent.is_dir():
        reporter.warn(f"{link} led to {data}, which is gone; making a new cluster")
        link.unlink()
        data = link
    account = server_account(data if data.exists() else project.root / "new")
    assert account is not None
    if not account.reaches(data.parent):
        data = _elsewhere(project, link, account, reporter)
    if not data.exists():
        data.mkdir(mode=0o700)
        account.own(data)
    return data


def _elsewhere(project: Project, link: Path, account: Account, reporter: Reporter) -> Path:
    base = public_folder(STATE, account)
    if base is None:
        raise ServerStartFailed(
            f"{account.name} cannot enter {link.parent}",
            why=f"PostgreSQL refuses to run as root, and neither {STATE} nor a temporary folder can be used instead.",
            fix=f"Let everybody enter the project: chmod o+x '{project.root}' and the folders above it.",
        )
    for record in base.glob(f"*/{_RECORD}"):
        if record.read_text(encoding="utf-8") == str(link):
            reporter.warn(f"No longer used, since data/embedded was removed: rm -r '{record.parent}'")
    if link.is_dir():
        link.rmdir()  # empty: checked before
    slug = re.sub(r"[^a-z0-9]+", "-", project.name.lower()).strip("-") or "app"
    home = Path(tempfile.mkdtemp(prefix=f"{slug}-", dir=base))
    home.chmod(0o711)
    (home / _RECORD).write_text(str(link), encoding="utf-8")
    link.symlink_to(home / "data")
    reporter.info(f"{account.name} cannot enter {link.parent}: the cluster lies in {home}, data/embedded is a link")
    return home / "data"


def _link(project: Project) -> Path:
    return project.data / "embedded"
