"""The one background thread that does what nobody else can: cut hung connections, report and reclaim lost ones."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol
from weakref import WeakSet

from pliers_db.log import get_logger

log = get_logger(__name__)

TICK = 0.1
"""Seconds between two looks while anything is lent out: a deadline is kept to about this."""
_IDLE_TICKS = 50  # looks without anything to look at before the thread goes to sleep


class Watched(Protocol):
    """What the watchdog looks at."""

    def tick(self, now: float) -> bool:
        """Look once. :returns: whether there is anything to look at."""


class Watchdog:
    """Looks at every pool of the process, and runs what cannot be run on the spot."""

    def __init__(self) -> None:
        self._watched: WeakSet[Any] = WeakSet()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.asleep = True
        """Whether somebody who lends a connection has to call `wake`."""

    def watch(self, watched: Watched) -> None:
        """Look at this from now on, as long as it lives."""
        with self._lock:
            self._watched.add(watched)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pliers-db-watchdog", daemon=True)
                self._thread.start()

    def unwatch(self, watched: Watched) -> None:
        """Look no more."""
        with self._lock:
            self._watched.discard(watched)

    def wake(self) -> None:
        """There is something to look at again."""
        self.asleep = False
        self._jobs.put(None)

    def soon(self, job: Callable[[], None]) -> None:
        """Run a job in the background. May be called from a garbage collection: it takes no lock of Python's."""
        self.asleep = False
        self._jobs.put(job)

    def after_fork(self) -> None:
        """In a forked child the thread is not there, and the parent's pools are none of our business."""
        self._watched, self._jobs, self._lock = WeakSet(), queue.SimpleQueue(), threading.Lock()
        self._thread, self.asleep = None, True

    def _run(self) -> None:
        idle = 0
        while True:
            try:
                job = self._jobs.get(timeout=None if self.asleep else TICK)
            except queue.Empty:
                job = None
            if job is not None:
                self._guard(job)
            idle = 0 if self._look() else idle + 1
            if idle > _IDLE_TICKS:
                self.asleep = True
                idle = 0

    def _look(self) -> bool:
        now = time.monotonic()
        with self._lock:
            watched: list[Watched] = list(self._watched)
        busy = [bool(self._guard(partial(one.tick, now))) for one in watched]  # every one is looked at
        return any(busy)

    def _guard(self, job: Callable[[], Any]) -> Any:
        """The thread must survive whatever it is asked to do."""
        try:
            return job()
        except Exception:
            log.exception("a background job failed")
            return None


def cut(fileno: int, inode: int) -> bool:
    """Shut a hung connection's socket down from another thread: its borrower gets an error at once.

    Nothing else works while the peer's kernel still acknowledges: keepalives and tcp_user_timeout are for dead
    networks, statement_timeout is kept by the very server that hangs (research: health §1.4).

    :param inode: of the socket when it was opened; a number that now belongs to another file is left alone.
    :returns: whether it was cut.
    """
    try:
        copy = os.dup(fileno)
    except OSError:
        return False
    if os.fstat(copy).st_ino != inode:
        os.close(copy)
        return False
    with socket.socket(fileno=copy) as end:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
    return True


WATCHDOG = Watchdog()
os.register_at_fork(after_in_child=WATCHDOG.after_fork)
