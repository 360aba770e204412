"""The log of a server: its last lines, its new lines, and what its dying words mean."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

_KEEP = 10 << 20  # bytes

# What the server says when it does not start, the more special words first: (words, fix).
_MEANING: tuple[tuple[str, str], ...] = (
    (r"could not create semaphores", "Raise the kernel's limit of semaphores: sysctl kernel.sem"),
    (
        r"No space left on device|Disk quota exceeded",
        "Make room on the file system of the data folder, then start again.",
    ),
    (r"Cannot allocate memory|could not map anonymous shared memory", "Give it more memory, or lower shared_buffers."),
    (
        r"database files are incompatible|was initialized by PostgreSQL version",
        "Set PGBIN to programs of that version.",
    ),
    (r"Address already in use", "Choose another --port, or end what listens there."),
    (r"pre-existing shared memory block", "End the processes that a killed server left behind, then start again."),
    (r"lock file .* already exists", "pliers-db server status"),
    (r"has wrong ownership|has invalid permissions|has group or world access", "chown and chmod 0700 the data folder."),
    (r"could not access file|could not load library", "Take it out of shared_preload_libraries in postgresql.conf."),
    (r"could not access the server configuration file", "Put a postgresql.conf into the data folder."),
    (r"configuration file .* contains errors|unrecognized configuration parameter", "Correct postgresql.conf."),
    (r"could not locate a valid checkpoint record|invalid checkpoint record", "Restore a backup: the data is damaged."),
    (r"insufficient parameter settings", "Raise the setting to what it is on the server the data came from."),
)


def explain(text: str) -> tuple[str, str]:
    """Why a server did not start, in its own words, and what to do."""
    lines = [line for line in text.splitlines() if line.strip()]
    grave = [line for line in lines if re.search(r"\b(FATAL|PANIC|ERROR|HINT|DETAIL|error):", line)]
    grave = [line for line in lines if "in file" in line and "line" in line] + grave  # of a configuration file
    why = "\n".join((grave or lines)[-6:])
    # Each line begins with a time and a process number, which help nobody here.
    why = re.sub(r"^.*?\b((?:FATAL|PANIC|ERROR|HINT|DETAIL|LOG):\s+)", r"\1", why, flags=re.MULTILINE)
    return why, next((fix for words, fix in _MEANING if re.search(words, text)), "Read its log: pliers-db server logs")


def prepare(path: Path) -> None:
    """Put an overlong log aside before a start; one old one is kept."""
    if path.exists() and path.stat().st_size > _KEEP:
        path.replace(path.with_name(path.name + ".1"))


def size(path: Path) -> int:
    """Its length in bytes, 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0


def since(path: Path, offset: int) -> str:
    """What was written after a place."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(1 << 20).decode("utf-8", errors="replace")


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=count)]


def follow(path: Path, *, every: float = 0.2) -> Iterator[str]:
    """Each line that is written from now on, for ever; a log put aside or emptied is followed into the new one.

    :param every: seconds between two looks.
    """
    file = path.open("rb") if path.exists() else None
    try:
        if file is not None:
            file.seek(0, os.SEEK_END)
        rest = b""
        while True:
            if file is None and path.exists():
                file, rest = path.open("rb"), b""
            while file is not None and (piece := file.readline()):
                rest += piece
                if rest.endswith(b"\n"):
                    yield rest.decode("utf-8", errors="replace").rstrip("\n")
                    rest = b""
            if file is not None and _replaced(path, os.fstat(file.fileno()), file.tell()):
                file.close()
                file = None
            else:
                time.sleep(every)
    finally:
        if file is not None:
            file.close()


def _replaced(path: Path, held: os.stat_result, read: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return there.st_ino != held.st_ino or there.st_size < read
