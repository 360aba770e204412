"""Whether the database answers right now: one short question at a time, remembered for a moment."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from pliers_db.db import Database
from pliers_db.errors import PliersError
from pliers_db.log import redact
from pliers_db.units import format_duration

TIMEOUT = 1.0
"""Seconds that an asker waits. Kubernetes' own default for a probe is 1 s too."""
TTL = 1.0
"""Seconds that an answer is good for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer."""

    ready: bool
    seconds: float
    """From asking for a connection to the answer."""
    reason: str
    """Why not; empty if ready."""
    standby: bool
    at: float
    """When, on the clock of ``time.monotonic``."""
    when: datetime


class _Flight:
    """One question under way; those who come meanwhile wait for its answer."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.done = threading.Event()
        self.reading: Reading | None = None


class Probe:
    """Asks through the pool, as the application does: a pool without a free connection is not ready.

    However many ask, at most one connection is used, and nobody waits longer than the timeout.
    """

    def __init__(self, database: Database, *, timeout: float = TIMEOUT, ttl: float = TTL) -> None:
        """:param timeout: seconds until the answer is "not ready".
        :param ttl: seconds that an answer is good for.
        """
        self.database = database
        self.timeout = timeout
        self.ttl = ttl
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._last: Reading | None = None
        self._flight: _Flight | None = None

    def remembered(self) -> Reading | None:
        """The last answer, if it is still good; never waits."""
        if self._pid != os.getpid():  # a worker forked from the process that made us: nothing of it goes on here
            self._begin()
        last = self._last
        return last if last is not None and time.monotonic() - last.at < self.ttl else None

    def look(self) -> Reading:
        """Whether the database answers; waits for the timeout at most."""
        if (last := self.remembered()) is not None:
            return last
        now = time.monotonic()
        with self._lock:
            flight = self._flight
            if flight is None:
                flight = self._flight = _Flight(now)
                threading.Thread(target=self._fly, args=(flight,), daemon=True, name="health probe").start()
        flight.done.wait(max(0.0, flight.began + self.timeout - now))
        if flight.reading is not None:
            return flight.reading
        waited = time.monotonic() - flight.began
        return _reading(waited, f"no answer within {format_duration(self.timeout)}")

    def _fly(self, flight: _Flight) -> None:
        try:
            flight.reading = self._ask(flight.began)
        finally:
            self._last = flight.reading
            self._flight = None
            flight.done.set()

    def _ask(self, began: float) -> Reading:
        try:
            # The deadline cuts a server that has stopped answering, so that the question ends and gives its place back.
            with self.database.connection(autocommit=True, timeout=self.timeout, deadline=self.timeout + 1) as conn:
                row = conn.execute("select pg_is_in_recovery()").fetchone()
            return _reading(time.monotonic() - began, "", standby=bool(row and row[0]))
        except PliersError as error:
            why = f": {' '.join(error.why.split())}" if error.why else ""
            return _reading(time.monotonic() - began, redact(f"{error.message}{why}"))
        except psycopg.Error as error:
            return _reading(time.monotonic() - began, redact(" ".join(str(error).split())))


def _reading(seconds: float, reason: str, *, standby: bool = False) -> Reading:
    return Reading(not reason, seconds, reason, standby, time.monotonic(), datetime.now(UTC))
