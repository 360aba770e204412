"""What a command prints, and how it ends.

stdout carries the result, stderr the talk. With ``--json`` stdout is one document, also for an error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from pliers_db.errors import InterruptedByUser, PliersError
from pliers_db.progress import Task, _SilentTask


class Console:
    """The command line's reporter. ``quiet`` drops what is not a warning."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def info(self, message: str) -> None:
        if not self.quiet:
            print(message, file=sys.stderr)  # noqa: T201

    def warn(self, message: str) -> None:
        print(f"warning: {message}", file=sys.stderr)  # noqa: T201

    @contextmanager
    def task(self, title: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        self.info(title)
        yield _SilentTask()


def emit(text: str) -> None:
    """Write a line of the result."""
    print(text)  # noqa: T201


def emit_json(document: Any) -> None:
    """Write the result as one JSON document."""
    print(json.dumps(document, indent=2, default=str))  # noqa: T201


def run(app: Callable[..., Any]) -> int:
    """Run the command line and give its exit code (DESIGN.md, "Exit codes")."""

    def stop(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        app(standalone_mode=True)
    except PliersError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return _fail(InterruptedByUser())
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 0
    return 0


def _fail(error: PliersError) -> int:
    if "--json" in sys.argv:
        emit_json({"error": error.as_dict()})
    else:
        lines = [f"error: {error.message}"]
        lines += [f"  why: {error.why}"] if error.why else []
        lines += [f"  fix: {error.fix}"] if error.fix else []
        print("\n".join(lines), file=sys.stderr)  # noqa: T201
    if os.environ.get("PLIERS_DEBUG") or "--debug" in sys.argv:
        import traceback

        traceback.print_exception(error)
    return error.exit_code
