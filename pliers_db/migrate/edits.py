"""Whether a text was edited in a way that matters: comments, layout and the case of words do not. Pure."""

from __future__ import annotations

from difflib import unified_diff

_COMMENTS = ("SQL_COMMENT", "C_COMMENT")
_DIFF_LINES = 12


def same_meaning(one: str, other: str) -> bool:
    """Whether two texts of SQL are the same but for comments, layout, the case of words and final semicolons.

    The body of a function is a string to PostgreSQL, comments and all: a change there is one.
    """
    if one == other:
        return True
    mine, theirs = _tokens(one), _tokens(other)
    return mine is not None and mine == theirs


def _tokens(text: str) -> list[tuple[str, str]] | None:
    from pglast import parser
    from pglast.error import Error

    try:
        tokens = parser.scan(text)
    except Error:
        return None
    found: list[tuple[str, str]] = []
    for token in tokens:
        if token.name in _COMMENTS:
            continue
        word = text[token.start : token.end + 1]
        if token.name == "ASCII_59" and (not found or found[-1][0] == "ASCII_59"):
            continue
        plain = token.name == "IDENT" or token.kind != "NO_KEYWORD"
        found.append((token.name, word.lower() if plain and not word.startswith('"') else word))
    while found and found[-1][0] == "ASCII_59":
        found.pop()
    return found


def short_diff(applied: str, now: str) -> str:
    """The difference in a few lines, as ``diff -u`` shows it."""
    lines = list(unified_diff(applied.splitlines(), now.splitlines(), "applied", "file", n=1, lineterm=""))[2:]
    more = len(lines) - _DIFF_LINES
    return "\n".join(lines[:_DIFF_LINES] + ([f"… {more} more lines"] if more > 0 else []))
