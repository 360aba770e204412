"""A migration's file as lint sees it: its statements with their trees, and where each stands."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pliers_db.migrate.parser import Place, Statement, place_of, split

_FOR_LINT = re.compile(r"--\s*(?:lint\s*:|squawk-ignore)", re.I)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A statement and its syntax tree."""

    sql: str
    start: int
    """Its offset in the file, in characters."""
    tree: Any
    """pglast's node; None where PostgreSQL's parser does not understand it."""

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.start + len(self.sql)


@dataclass(frozen=True)
class Source:
    """One file of SQL."""

    path: Path
    text: str
    transactional: bool
    migration: str | None

    @cached_property
    def statements(self) -> tuple[Parsed, ...]:
        """What stands in it, in order."""
        return tuple(_parse(statement) for statement in split(self.text))

    @cached_property
    def comments(self) -> tuple[tuple[int, str], ...]:
        """The line comments, each with its offset; what looks like one inside a string is none.

        Empty where none can be for lint: finding them takes as long as parsing the file.
        """
        if not _FOR_LINT.search(self.text):
            return ()
        from pglast import parser

        try:
            tokens = parser.scan(self.text)
        except parser.ParseError:
            return ()  # a syntax error, which is found elsewhere
        found = ((t.start, self.text[t.start : t.end + 1]) for t in tokens if t.name == "SQL_COMMENT")
        return tuple(found)

    def at(self, offset: int | None) -> Place:
        """The place of an offset; the first line for the whole file."""
        return place_of(self.text, offset or 0)

    def offset(self, line: int, byte: int) -> int:
        """The offset, in characters, of a byte in a line.

        :param line: from 0.
        :param byte: from 0, in the line's UTF-8.
        """
        lines = self._line_starts
        start = lines[min(line, len(lines) - 1)]
        end = self.text.find("\n", start)
        row = self.text[start : len(self.text) if end < 0 else end]
        return start + len(row.encode()[:byte].decode(errors="ignore"))

    def statement_at(self, offset: int) -> Parsed | None:
        """The statement in which an offset lies."""
        number = bisect_right(self._statement_starts, offset) - 1
        return self.statements[number] if number >= 0 else None

    @cached_property
    def _statement_starts(self) -> list[int]:
        return [s.start for s in self.statements]

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        at = self.text.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = self.text.find("\n", at + 1)
        return starts


def _parse(statement: Statement) -> Parsed:
    from pglast import parser

    try:
        trees = parser.parse_sql(statement.sql)
    except parser.ParseError:
        trees = ()
    return Parsed(statement.sql, statement.start, trees[0].stmt if trees else None)
