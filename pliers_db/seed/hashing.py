"""Numbers out of names: every seeded value is a pure function of where it stands.

No random generator is kept anywhere: a draw is the hash of (generator version, seed, table, column path) mixed with a
row counter. So a new column changes no other, and any row can be made alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

GENERATOR_VERSION = 1
"""Raised when the same spec would give other values; a part of every key."""

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
MARK = 0x5EED
"""The 16 bits by which a seeded UUID is recognised: at the front of version 8, at the end of version 7."""


@lru_cache(maxsize=1 << 14)
def key_of(*parts: object) -> int:
    """64 bits for a path of names; the parts are kept apart, ``("a", "bc")`` is not ``("ab", "c")``."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def mix(value: int) -> int:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): 64 bits to 64 well-spread bits, one to one."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@dataclass(frozen=True, slots=True)
class Draw:
    """The chance of one cell. Asked twice it answers the same; `sub` gives an independent one."""

    key: int
    counter: int

    def sub(self, name: object) -> Draw:
        """The draw of a part of this cell, by the part's name."""
        return Draw(key_of(self.key, name), self.counter)

    def bits(self) -> int:
        """64 bits."""
        return mix(self.key + (self.counter + 1) * _GOLDEN)

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit`` - 1."""
        return (self.bits() * limit) >> 64

    def between(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float) -> bool:
        """True with this probability (0 to 1)."""
        return self.bits() < int(probability * (1 << 64))


def uuid8(*path: object) -> UUID:
    """A UUID of version 8 (RFC 9562, "custom") for a path of names: ``5eed`` and 106 bits of hash."""
    value = _hash128(*path) & ((1 << 112) - 1) | MARK << 112
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62)


def uuid7(milliseconds: int, *path: object) -> UUID:
    """A UUID of version 7 (RFC 9562): it sorts by ``milliseconds`` since 1970; the rest is hash and ``5eed``."""
    value = _hash128(*path) & ((1 << 80) - 1) & ~0xFFFF | MARK
    value |= (milliseconds & ((1 << 48) - 1)) << 80
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def _hash128(*path: object) -> int:
    text = "\x1f".join(str(part) for part in path)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")
