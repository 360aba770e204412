"""PostgreSQL's releases: when their support ends and which minor version is the newest.

A table in a program ages, so it carries its date; what it does not know it does not judge.
Source: https://www.postgresql.org/support/versioning/
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

AS_OF = date(2026, 11, 22)


@dataclass(frozen=True, slots=True)
class Release:
    """A major version."""

    major: int
    end: date
    minor: int
    """The newest minor version known at `AS_OF`, or one that is known to exist."""


_RELEASES = (
    Release(13, date(2025, 11, 13), 23),
    Release(14, date(2026, 11, 12), 25),
    Release(15, date(2027, 11, 11), 20),
    Release(16, date(2028, 11, 9), 16),
    Release(17, date(2029, 11, 8), 12),
    Release(18, date(2030, 11, 14), 6),
)


def release_of(version_num: int) -> Release | None:
    """The release of a ``server_version_num``; None if it is newer than the table."""
    major = version_num // 10000
    if major < _RELEASES[0].major:
        return Release(major, _RELEASES[0].end, 0)
    return next((r for r in _RELEASES if r.major == major), None)


def newest_minor(release: Release) -> str:
    """``18.6``."""
    return f"{release.major}.{release.minor}"
