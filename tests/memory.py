"""The test run's files in memory, where the machine has enough of it.

A disk takes several times as long to make a database, and a run makes thousands. Nothing here outlives the run, and
what a power cut does is not tested.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
PREFIX = "pliers-tests-"
NEEDED = 6 << 30  # bytes: what is in use at one time stays below 1 GiB


def use_memory() -> None:
    """Make TMPDIR a folder in memory, for this process and all below it; once per run."""
    if Path(tempfile.gettempdir()).name.startswith(PREFIX) or not os.access(MEMORY, os.W_OK):
        return
    for old in MEMORY.glob(f"{PREFIX}*"):
        if not Path(f"/proc/{old.name.removeprefix(PREFIX)}").exists():
            shutil.rmtree(old, ignore_errors=True)  # of a run that was killed, or left for looking at
    facts = os.statvfs(MEMORY)
    if facts.f_flag & os.ST_NOEXEC or facts.f_bavail * facts.f_frsize < NEEDED:
        return
    folder = MEMORY / f"{PREFIX}{os.getpid()}"
    folder.mkdir()
    folder.chmod(0o1777)  # tests of root run servers as others
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None


def free_memory(failed: bool) -> None:
    """Remove the folder of this run; after failures it stays until the next run."""
    folder = Path(tempfile.gettempdir())
    if folder.name == f"{PREFIX}{os.getpid()}" and not failed:
        shutil.rmtree(folder, ignore_errors=True)
