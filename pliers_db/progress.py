"""How core code tells what it is doing, without printing.

The command line passes a reporter that writes to a terminal or a log; tests and libraries pass `SILENT`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from pliers_db.units import format_duration, format_size


class Task(Protocol):
    """One piece of long work."""

    def advance(self, amount: float = 1) -> None:
        """Say that ``amount`` more units are done."""

    def note(self, text: str) -> None:
        """Say what is being worked on right now."""


class Reporter(Protocol):
    """Where core code sends its talk. Results are returned, never reported."""

    def info(self, message: str) -> None:
        """A line that a person wants to see."""

    def warn(self, message: str) -> None:
        """A line that a person must see."""

    def task(self, title: str, total: float | None = None, unit: str = "") -> AbstractContextManager[Task]:
        """Long work: ``with reporter.task("Loading", total=1000, unit="rows") as task: task.advance(10)``.

        :param total: how many units there are, if known.
        :param unit: ``rows``, ``files``, ``bytes``…; ``bytes`` is shown as sizes.
        """


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        return

    def note(self, text: str) -> None:
        return


class SilentReporter:
    """A reporter that says nothing."""

    def info(self, message: str) -> None:
        return

    def warn(self, message: str) -> None:
        return

    @contextmanager
    def task(self, title: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        yield _SilentTask()


SILENT = SilentReporter()


class Lines:
    """Progress as plain lines, a few seconds apart."""

    def __init__(
        self, say: Callable[[str], None] | None, title: str, total: float | None, unit: str, every: float = 5.0
    ) -> None:
        """:param say: takes a line; None: nobody listens. :param every: seconds between two lines at least."""
        self.say, self.title, self.total, self.unit, self.every = say, title, total, unit, every
        self.done = 0.0
        self.begun = self.told = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self.done += amount
        now = time.monotonic()
        if self.say and now - self.told >= self.every:
            self.told = now
            self.say(f"{self.title}: {self._state(now)}")

    def note(self, text: str) -> None:
        return

    def finish(self) -> None:
        """Say that it is over, if it took long enough to have been told about."""
        now = time.monotonic()
        if self.say and self.told > self.begun:
            self.say(f"{self.title}: done in {format_duration(now - self.begun)}")

    def _state(self, now: float) -> str:
        def amount(value: float) -> str:
            return format_size(value) if self.unit == "bytes" else f"{value:,.0f} {self.unit}".strip()

        rate = self.done / max(now - self.begun, 1e-9)
        if not self.total:
            return f"{amount(self.done)}, {amount(rate)}/s"
        left = f", {format_duration(max(0.0, self.total - self.done) / rate)} left" if rate else ""
        return f"{amount(self.done)} of {amount(self.total)}, {amount(rate)}/s{left}"
