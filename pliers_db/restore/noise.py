"""Reading what pg_restore says: which of its errors matter.

pg_restore goes on after an error and ends with 1, whatever the error was. One is harmless: an archive of pg_dump 17 or
newer begins with ``SET transaction_timeout``, which older servers do not know. Everything else fails the restore.
"""

from __future__ import annotations

import re

_ERROR = re.compile(r"^pg_restore: error: ")
_OTHER = re.compile(r"^pg_restore: (?!error: )")
_COMMAND = "Command was: "
_TOLERATED = {"SET transaction_timeout = 0;"}


class Noise:
    """Sorts pg_restore's lines, one at a time."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        """Errors that matter, each with its context."""
        self.notices: list[str] = []
        self._open: list[str] = []

    def feed(self, line: str) -> None:
        """Take the next line of stderr."""
        if _ERROR.match(line):
            self.close()
            self._open = [line]
        elif _OTHER.match(line):
            self.close()
            if line.startswith("pg_restore: warning: ") and "errors ignored on restore" not in line:
                self.notices.append(line)
        elif self._open:
            if line.startswith(_COMMAND) and line.removeprefix(_COMMAND) in _TOLERATED:
                self._open = []
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
