"""What a command prints: stdout carries the result, stderr the talk.

On a terminal long work shows a bar with rate and time left; elsewhere plain lines, a few seconds apart.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from pliers_db.progress import Lines, Task

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "dim": 2, "bold": 1}


def emit(text: str = "") -> None:
    """Write a line of the result."""
    try:
        print(text, flush=True)  # noqa: T201
    except OSError as error:
        # What is still to come goes nowhere. A reader that has left (`| head`) is no error, a full disk is.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(141) from None
        said = f"error: The result cannot be written to stdout\n  why: {error.strerror}. What the command did is done."
        print(said, file=sys.stderr)  # noqa: T201
        raise SystemExit(7) from None


def emit_json(document: Any) -> None:
    """Write the result as one JSON document."""
    emit(json.dumps(document, indent=2, default=str, ensure_ascii=False))


def emit_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """Write aligned columns; nothing is ever cut.

    :param right: the columns to align right, by position.
    """
    cells = [[str(cell) for cell in row] for row in [headers, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = (
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
    emit("\n".join(lines))


def coloured(stream: IO[str]) -> bool:
    """Whether colours go to this stream: FORCE_COLOR, NO_COLOR, then whether it is a terminal."""
    if os.environ.get("FORCE_COLOR"):
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, colour: str, stream: IO[str] | None = None) -> str:
    """The text in a colour, where the stream shows colours.

    :param colour: red, green, yellow, blue, dim or bold.
    """
    return f"\033[{_COLOURS[colour]}m{text}\033[0m" if coloured(stream or sys.stdout) else text


class Console:
    """The command line's reporter: core code talks through it."""

    def __init__(self, *, quiet: bool = False) -> None:
        """:param quiet: only warnings (cron)."""
        self.quiet = quiet

    def info(self, message: str) -> None:
        if not self.quiet:
            self._say(message)

    def warn(self, message: str) -> None:
        self._say(paint("warning:", "yellow", sys.stderr) + " " + message)

    @contextmanager
    def task(self, title: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        if self.quiet:
            yield Lines(None, title, total, unit)
        elif sys.stderr.isatty() and not os.environ.get("CI"):
            with _bar(title, total, unit) as task:
                yield task
        else:
            lines = Lines(self.info, title, total, unit)
            yield lines
            lines.finish()

    def _say(self, message: str) -> None:
        from pliers_db.log import redact

        print(redact(message), file=sys.stderr, flush=True)  # noqa: T201


class _Bar:
    """One line of a rich progress display."""

    def __init__(self, progress: Any, task: Any, title: str) -> None:
        self.progress, self.id, self.title = progress, task, title

    def advance(self, amount: float = 1) -> None:
        self.progress.advance(self.id, amount)

    def note(self, text: str) -> None:
        self.progress.update(self.id, description=f"{self.title} [dim]{text}[/dim]")


@contextmanager
def _bar(title: str, total: float | None, unit: str) -> Iterator[Task]:
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amount = [DownloadColumn(), TransferSpeedColumn()] if unit == "bytes" else [MofNCompleteColumn(), TextColumn(unit)]
    columns = [TextColumn("{task.description}"), BarColumn(), *amount, TimeRemainingColumn()]
    with Progress(*columns, console=RichConsole(stderr=True), transient=True) as progress:
        yield _Bar(progress, progress.add_task(title, total=total), title)
