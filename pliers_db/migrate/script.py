"""One migration as one message to the server: the file and its record in a single transaction.

PostgreSQL parses the whole message before it runs any of it. What a file leaves open cannot swallow the record: an
open comment or ``$$`` finds no end in the tail, an open quote finds ``'UTF8'`` or ``"schema"``, and a string that is
followed by a bare word and another string is no SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pliers_db.migrate.parser import Place, place_of, split, syntax_error

# What a file may have changed in its session. Not DISCARD ALL: it would free the advisory lock.
RESTORE = "reset session authorization; reset role; reset all; discard temp; set client_encoding to 'UTF8';\n"


@dataclass(frozen=True, slots=True)
class Script:
    """The text of one message, and where the file stands in it."""

    path: Path
    head: str
    body: str
    tail: str
    before: int = 0
    """How many statements the head has."""

    @property
    def text(self) -> str:
        """What is sent."""
        return f"{self.head}{self.body}{self.tail}"


def transaction_script(
    path: Path, body: str, *, settings: Sequence[str], record: Sequence[str], whole: bool = True
) -> Script:
    """The file, then the statements that record it, in one transaction.

    :param settings: statements at the transaction's beginning (``set local …``).
    :param record: statements at its end.
    :param whole: false: a part of a transaction that others begin and end.
    """
    head = ("begin;\n" if whole else "") + "".join(f"{s};\n" for s in settings)
    # Deferred constraints are checked while the file's role and search_path still hold.
    tail = (
        "\n;\nset constraints all immediate;\n"
        + RESTORE
        + "".join(f"{s};\n" for s in record)
        + ("commit" if whole else "")
    )
    return Script(path, head, body, tail, whole + len(settings))


def locate(script: Script, diag: Any, completed: int) -> tuple[Place | None, str]:
    """Where in the file an error happened, and what it says.

    :param diag: the server's description of the error.
    :param completed: how many statements of the message had ended well.
    :returns: no place if it happened outside the file.
    """
    text = str(diag.message_primary)
    if diag.statement_position:
        offset = int(diag.statement_position) - 1 - len(script.head)
        if 0 <= offset <= len(script.body.rstrip()):
            return place_of(script.body, offset), text
        if offset < 0 or diag.sqlstate != "42601":
            return None, text
        # Something is open at the file's end, and the server stumbled over the tail.
        found, told = syntax_error(script.body) or (len(script.body.rstrip()), "syntax error at end of file")
        return place_of(script.body, found), told
    # Most errors of execution have no position: count statements instead.
    number = completed - script.before
    statements = split(script.body) if number >= 0 else []
    return (place_of(script.body, statements[number].start) if 0 <= number < len(statements) else None), text
