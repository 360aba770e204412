"""Running PostgreSQL's own programs: pg_dump, pg_restore, psql, pg_basebackup.

One way for all: no shell, nothing secret in the argument list (every user of the machine can read it), a known
environment (cron's is nearly empty, a developer's is full of PG* variables), messages in English, and an end when
we end, however we end.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from pliers_db.config import Target
from pliers_db.config.ambient import without_ambient
from pliers_db.errors import ProgramFailed, ProgramTimeout
from pliers_db.log import redact
from pliers_db.postgres._lifeline import lifeline
from pliers_db.postgres.account import Account
from pliers_db.postgres.binaries import Binaries

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL

_KEPT_LINES = 2000
_SHOWN_LINES = 15
_PATIENCE = 5.0  # seconds from asking a program to end to asking harder


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended."""

    name: str
    returncode: int
    """0 is good, -15 means killed by SIGTERM."""
    stderr: str
    """Its last lines, without secrets."""
    seconds: float = 0.0

    def check(self) -> Finished:
        """Itself, if the program ended well.

        :raises ProgramFailed: it did not end with 0.
        """
        if self.returncode:
            lines = self.stderr.strip().splitlines()
            why = "\n".join(lines[-_SHOWN_LINES:])
            raise ProgramFailed(f"{self.name} {self._end()}", why=why, fix=_fix_for(why), program=self.name)
        return self

    def _end(self) -> str:
        if self.returncode > 0:
            return f"failed (exit {self.returncode})"
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-self.returncode).name}"
        return f"was killed by signal {-self.returncode}"


# What the programs say (in the C locale), and what to do about it.
_FIXES: tuple[tuple[str, str], ...] = (
    (r"No space left on device|Disk quota exceeded|File too large", "Make room on that file system; run it again."),
    (r"server version mismatch", "Use programs of the server's major version: set PGBIN to their folder."),
    (r"password authentication failed|no password supplied", "Check DB_USER and DB_PASSWORD: pliers-db config show"),
    (r"permission denied for|must be superuser|must be able to SET ROLE", "Grant it to the role, or use another."),
    (
        r"could not connect|Connection refused|server closed the connection",
        "Check that the server runs and is reached.",
    ),
    (r"unsupported version \(", "Use the programs that made this archive, or newer ones: set PGBIN to their folder."),
)


def _fix_for(text: str) -> str:
    return next((fix for words, fix in _FIXES if re.search(words, text)), "")


class Program:
    """A running program; make it with `start_program`."""

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], on_line: Callable[[str], None] | None, timeout: float | None
    ) -> None:
        self.name = name
        self.process = process
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._begun = time.monotonic()
        self._timeout = timeout
        self._late = False
        self._error: Exception | None = None
        self._stopping = threading.Lock()
        self._reader = threading.Thread(target=self._read, name=f"{name} stderr", daemon=True)
        self._reader.start()
        self._watch = threading.Timer(timeout, self._expire) if timeout is not None else None
        if self._watch is not None:
            self._watch.daemon = True
            self._watch.start()

    @property
    def stdout(self) -> IO[bytes]:
        """What it writes; only with ``stdout=PIPE``."""
        assert self.process.stdout is not None, "start it with stdout=PIPE"
        return self.process.stdout

    @property
    def stdin(self) -> IO[bytes]:
        """What it reads; only with ``stdin=PIPE``. `wait` closes it."""
        assert self.process.stdin is not None, "start it with stdin=PIPE"
        return self.process.stdin

    def wait(self, tick: Callable[[], None] | None = None, every: float = 0.1) -> Finished:
        """Wait for its end. With ``stdout=PIPE`` read that to its end first.

        :param tick: called about every ``every`` seconds meanwhile; what it raises ends the program.
        :raises ProgramTimeout: it ran longer than it may.
        """
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):  # it ended before it had read all; how it ended tells more
                self.process.stdin.close()
        while True:
            try:
                code = self.process.wait(every if tick is not None else None)
                break
            except subprocess.TimeoutExpired:
                if tick is not None:
                    tick()
        if self._watch is not None:
            self._watch.cancel()
        self._reader.join(_PATIENCE)
        if self._late:
            raise ProgramTimeout(
                f"{self.name} did not end within {self._timeout:g} s",
                why=redact("\n".join(list(self._lines)[-_SHOWN_LINES:])) or "It gave no reason.",
                program=self.name,
            )
        if self._error is not None:
            raise self._error
        return Finished(self.name, code, redact("\n".join(self._lines)), time.monotonic() - self._begun)

    def stop(self) -> None:
        """Have it end: SIGINT first, so that it cancels its statement on the server."""
        with self._stopping:
            try:
                for number in (signal.SIGINT, signal.SIGTERM):
                    if self.process.poll() is not None:
                        return
                    self.process.send_signal(number)
                    with suppress(subprocess.TimeoutExpired):
                        self.process.wait(_PATIENCE)
            finally:  # also when a second Ctrl-C cuts the waiting short
                if self.process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(self.process.pid, signal.SIGKILL)  # with its parallel workers
                    self.process.wait()

    def close(self) -> None:
        """Stop it and let go of its pipes."""
        if self._watch is not None:
            self._watch.cancel()
        self.stop()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._reader.join(_PATIENCE)  # it closes stderr

    def _expire(self) -> None:
        self._late = True
        self.stop()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for raw in stream:
                line = raw.decode("utf-8", errors="replace").rstrip("\r\n")
                self._lines.append(line)
                if self._on_line is not None and self._error is None:
                    try:
                        self._on_line(redact(line))
                    except Exception as error:  # noqa: BLE001 - raised by wait(), in the caller's thread
                        self._error = error


@contextmanager
def start_program(
    binaries: Binaries,
    name: str,
    arguments: Sequence[str | Path],
    *,
    target: Target | None = None,
    settings: Mapping[str, str] | None = None,
    application_name: str = "pliers-db",
    stdin: IO[bytes] | int | bytes = DEVNULL,
    stdout: IO[bytes] | int = DEVNULL,
    environ: Mapping[str, str] | None = None,
    account: Account | None = None,
    pass_fds: Sequence[int] = (),
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Iterator[Program]:
    """Start a program; it is stopped at the end of the block if it still runs.

    It cannot ask for a password, gets no Ctrl-C of its own (we pass it on), and on Linux is ended by the kernel when
    we die without a chance to end it.

    :param target: the database it connects to, told by the environment, never by the arguments.
    :param settings: server settings of its session, ``work_mem=64MB`` and the like.
    :param stdin: `PIPE` to write to ``program.stdin``, bytes, or a file; default: nothing.
    :param stdout: `PIPE` to read ``program.stdout``, or a file; default: thrown away.
    :param environ: further variables of its environment.
    :param account: run it as this account, in the root folder; default: as us, where we are.
    :param pass_fds: open descriptors that it inherits; no others.
    :param timeout: seconds after which it is stopped; `Program.wait` then raises.
    :param on_line: called with each line of its stderr, from another thread, without secrets.
    :raises BinariesMissing: there is no such program here.
    """
    command = [binaries.program(name), *arguments]
    with ExitStack() as stack:
        if isinstance(stdin, bytes):
            given = stack.enter_context(tempfile.TemporaryFile())
            given.write(stdin)
            given.seek(0)
            stdin = given
        process = _popen(
            command,
            env={**program_environment(target, settings, application_name), **(environ or {})},
            stdin=stdin,
            stdout=stdout,
            account=account,
            pass_fds=pass_fds,
        )
        program = Program(name, process, on_line, timeout)
        try:
            yield program
        except BrokenPipeError as error:
            # We were writing to it when it died: its own words tell why.
            finished = program.wait()
            finished.check()
            raise ProgramFailed(f"{name} did not read all that it was given", why=finished.stderr) from error
        finally:
            program.close()


def _popen(
    command: list[str | Path],
    *,
    env: Mapping[str, str],
    stdin: IO[bytes] | int,
    stdout: IO[bytes] | int,
    account: Account | None,
    pass_fds: Sequence[int],
) -> subprocess.Popen[bytes]:
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork with threads about; what runs between fork and exec here is two system calls.
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen(
            command,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            # No terminal: no Ctrl-C besides ours, no question for a password.
            start_new_session=True,
            preexec_fn=lifeline(),  # noqa: PLW1509 - see there
            pass_fds=pass_fds,
            **(account.popen() | {"cwd": "/"} if account is not None else {}),
        )


def run_program(
    binaries: Binaries,
    name: str,
    arguments: Sequence[str | Path],
    *,
    target: Target | None = None,
    settings: Mapping[str, str] | None = None,
    application_name: str = "pliers-db",
    stdin: IO[bytes] | int | bytes = DEVNULL,
    stdout: IO[bytes] | int = DEVNULL,
    environ: Mapping[str, str] | None = None,
    account: Account | None = None,
    pass_fds: Sequence[int] = (),
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    tick: Callable[[], None] | None = None,
) -> Finished:
    """Run a program to its end; `Finished.check` raises if it failed. Parameters as of `start_program`.

    :param tick: called about ten times a second meanwhile; what it raises ends the program.
    """
    with start_program(
        binaries,
        name,
        arguments,
        target=target,
        settings=settings,
        application_name=application_name,
        stdin=stdin,
        stdout=stdout,
        environ=environ,
        account=account,
        pass_fds=pass_fds,
        timeout=timeout,
        on_line=on_line,
    ) as program:
        return program.wait(tick)


def read_program(
    binaries: Binaries,
    name: str,
    arguments: Sequence[str | Path],
    *,
    target: Target | None = None,
    stdin: IO[bytes] | int | bytes = DEVNULL,
    timeout: float | None = None,
) -> str:
    """What a program writes to stdout, for answers that fit into memory.

    :raises ProgramFailed: it did not end with 0.
    """
    with start_program(binaries, name, arguments, target=target, stdin=stdin, stdout=PIPE, timeout=timeout) as program:
        text = program.stdout.read()
        program.wait().check()
    return text.decode("utf-8", errors="surrogateescape")


def exec_program(binaries: Binaries, name: str, arguments: Sequence[str | Path], *, target: Target) -> NoReturn:
    """Become a program: an interactive psql has the terminal, its signals and our exit to itself.

    :raises BinariesMissing: there is no such program here.
    """
    program = binaries.program(name)
    environment = program_environment(target)
    del environment["LC_ALL"]  # a person reads its messages
    if "LC_ALL" in os.environ:
        environment["LC_ALL"] = os.environ["LC_ALL"]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execve(program, [str(program), *map(str, arguments)], environment)


def program_environment(
    target: Target | None = None,
    settings: Mapping[str, str] | None = None,
    application_name: str = "pliers-db",
) -> dict[str, str]:
    """The environment of a child: ours without what steers libpq, plus the target's.

    The server's own messages come in its ``lc_messages``; only a superuser may change that.
    """
    kept = without_ambient(os.environ)
    own = target.environment() if target is not None else {}
    options = [own.pop("PGOPTIONS", "")]
    options += [f"-c {name}={_escape(value)}" for name, value in (settings or {}).items()]
    return {
        # Without PATH a program that looks for its siblings finds none.
        "PATH": os.defpath,
        **kept,
        "LC_ALL": "C",  # their messages are read by us
        "PGAPPNAME": application_name,
        **own,
        **({"PGOPTIONS": " ".join(filter(None, options))} if any(options) else {}),
    }


def _escape(value: str) -> str:
    """Blanks end an option of PGOPTIONS unless a backslash stands before them."""
    return re.sub(r"([\\\s])", r"\\\1", value)
