"""A circuit breaker: when a database is gone, say so at once instead of letting everybody wait for it.

Closed: calls go through. After ``failures`` failures within ``window`` seconds it opens: calls fail in microseconds
with the last cause. After ``cooldown`` seconds one call may try (half-open); its success closes the circuit, its
failure opens it again. Only errors that mean "the server is not there for us" count: connection, not-now, disk. An
answer that says no (a violated constraint, a wrong password) is an answer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from pliers_db.config import Target
from pliers_db.db.retry import failure_class
from pliers_db.db.sqlstate import ErrorClass
from pliers_db.errors import CircuitOpen, PliersError
from pliers_db.log import get_logger

log = get_logger(__name__)

COUNTED = frozenset({ErrorClass.CONNECTION, ErrorClass.NOT_NOW, ErrorClass.DISK})
"""The classes of errors that open the circuit."""


class BreakerState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """A breaker at one moment, for pool status and health."""

    state: BreakerState
    failures: int
    """Within the window."""
    cause: str
    """The last counted failure; empty if there was none."""
    seconds_left: float
    """Until the next call may try; 0 unless open."""


class CircuitBreaker:
    """One breaker; safe for threads and for tasks (it never waits while it holds its lock)."""

    def __init__(
        self,
        name: str = "database",
        *,
        failures: int = 5,
        window: float = 30.0,
        cooldown: float = 5.0,
        burst: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """:param name: what it guards, for messages.
        :param failures: how many within ``window`` seconds open it.
        :param cooldown: seconds that it stays open before one call may try.
        :param burst: failures within this many seconds count as one: all connections of a pool lose their server at
            the same moment.
        """
        self.name = name
        self._limit, self._window, self._cooldown, self._clock = failures, window, cooldown, clock
        self._burst = burst
        self._lock = threading.Lock()
        self._times: deque[float] = deque()
        self.opened_at: float | None = None
        """By the clock; None: the circuit is closed."""
        self._probing = False
        self.era = 0
        """Counts its changes: what began before the last one says nothing about it now."""
        self._cause = ""

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Let a call through, and learn from how it ends.

        :raises CircuitOpen: at once, while the circuit is open.
        """
        era = self.enter()
        try:
            yield
        except Exception as error:
            self.leave(era, error)
            raise
        except BaseException:
            self.leave(era, None, cancelled=True)
            raise
        self.leave(era, None)

    def enter(self) -> int:
        """Ask to pass. :returns: what `leave` wants back. :raises CircuitOpen: the circuit is open."""
        if self.opened_at is None:  # the common case takes no lock
            return self.era
        with self._lock:
            opened_at: float | None = self.opened_at
            if opened_at is None:  # closed a moment ago
                return self.era
            left = opened_at + self._cooldown - self._clock()
            if left > 0 or self._probing:
                raise CircuitOpen(
                    f"Calls to {self.name} are suspended",
                    why=self._cause,
                    fix=f"The next try is in {left:.1f} s." if left > 0 else "One call is trying right now.",
                    seconds_left=max(0.0, round(left, 3)),
                )
            self._probing = True
            self.era += 1
            return self.era

    def leave(self, era: int, error: BaseException | None, *, cancelled: bool = False) -> None:
        """Say how the call ended that `enter` let through.

        :param cancelled: it was cut short from outside and says nothing about the server.
        """
        counted = error is not None and failure_class(error) in COUNTED
        if not counted and self.opened_at is None:
            return
        with self._lock:
            if era != self.era:
                return
            probe = self.opened_at is not None
            if cancelled:
                self._probing = False
            elif not counted:
                self._close()
            else:
                self._count(error, probe=probe)

    def reset(self) -> None:
        """Close the circuit by hand and forget its failures: the cause is known to be mended."""
        with self._lock:
            self._close()

    def status(self) -> BreakerStatus:
        """How it stands."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            if self.opened_at is None:
                return BreakerStatus(BreakerState.CLOSED, len(self._times), self._cause, 0.0)
            left = max(0.0, self.opened_at + self._cooldown - now)
            state = BreakerState.OPEN if left else BreakerState.HALF_OPEN
            return BreakerStatus(state, len(self._times), self._cause, left)

    def _count(self, error: BaseException | None, *, probe: bool) -> None:
        now = self._clock()
        why = error.why if isinstance(error, PliersError) and error.why else str(error)
        self._cause = " ".join(why.split())
        if not self._times or now - self._times[-1] >= self._burst:
            self._times.append(now)
        self._forget(now)
        if probe or len(self._times) >= self._limit:
            self.opened_at, self._probing = now, False
            self.era += 1
            log.warning("circuit of %s opened: %s", self.name, self._cause, extra={"failures": len(self._times)})

    def _close(self) -> None:
        self.opened_at, self._probing = None, False
        self.era += 1
        self._times.clear()
        log.info("circuit of %s closed", self.name)

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] <= now - self._window:
            self._times.popleft()


_breakers: dict[tuple[str | None, ...], CircuitBreaker] = {}
_breakers_lock = threading.Lock()


def breaker_for(target: Target) -> CircuitBreaker:
    """The breaker of a database URL: every pool of this process to the same database shares it."""
    # A primary that is away says nothing about the standbys that the same URL names.
    key = (target.host, target.port, target.dbname, target.user, target.params.get("target_session_attrs"))
    with _breakers_lock:
        if key not in _breakers:
            _breakers[key] = CircuitBreaker(str(target), burst=0.2)
        return _breakers[key]
