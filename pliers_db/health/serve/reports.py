"""The whole report, made anew every so often beside the requests. No request ever waits for one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from pliers_db.health.report import Report
from pliers_db.log import get_logger

log = get_logger(__name__)
EVERY = 60.0
"""Seconds between two reports."""


class Reports:
    """Holds the newest report. The first one is begun when somebody asks."""

    def __init__(self, make: Callable[[], Report], every: float = EVERY) -> None:
        """:param make: makes a report.
        :param every: seconds between two; 0: none are made.
        """
        self._make = make
        self._every = every
        self._latest: Report | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pid = 0

    def latest(self) -> Report | None:
        """The newest report; None while there is none yet."""
        if self._every and self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._pid = os.getpid()
                    threading.Thread(target=self._run, daemon=True, name="health reports").start()
        return self._latest

    def stop(self) -> None:
        """Make no more."""
        self._stop.set()

    def _run(self) -> None:
        while True:
            try:
                self._latest = self._make()
            except Exception as error:  # noqa: BLE001 - the next one may be well; this one is told
                self._latest = None
                log.warning("the health report failed: %s", error)
            if self._stop.wait(self._every):
                return
