"""Sets of values that can be counted: how many there are, and which is the n-th.

A free value is the n-th for a drawn n; values that must all differ are the n-th for a permuted row number. No set of
the values given so far is kept, so any row can be made alone. Every value is text in PostgreSQL's input form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pliers_db.seed.hashing import Draw, mix

HUGE = 1 << 60
_STEP = 0x9E3779B97F4A7C15
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Choices:
    """The values that a column may take, in an order; no two of them are equal."""

    size: int
    nth: Callable[[int], str]
    """The value at a place from 0 to ``size`` - 1."""
    what: str
    """In words, for a plan."""
    common: int = 0
    """Of so many at the beginning free values are drawn (0: of all); the rest is for values that must differ."""
    in_order: bool = False
    """Values that must differ are given in their order: numbers of rows."""

    def draw(self, draw: Draw) -> str:
        """A value by chance."""
        return self.nth(draw.below(min(self.common or self.size, self.size)))

    def distinct(self, number: int, key: int) -> str:
        """The value of row ``number`` (from 0) where all must differ.

        :raises IndexError: there are not so many.
        """
        if number >= self.size:
            raise IndexError(number)
        if self.in_order:
            return self.nth(number)
        block = min(self.common or self.size, self.size)
        start = number // block * block
        return self.nth(start + permuted(number - start, min(block, self.size - start), key))

    def mapped(self, change: Callable[[str], str], what: str) -> Choices:
        """The same number of values in another spelling."""
        return Choices(self.size, lambda n: change(self.nth(n)), what, self.common, self.in_order)


def permuted(number: int, size: int, key: int) -> int:
    """One of all orders of 0 … ``size`` - 1, by key: a Feistel network of four rounds, walked until it is in range.

    Black and Rogaway, "Ciphers with arbitrary finite domains" (2002). Needs no memory; one to one.
    """
    if size <= 1:
        return 0
    half = ((size - 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    while True:
        left, right = number >> half, number & mask
        for turn in range(1, 5):
            left, right = right, left ^ (mix(key + turn * _STEP + right) & mask)
        number = left << half | right
        if number < size:
            return number


def one_of(values: Sequence[str], what: str = "") -> Choices:
    """The values of a list."""
    return Choices(len(values), lambda n: values[n], what or "one of " + ", ".join(values[:6]))


def whole(low: int, high: int, common: int = 0) -> Choices:
    """Whole numbers."""
    return Choices(high - low + 1, lambda n: str(low + n), f"whole numbers from {low} to {high}", common)


def numbered(first: int, last: int, step: int = 1) -> Choices:
    """Whole numbers one after the other."""
    size = max(0, (last - first) // step + 1)
    return Choices(size, lambda n: str(first + n * step), f"numbers from {first}", in_order=True)


def scaled(low: int, high: int, places: int, common: int = 0) -> Choices:
    """Decimal numbers: ``low`` to ``high`` in units of the last place."""
    return Choices(
        high - low + 1,
        lambda n: str(Decimal(low + n).scaleb(-places)),
        f"numbers from {Decimal(low).scaleb(-places)} to {Decimal(high).scaleb(-places)}",
        common,
    )


def letters(length: int) -> Choices:
    """Texts of so many small letters."""
    used = min(length, 12)

    def nth(number: int) -> str:
        text = ""
        for _ in range(used):
            number, place = divmod(number, 26)
            text = _LETTERS[place] + text
        return "a" * (length - used) + text

    return Choices(26**used, nth, f"{length} letters")


def texts(words: Sequence[str], low: int, high: int | None) -> Choices:
    """Two words, numbered where they come again; letters where there is no room for words.

    :param low, high: the least and greatest number of characters.
    """
    longest = max(map(len, words))
    room = 2 * longest + 9
    if high is not None and high < room:
        return letters(max(low, min(high, 8))) if high else one_of([""])
    count = len(words)

    def nth(number: int) -> str:
        again, place = divmod(number, count * count)
        text = f"{words[place // count]} {words[place % count]}" + (f" {again + 1}" if again else "")
        while len(text) < low:
            text += " " + words[(place + len(text)) % count]
        return text[:high] if high is not None and low > room else text

    return Choices(count * count * 10**6, nth, "two words", count * count)


def moments(first: datetime, seconds: int, step: int, form: Callable[[datetime], str], what: str) -> Choices:
    """Points in time, ``step`` seconds apart; those within ``seconds`` are drawn, the later ones are reserve."""
    common = max(1, seconds // step)
    last = int((datetime(9000, 1, 1, tzinfo=UTC) - first).total_seconds()) // step
    return Choices(max(last, common), lambda n: form(first + timedelta(seconds=n * step)), what, common)


def combined(parts: Sequence[Choices], join: Callable[[Sequence[str]], str], what: str) -> Choices:
    """Every combination of the common values of several sets, the last one turning fastest."""
    sizes = [min(part.common or part.size, part.size, HUGE) for part in parts]
    size = 1
    for one in sizes:
        size *= one

    def nth(number: int) -> str:
        found: list[str] = []
        for part, base in zip(reversed(parts), reversed(sizes), strict=True):
            number, place = divmod(number, base)
            found.append(part.nth(place))
        return join(found[::-1])

    return Choices(size, nth, what)
