"""How long things took, in buckets that resolve a microsecond and an hour alike."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

_UNIT = 1e7  # a bucket's number is built from tenths of a microsecond
_BUCKETS = 4 * 48  # up to 2^47 tenths of a microsecond: five months


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a histogram; times in seconds, percentiles at most 25 % too high."""

    count: int
    total: float
    longest: float
    p50: float
    p95: float
    p99: float

    @property
    def mean(self) -> float:
        """The arithmetic mean, exact."""
        return self.total / self.count if self.count else 0.0


class Histogram:
    """Counts durations in buckets of constant relative width: four to each doubling.

    psycopg_pool's own counters cut every use down to whole milliseconds, so thousands of short uses add up to zero.
    """

    __slots__ = ("_counts", "_fresh", "_lock", "_longest", "_total", "record")

    record: Callable[[float], None]
    """Count one duration, in seconds. `sort_in` is to be called now and then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * _BUCKETS
        self._total = self._longest = 0.0
        self._fresh: list[float] = []  # noted, not sorted in yet: appending needs no lock
        self.record = self._fresh.append

    def sort_in(self) -> None:
        """Make room: what has been noted goes into its buckets."""
        with self._lock:
            fresh = self._fresh.copy()
            del self._fresh[: len(fresh)]
            if not fresh:
                return
            for number, count in Counter([int(seconds * _UNIT) for seconds in fresh]).items():
                bits = number.bit_length()
                # The two bits after the leading one choose among the four buckets of a doubling.
                self._counts[bits * 4 + (number >> (bits - 3) & 3) if bits > 2 else number] += count
            self._total += sum(fresh)
            self._longest = max(self._longest, *fresh)

    def summary(self) -> Summary:
        """The figures so far."""
        self.sort_in()
        with self._lock:
            counts, total, longest = list(self._counts), self._total, self._longest
        count = sum(counts)

        def percentile(share: float) -> float:
            left = share * count
            for bucket, found in enumerate(counts):
                left -= found
                if found and left <= 1e-9:
                    return min(_upper(bucket), longest)
            return longest

        return Summary(count, total, longest, percentile(0.50), percentile(0.95), percentile(0.99))

    def buckets(self) -> list[tuple[float, int]]:
        """Each bucket that holds something: (upper bound in seconds, count), in order."""
        self.sort_in()
        with self._lock:
            counts = list(self._counts)
        return [(_upper(bucket), found) for bucket, found in enumerate(counts) if found]


def _upper(bucket: int) -> float:
    if bucket < 4:
        return (bucket + 1) / _UNIT
    bits, sub = divmod(bucket, 4)
    return float((5 + sub) << (bits - 3)) / _UNIT
