"""Reading what pg_restore says: which of its errors matter.

pg_restore goes on after an error and ends with 1, whatever the error was. One is harmless: from 17 on pg_restore begins
with ``SET transaction_timeout``, which older servers do not know. Everything else fails the restore.

The workers of a parallel restore write to one stderr, and their lines get mixed. So what is read here only tells early
and in words that something failed; whether anything did, is decided by the exit code and the number of errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_ERROR = re.compile(r"pg_restore: error: ")
_OTHER = re.compile(r"^pg_restore: ")
_IGNORED = re.compile(r"errors ignored on restore: (\d+)")
_NOT_THE_DUMPS = re.compile(
    r"server closed the connection|terminating connection|connection to server|no connection to the server"
    r"|connection has been closed|could not receive data|shutting down|in recovery mode|starting up"
    r"|worker process died|was terminated by signal"
    r"|No space left on device|Disk quota exceeded|out of memory|out of shared memory|could not resize shared memory"
)
_DONE_BY_WORKERS = re.compile(r"pg_restore: (?:processing|finished) item ")
_DONE = re.compile(r"pg_restore: (?:creating|executing|processing data) ")
_COMMAND = "Command was: "
_TOLERATED = {"SET transaction_timeout = 0;"}


def not_the_dumps(text: str) -> bool:
    """Whether words of pg_restore, psql or the server tell of the machine, not of what was restored."""
    return _NOT_THE_DUMPS.search(text) is not None


class Noise:
    """Sorts pg_restore's lines, one at a time."""

    def __init__(self, on_object: Callable[[], None] = lambda: None, *, parallel: bool = False) -> None:
        """:param on_object: called for each object that is done.

        :param parallel: whether pg_restore has several workers: then it counts the objects itself.
        """
        self._on_object, self._object = on_object, _DONE_BY_WORKERS if parallel else _DONE
        self.errors: list[str] = []
        """Errors that matter, each with its context."""
        self.tolerated = 0
        """Errors that do not."""
        self.ignored = 0
        """How many errors pg_restore says it has gone on after."""
        self.notices: list[str] = []
        self._open: list[str] = []

    def feed(self, line: str) -> None:
        """Take the next line of stderr."""
        if self._object.match(line):
            self._on_object()
        if found := _ERROR.search(line):
            self.close()
            self._open = [line[found.start() :]]
        elif _OTHER.match(line):
            self.close()
            if count := _IGNORED.search(line):
                self.ignored = int(count[1])
            elif line.startswith("pg_restore: warning: "):
                self.notices.append(line)
        elif self._open:
            if line.startswith(_COMMAND) and line.removeprefix(_COMMAND) in _TOLERATED:
                self._open = []
                self.tolerated += 1
            elif line.startswith(_COMMAND):
                self._open.append(line)
                self.close()
            elif line:
                self._open.append(line)
        elif line.startswith(("NOTICE:", "WARNING:")):
            self.notices.append(line)

    def close(self) -> None:
        """The error that was being read is complete."""
        if self._open:
            self.errors.append("\n".join(self._open[:8]))
            self._open = []

    def harmless(self, returncode: int) -> bool:
        """Whether pg_restore has done all that it should."""
        self.close()
        return not self.errors and (returncode == 0 or (returncode == 1 and self.ignored == self.tolerated > 0))
