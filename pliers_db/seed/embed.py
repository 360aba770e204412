"""Vectors that know their words: texts that share words are near each other, without a model.

Signed feature hashing (Weinberger et al., 2009): each word adds +1 or -1 at places that its hash names. All
sums are whole numbers; one square root and one division per component follow, which IEEE 754 rounds the same on
every machine.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
_PLACES = 4  # per word: two texts with no common word rarely meet in all of them
# They say nothing of a text's subject, and would make all texts alike.
_STOP_WORDS = """
a about after all also am an and any are as at be been before but by can could did do does for from had has
have he her here his how i if in into is it its just me more most my no not of on one only or our out over
please she so some such than that the their them then there these they this to too up us very was we were what
when where which who will with would you your
"""
_STOP = frozenset(_STOP_WORDS.split())


def words_of(text: str) -> list[str]:
    """The words that count, in lower case, plurals cut to the singular's spelling."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return [_stem(word) for word in _WORD.findall(plain) if word not in _STOP]


def embed(text: str, dimensions: int) -> list[float]:
    """The unit vector of a text.

    :param dimensions: how many components.
    :raises ValueError: the text has no word that counts; a zero vector has no direction.
    """
    sums = [0] * dimensions
    words = words_of(text)
    for word in words:
        digest = hashlib.blake2b(word.encode(), digest_size=8 * _PLACES).digest()
        for start in range(0, len(digest), 8):
            number = int.from_bytes(digest[start : start + 8], "big")
            sums[(number >> 1) % dimensions] += 1 if number & 1 else -1
    square = sum(value * value for value in sums)
    if not square:
        raise ValueError(f"nothing to embed in {text[:60]!r}: it has no word that counts")
    length = math.sqrt(square)
    return [value / length for value in sums]


def _stem(word: str) -> str:
    """Enough for English plurals and -ing/-ed; a wrong stem only makes two words less alike."""
    for ending, put in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not (ending == "s" and word.endswith("ss")):
            return word[: -len(ending)] + put
    return word
