"""Comments that excuse a finding: ``-- lint: ignore PL020 a reason``.

A comment counts for the statement in which or behind which (on its last line) it stands, else for the next one;
``ignore-file`` counts for the whole file, and so does any comment for a finding about the file as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pliers_db.errors import BadLintComment
from pliers_db.migrate.lint.settings import check_rule
from pliers_db.migrate.lint.source import Source

_LINT = re.compile(r"--\s*lint\s*:", re.I)
_IGNORE = re.compile(
    r"--\s*lint\s*:\s*(?P<verb>ignore(?:-file)?)\s+(?P<rules>[\w-]+(?:\s*,\s*[\w-]+)*)\s*(?:[:–—-]\s*)?(?P<reason>.*?)\s*$",
    re.I,
)
_SQUAWK = re.compile(r"--\s*squawk-ignore", re.I)


@dataclass(frozen=True, slots=True)
class Ignore:
    """One rule that a comment turns off at one place."""

    rule: str
    reason: str
    offset: int
    """Where the comment stands."""
    first: int
    """The offsets for which it counts, ``last`` included."""
    last: int

    def excuses(self, rule: str, offset: int | None) -> bool:
        """Whether it counts for a finding. :param offset: None: the finding is about the whole file."""
        return rule == self.rule and (offset is None or self.first <= offset <= self.last)


def read_ignores(source: Source) -> tuple[Ignore, ...]:
    """The ignores of a file.

    :raises BadLintComment: a ``-- lint:`` comment that says something else.
    :raises UnknownRule: there is no such rule.
    """
    return tuple(_read(source))


def foreign_ignores(source: Source) -> Iterator[int]:
    """Where squawk's own comments stand, which have no room for a reason."""
    return (offset for offset, text in source.comments if _SQUAWK.match(text))


def _read(source: Source) -> Iterator[Ignore]:
    for offset, text in source.comments:
        if not _LINT.match(text):
            continue
        where = f"{source.path}:{source.at(offset).line}"
        found = _IGNORE.match(text)
        if found is None:
            raise BadLintComment(
                f"{where}: {text.strip()!r} is not understood",
                why="A comment for lint names the rule and a reason.",
                fix="Write: -- lint: ignore PL020 the reason (or: -- lint: ignore-file …)",
            )
        first, last = _scope(source, offset)
        if found["verb"].lower() == "ignore-file":
            first, last = 0, len(source.text)
        for name in found["rules"].split(","):
            rule = name.strip()
            rule = rule.upper() if rule.lower().startswith("pl0") else rule
            yield Ignore(check_rule(rule, where), found["reason"], offset, first, last)


def _scope(source: Source, offset: int) -> tuple[int, int]:
    before = [s for s in source.statements if s.start <= offset]
    if before:
        last = before[-1]
        if offset < last.end or "\n" not in source.text[last.end : offset]:
            return last.start, last.end
    following = next((s for s in source.statements if s.start > offset), None)
    return (following.start, following.end) if following else (offset, offset)
