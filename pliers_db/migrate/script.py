"""One migration as one message to the server: the file and its record in a single transaction.

PostgreSQL parses the whole message before it runs any of it, so that nothing in the file (an open quote, a comment
without end) can swallow what stands behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a file may have changed in its session. Not DISCARD ALL: it would free the advisory lock.
RESTORE = "reset session authorization; reset role; reset all; discard temp; set client_encoding to 'UTF8';\n"


@dataclass(frozen=True, slots=True)
class Script:
    """The text of one message, and where the file stands in it."""

    path: Path
    head: str
    body: str
    tail: str

    @property
    def text(self) -> str:
        """What is sent."""
        return f"{self.head}{self.body}{self.tail}"


def transaction_script(path: Path, body: str, *, settings: Sequence[str], record: Sequence[str]) -> Script:
    """The file, then the statements that record it, in one transaction.

    :param settings: statements at the transaction's beginning (``set local …``).
    :param record: statements at its end.
    """
    head = "begin;\n" + "".join(f"{s};\n" for s in settings)
    # Deferred constraints are checked while the file's role and search_path still hold.
    tail = "\n;\nset constraints all immediate;\n" + RESTORE + "".join(f"{s};\n" for s in record) + "commit"
    return Script(path, head, body, tail)


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line and column count from 1."""

    line: int
    column: int
    source: str
    """The text of that line."""

    def caret(self) -> str:
        """The line with a caret below the position, as psql shows it."""
        number = f"{self.line} | "
        # Tabs stay tabs, so that the caret stands where the terminal puts them.
        before = "".join(c if c == "\t" else " " for c in self.source[: self.column - 1])
        return f"{number}{self.source}\n{' ' * (len(number) - 2)}| {before}^"


def place_of(text: str, offset: int) -> Place:
    """The line and column of an offset (in characters) into a text."""
    offset = min(max(offset, 0), len(text))
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    source = text[start : len(text) if end < 0 else end].rstrip("\r")
    return Place(text.count("\n", 0, offset) + 1, offset - start + 1, source)


def locate(script: Script, diag: Any, completed: int, before: int) -> Place | None:
    """Where in the file an error happened.

    :param diag: the server's description of the error.
    :param completed: how many statements of the message had ended well.
    :param before: how many statements the head has.
    :returns: None if it happened outside the file.
    """
    if diag.statement_position:
        offset = int(diag.statement_position) - 1 - len(script.head)
        if 0 <= offset <= len(script.body.rstrip()):
            return place_of(script.body, offset)
        if 0 <= offset <= len(script.body) + 2:  # our semicolon: the file's last statement has no end
            return place_of(script.body, len(script.body.rstrip()))
        return None
    # Most errors of execution have no position: count statements instead.
    number = completed - before
    if number < 0:
        return None
    from pliers_db.migrate.parser import split

    statements = split(script.body)
    return place_of(script.body, statements[number].start) if number < len(statements) else None
