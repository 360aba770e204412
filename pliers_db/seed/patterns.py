"""Texts that a regular expression matches, counted: the part of PostgreSQL's syntax that CHECKs use."""

from __future__ import annotations

from pliers_db.seed.choices import Choices, combined, one_of

_CLASSES = {
    "d": "0123456789",
    "w": "abcdefghijklmnopqrstuvwxyz0123456789",
    "s": " ",
    "digit": "0123456789",
    "alpha": "abcdefghijklmnopqrstuvwxyz",
    "lower": "abcdefghijklmnopqrstuvwxyz",
    "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "alnum": "abcdefghijklmnopqrstuvwxyz0123456789",
    "xdigit": "0123456789abcdef",
    "space": " ",
    "punct": "-.",
}
_ANY = "abcdefghijklmnopqrstuvwxyz0123456789"
_MORE = 6
"""So often at most is repeated what may be repeated without end: enough for any number of rows."""


def matching(pattern: str, low: int = 0, high: int | None = None) -> Choices | None:
    """Texts that a pattern matches; None if it uses what is not understood here.

    :param low, high: the least and greatest number of characters.
    """
    try:
        reader = _Reader(pattern)
        found = reader.alternatives()
        if reader.place < len(pattern):
            return None
    except (ValueError, IndexError):
        return None
    shapes = [shape for shape in found if low <= shape.length and (high is None or shape.length <= high)]
    if not shapes:
        return None
    best = max(shapes, key=lambda shape: shape.choices.size)
    return Choices(best.choices.size, best.choices.nth, f"texts that match {pattern}", best.choices.common)


class _Shape:
    """Texts of one length."""

    def __init__(self, parts: list[str]) -> None:
        self.parts = parts
        self.length = len(parts)

    @property
    def choices(self) -> Choices:
        if not self.parts:
            return one_of([""])
        return combined([one_of(list(part)) for part in self.parts], "".join, "texts")


class _Reader:
    """Reads a pattern into shapes: lists of sets of characters, one per place."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.place = 0

    def alternatives(self) -> list[_Shape]:
        found = self._sequence()
        while self._peek() == "|":
            self.place += 1
            found += self._sequence()
        return found

    def _peek(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def _next(self) -> str:
        char = self.pattern[self.place]
        self.place += 1
        return char

    def _sequence(self) -> list[_Shape]:
        found = [_Shape([])]
        while self._peek() not in ("", "|", ")"):
            atom = self._atom()
            low, high = self._times()
            repeated: list[_Shape] = []
            for count in range(low, high + 1):
                ahead = [_Shape([])]
                for _ in range(count):
                    ahead = [_Shape(a.parts + b.parts) for a in ahead for b in atom][:8]
                repeated += ahead
            found = _spread([_Shape(a.parts + b.parts) for a in found for b in repeated])
        return found

    def _atom(self) -> list[_Shape]:
        char = self._next()
        if char in "^$":
            return [_Shape([])]
        if char == "(":
            if self.pattern.startswith("?", self.place):
                if not self.pattern.startswith("?:", self.place):
                    raise ValueError("look-ahead")
                self.place += 2
            found = self.alternatives()
            if self._next() != ")":
                raise ValueError("open group")
            return found
        if char == "[":
            return [_Shape([self._bracket()])]
        if char == "\\":
            char = self._next()
            if char in "AZmMyb":
                return [_Shape([])]
            if char in _CLASSES:
                return [_Shape([_CLASSES[char]])]
            if char.isalnum():
                raise ValueError("escape")
            return [_Shape([char])]
        return [_Shape([_ANY if char == "." else char])]

    def _bracket(self) -> str:
        negated = self._peek() == "^"
        self.place += negated
        chars = ""
        while self._peek() != "]" or not chars:
            if self.pattern.startswith("[:", self.place):
                end = self.pattern.index(":]", self.place)
                chars += _CLASSES[self.pattern[self.place + 2 : end]]
                self.place = end + 2
                continue
            char = self._next()
            if char == "\\":
                char = self._next()
                chars += _CLASSES.get(char, char)
                continue
            if self._peek() == "-" and self.pattern[self.place + 1] != "]":
                self.place += 1
                chars += "".join(map(chr, range(ord(char), ord(self._next()) + 1)))
            else:
                chars += char
        self.place += 1
        if negated:
            chars = "".join(c for c in _ANY if c not in chars)
        unique = "".join(dict.fromkeys(chars))
        if not unique:
            raise ValueError("empty class")
        return unique

    def _times(self) -> tuple[int, int]:
        char = self._peek()
        low, high = 1, 1
        if char in ("*", "+", "?"):
            self.place += 1
            low, high = {"*": (0, _MORE), "+": (1, _MORE), "?": (0, 1)}[char]
        elif char == "{":
            end = self.pattern.index("}", self.place)
            first, comma, last = self.pattern[self.place + 1 : end].partition(",")
            self.place = end + 1
            low = int(first)
            high = low if not comma else int(last) if last else low + _MORE
            if high > 400:
                high = max(low, 400)
            if high - low > 2 * _MORE:
                high = low + 2 * _MORE
        if self._peek() == "?":
            self.place += 1
        return low, high


def _spread(shapes: list[_Shape]) -> list[_Shape]:
    """A few shapes of different lengths: all of them would be too many."""
    by_length: dict[int, _Shape] = {}
    for shape in shapes:
        known = by_length.get(shape.length)
        if known is None or known.choices.size < shape.choices.size:
            by_length[shape.length] = shape
    return list(by_length.values())[-64:]
