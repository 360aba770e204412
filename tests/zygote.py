"""A process that has imported the command line and forks one ``pliers-db`` for each request.

Imports are most of what a short command costs. A forked one is a process of its own like any other: its own arguments,
environment, folder, output, exit code and signals. What depends on the start of Python itself runs without this.
"""

from __future__ import annotations

import array
import atexit
import importlib
import json
import os
import pkgutil
import random
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

LENGTH = struct.Struct("!I")
WARM = ("psycopg", "psycopg_pool", "yoyo", "pglast", "rich.console", "rich.table", "rich.progress")
BEFORE_PYTHON = ("PYTHON", "LANG", "LC_", "LD_", "TERM", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "TZ", "TMPDIR", "PATH")
"""Beginnings of the variables that Python or a module reads once, when it starts."""


class Zygote:
    """The test's end: starts the process at the first request."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._path = ""
        self._starting = threading.Lock()

    def _start(self) -> None:
        with self._starting:
            if self._process is not None and self._process.poll() is None:
                return
            self._path = f"\0pliers-zygote-{os.getpid()}-{os.urandom(8).hex()}"
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(self._path)
                listener.listen(128)
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.zygote", str(listener.fileno())],
                    cwd=Path(__file__).parent.parent,
                    env=self._environ,
                    pass_fds=[listener.fileno()],
                    stdin=subprocess.PIPE,  # closed when we end: it ends too
                )
            atexit.register(self.close)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def run(
        self, arguments: Sequence[str], folder: Path, environ: Mapping[str, str], timeout: float
    ) -> tuple[int, str, str]:
        """Run ``pliers-db`` to its end: exit code (negative: the signal), stdout and stderr.

        :param timeout: seconds; then it is killed.
        :raises subprocess.TimeoutExpired: it took longer.
        """
        self._start()
        outputs: dict[int, bytearray] = {}
        ends = []
        for _ in range(2):
            reader, writer = os.pipe()
            outputs[reader] = bytearray()
            ends.append(writer)
        killed = threading.Event()
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(self._path)
                wanted = {"arguments": list(arguments), "folder": str(folder), "environ": dict(environ)}
                body = json.dumps(wanted).encode()
                connection.sendmsg(
                    [LENGTH.pack(len(body))],
                    [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", ends))],
                )
                connection.sendall(body)
            finally:
                for end in ends:
                    os.close(end)
            pid = LENGTH.unpack(_exactly(connection, LENGTH.size))[0]

            def kill() -> None:
                killed.set()
                os.kill(pid, signal.SIGKILL)

            timer = threading.Timer(timeout, kill)
            timer.start()
            try:
                with selectors.DefaultSelector() as selector:
                    for reader in outputs:
                        selector.register(reader, selectors.EVENT_READ)
                    while selector.get_map():
                        for key, _ in selector.select():
                            if piece := os.read(key.fd, 65536):
                                outputs[key.fd] += piece
                            else:
                                selector.unregister(key.fd)
                status = LENGTH.unpack(_exactly(connection, LENGTH.size))[0]
            finally:
                timer.cancel()
                for reader in outputs:
                    os.close(reader)
        out, err = (piece.decode().replace("\r\n", "\n") for piece in outputs.values())
        if killed.is_set():
            raise subprocess.TimeoutExpired(list(arguments), timeout, out, err)
        return os.waitstatus_to_exitcode(status), out, err


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise ConnectionError("the zygote of the tests has ended")
        data += piece
    return data


def _serve(listener: socket.socket) -> NoReturn:
    running: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    os._exit(0)
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    head, ancillary, _, _ = connection.recvmsg(LENGTH.size, socket.CMSG_SPACE(8))
                    ends = array.array("i")
                    ends.frombytes(ancillary[0][2])
                    wanted = json.loads(_exactly(connection, LENGTH.unpack(head)[0]))
                    pid = os.fork()
                    if pid == 0:
                        _become(wanted, ends[0], ends[1])
                    for end in ends:
                        os.close(end)
                    connection.sendall(LENGTH.pack(pid))
                    watch = os.pidfd_open(pid)
                    running[watch] = (pid, connection)
                    selector.register(watch, selectors.EVENT_READ)
                else:
                    watch = key.fd
                    selector.unregister(watch)
                    os.close(watch)
                    pid, connection = running.pop(watch)
                    _, status = os.waitpid(pid, 0)
                    with connection:
                        connection.sendall(LENGTH.pack(status))


def _become(wanted: dict[str, Any], out: int, err: int) -> NoReturn:
    """Be ``python -m pliers_db`` in the child, from its start to its exit."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.closerange(3, 256)
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environ"])
    random.seed()
    # As Python would open them: the parent's know what they were before.
    sys.stdin = open(0)  # noqa: SIM115
    sys.stdout = open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    sys.argv = [str(Path(__file__).parent.parent / "pliers_db" / "__main__.py"), *wanted["arguments"]]
    code = 1
    try:
        from pliers_db.cli.main import main

        main()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
    except BaseException:  # noqa: BLE001 - told as Python tells it
        sys.excepthook(*sys.exc_info())
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except OSError:
        code = 120  # Python's own, for output that nobody takes
    os._exit(code)


def main() -> NoReturn:
    """Import what commands import, then serve."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    import pliers_db

    for name in WARM:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(pliers_db.__path__, "pliers_db."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    import gc

    gc.collect()
    gc.freeze()
    _serve(listener)


if __name__ == "__main__":
    main()
