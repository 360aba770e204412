"""How core code tells what it is doing, without printing.

The command line passes a reporter that writes to a terminal or a log; tests and libraries pass `SILENT`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


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
