"""What a pool has done so far, and what it is doing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pliers_db.db.breaker import BreakerStatus
from pliers_db.db.histogram import Summary


@dataclass(frozen=True, slots=True)
class Borrower:
    """Who holds a connection right now."""

    site: str
    """``shop/orders.py:42 in place_order``"""
    seconds: float
    thread: int


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The state of one pool; all times in seconds."""

    min_size: int
    max_size: int
    size: int
    """Connections that are open or being opened."""
    idle: int
    lent: int
    waiting: int
    """Borrowers that wait right now."""
    borrowed: int
    """Checkouts since the pool was opened."""
    refused: int
    """Borrowers that went away without one: timed out, too many waiting, or no server."""
    connected: int
    connect_failures: int
    hung_up: int
    """Idle connections that the server had ended; found out at checkout and replaced."""
    unclean: int
    """Returned connections that could not be cleaned and were dropped."""
    dropped: int
    """Lent connections that were lost without being returned; their slots were reclaimed."""
    held_too_long: int
    cut: int
    """Connections that the watchdog cut because the server did not answer by the deadline."""
    wait: Summary
    """How long borrowers waited for a connection."""
    use: Summary
    """How long they kept it."""
    borrowers: tuple[Borrower, ...]
    breaker: BreakerStatus

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
