"""How sizes, times and counts are written, in one way everywhere."""

from __future__ import annotations

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def format_size(count: float) -> str:
    """Bytes as PostgreSQL's pg_size_pretty thinks of them: 1 kB is 1024 bytes."""
    size = float(count)
    for unit in _SIZES:
        if abs(size) < 1024 or unit == _SIZES[-1]:
            return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def format_duration(seconds: float) -> str:
    """A span of time with two units at most: ``340 ms``, ``4.2 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, smaller_size, smaller in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {name}" + (f" {rest} {smaller}" if rest else "")
    raise AssertionError("unreachable")


def format_count(count: int, noun: str, plural: str = "") -> str:
    """``1 row``, ``12,345 rows``. :param plural: where adding an s is wrong."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
