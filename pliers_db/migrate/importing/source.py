"""What another tool's folder holds: its migrations as found, and what of it cannot come along."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

# Stands in for a line that does not come along, so that the others keep their numbers. No file can hold it:
# `read_text` refuses a NUL.
GONE = "\0"


class Tool(StrEnum):
    """Where migrations can come from."""

    DBMATE = "dbmate"
    GOLANG_MIGRATE = "golang-migrate"
    FLYWAY = "flyway"
    DIESEL = "diesel"
    GOOSE = "goose"
    SQITCH = "sqitch"
    SUPABASE = "supabase"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that cannot come along."""

    text: str
    """What, with ``file:line:`` before it."""
    fix: str


def problem(path: Path, line: int, what: str, fix: str) -> Problem:
    """A problem at a line of a file."""
    return Problem(f"{path}:{line}: {what}", fix)


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a file, its lines where they stand in that file."""

    path: Path
    aligned: str
    """Line n is line n of the file; what does not come along is `GONE`."""

    @property
    def numbered(self) -> str:
        """With empty lines for what does not come along: places in it are places in the file."""
        return self.aligned.replace(GONE, "")

    @property
    def plain(self) -> str:
        """What comes along."""
        lines = [line for line in self.aligned.split("\n") if line.rstrip("\r") != GONE]
        return "\n".join(lines).strip("\r\n")


def part(path: Path, text: str, kept: Iterable[int]) -> Text:
    """Some lines of a file.

    :param kept: their numbers, from 1.
    """
    wanted = set(kept)
    lines = text.split("\n")
    return Text(path, "\n".join(line if n in wanted else GONE for n, line in enumerate(lines, 1)))


@dataclass(frozen=True, slots=True)
class Foreign:
    """One migration as another tool has it."""

    version: str
    """What their history calls it."""
    id: str
    """What ours will call it."""
    up: Text
    down: Text | None = None
    transactional: bool | None = None
    """What the tool was told; None: it looks at the SQL."""
    down_transactional: bool | None = None
    depends: tuple[str, ...] | None = None
    """The ids that it needs; None: the one before it."""
    checksum: str | None = None
    """What the tool would record of its content today."""


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of another tool, in the order in which that tool applies it."""

    tool: Tool
    path: Path
    migrations: tuple[Foreign, ...]
    hooks: tuple[Foreign, ...] = ()
    """What runs after every ``up``."""
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know, and what stays behind without harm."""
    project: str = ""
    """sqitch: whose rows of the registry they are."""
    registry: str = ""
    """sqitch: the registry's schema, where it is not ``sqitch``."""


@dataclass(slots=True)
class Findings:
    """What a reader of a folder collects on its way."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, path: Path, line: int, what: str, fix: str) -> None:
        """Something cannot come along."""
        self.problems.append(problem(path, line, what, fix))

    def twice(self, migrations: Iterable[Foreign]) -> None:
        """Name migrations of one version."""
        seen: dict[str, Foreign] = {}
        for each in migrations:
            other = seen.setdefault(each.version, each)
            if other is not each:
                self.add(each.up.path, 1, f"has the version of {other.up.path}", "Remove or renumber one of them.")


def id_of(number: str, name: str) -> str:
    """An id of ours: ``-- depends:`` separates ids by blanks, and a file's name holds no slash."""
    slug = re.sub(r"[\s/]+", "_", name.strip())
    return f"{number}_{slug}" if slug else number
