"""A child that does not outlive us.

``kill -9`` gives us no chance to end what we started, and a pg_dump that goes on alone would write a dump that nobody
owns. Linux can send a signal to a process when its parent dies (``prctl(2)``, PR_SET_PDEATHSIG); the child has to ask
for it itself, between fork and exec. Elsewhere such a child lives on until it has done its work.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

_PR_SET_PDEATHSIG = 1


@cache
def _prctl() -> Any:
    """The function, looked up before any fork: nothing may be imported or locked after it."""
    import ctypes

    # PyDLL keeps the interpreter's lock: taking it back after the fork could wait for a thread that is not there.
    return ctypes.PyDLL(None).prctl


def lifeline(number: int = signal.SIGTERM) -> Callable[[], None] | None:
    """A ``preexec_fn`` that has the kernel send the child a signal when the thread that started it ends.

    Mind the word thread: start programs from threads that outlive them.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        prctl = _prctl()
    except (OSError, AttributeError, ImportError):  # a Python without ctypes, or a libc without prctl
        return None
    parent = os.getpid()
    signal_number = int(number)

    def hold() -> None:
        prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:  # we died in between: no signal will come
            os._exit(127)

    return hold
