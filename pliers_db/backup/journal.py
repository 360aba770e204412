"""The log of the nightly runs: what would stand on a terminal, with the time before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pliers_db.log import redact
from pliers_db.progress import Lines, Reporter, Task

_LARGEST = 1_000_000  # bytes; a run writes about a thousand
_KEPT = 5
_EVERY = 30.0  # seconds between two lines of progress


class Journal:
    """A reporter that passes everything on, and writes it into a file that is rotated by size."""

    def __init__(self, file: Path, reporter: Reporter) -> None:
        """:param file: ``backups/log/nightly.log``; older ones are ``nightly.log.1`` to ``.5``."""
        self._file, self._reporter = file, reporter
        with suppress(OSError):  # see _write
            _rotate(file)

    def info(self, message: str) -> None:
        self._write("info", message)
        self._reporter.info(message)

    def warn(self, message: str) -> None:
        self._write("warning", message)
        self._reporter.warn(message)

    def result(self, message: str, *, failed: bool = False) -> None:
        """Write how the run has ended, only into the file: elsewhere it is told as the result, or the error."""
        self._write("error" if failed else "info", message)

    @contextmanager
    def task(self, title: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        lines = Lines(lambda text: self._write("info", text), title, total, unit, every=_EVERY)
        with self._reporter.task(title, total, unit) as shown:
            yield _Both(lines, shown)
        lines.finish()

    def _write(self, level: str, message: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        # Where the disk is full, the backup itself will say so; a log that cannot be written must not hide that.
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(f"{now} {level:<7} {' '.join(redact(message).split())}\n")


class _Both:
    def __init__(self, one: Task, other: Task) -> None:
        self._tasks = (one, other)

    def advance(self, amount: float = 1) -> None:
        for task in self._tasks:
            task.advance(amount)

    def note(self, text: str) -> None:
        for task in self._tasks:
            task.note(text)


def _rotate(file: Path) -> None:
    if not file.is_file() or file.stat().st_size < _LARGEST:
        return
    for number in range(_KEPT, 0, -1):
        older = file.with_name(f"{file.name}.{number - 1}") if number > 1 else file
        if older.is_file():
            older.replace(file.with_name(f"{file.name}.{number}"))
