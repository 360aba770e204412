"""A TCP proxy in front of a PostgreSQL server that can spoil the connection in the ways networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pliers_db.config import Target

_CHUNK = 65536


class FaultProxy:
    """Forwards ``127.0.0.1:port`` to a server's Unix socket or TCP port, and breaks on demand.

    Faults hold for running and for new connections until `heal`:

    - ``latency``: seconds before each chunk is forwarded, in each direction;
    - `refuse`: nobody listens any more;
    - `blackhole`: bytes are taken and never forwarded (a hung server whose kernel still acknowledges);
    - `cut`: every running connection is reset; new ones work;
    - `cut_after`: when a client sends these bytes they are still forwarded, then its connection is reset before the
      answer comes back (a connection lost during COMMIT);
    - `swallow`: these bytes are not forwarded and their client is reset, while the server goes on waiting for it (a
      network that died without a word).
    """

    def __init__(self, upstream: Target) -> None:
        self._upstream = upstream
        self._listener: socket.socket | None = None
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._hole = threading.Event()
        self._trap: bytes | None = None
        self._gone: bytes | None = None
        self._orphans: list[socket.socket] = []
        self._mute: tuple[socket.socket, socket.socket] | None = None
        self.latency = 0.0
        self.accepted = 0
        self.trapped = threading.Event()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._listen()

    def target(self) -> Target:
        """The upstream's target, through the proxy."""
        return replace(self._upstream, host="127.0.0.1", port=str(self.port))

    def refuse(self) -> None:
        """Stop listening; running connections are reset."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def blackhole(self) -> None:
        """Take bytes and forward none."""
        self._hole.set()

    def cut(self) -> None:
        """Reset every running connection."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._reset(pair)

    def cut_after(self, needle: bytes) -> None:
        """Reset the next connection whose client sends ``needle``, after forwarding it; once."""
        self.trapped.clear()
        self._trap = needle

    def swallow(self, needle: bytes) -> None:
        """Do not forward what contains ``needle``; reset its client, and leave the server in the dark; once."""
        self.trapped.clear()
        self._gone = needle

    def heal(self) -> None:
        """No more faults."""
        self.latency = 0.0
        self._trap = self._gone = None
        self._hole.clear()
        if self._listener is None and not self._closed:
            self._listen()

    def close(self) -> None:
        self._closed = True
        self.refuse()
        for orphan in self._orphans:
            orphan.close()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # closed by refuse()
                return
            self.accepted += 1
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink, pair), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._upstream.host or "", int(self._upstream.port or 5432)
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
            return server
        return socket.create_connection((host, port))

    def _pump(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if self.latency:
                    time.sleep(self.latency)
                while self._hole.is_set():
                    time.sleep(0.01)
                    if self._closed:
                        return
                if pair is self._mute:
                    continue  # the answer that must not come back
                if source is pair[0] and self._gone is not None and self._gone in data:
                    self._gone = None
                    self._desert(pair)
                    return
                sprung = source is pair[0] and self._trap is not None and self._trap in data
                if sprung:
                    self._trap, self._mute = None, pair
                sink.sendall(data)
                if sprung:
                    time.sleep(0.1)  # the server reads and obeys it before it loses its client
                    self._reset(pair)
                    self.trapped.set()
                    return
        self._reset(pair, hard=False)

    def _desert(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        self._orphans.append(pair[1])
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        pair[0].close()
        self.trapped.set()

    def _reset(self, pair: tuple[socket.socket, socket.socket], *, hard: bool = True) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.discard(pair)
        if hard:  # RST instead of FIN
            pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def make_proxy() -> Iterator[Callable[[Target], FaultProxy]]:
    """Build proxies in front of targets; all are closed at the end of the test."""
    made: list[FaultProxy] = []

    def make(upstream: Target) -> FaultProxy:
        made.append(FaultProxy(upstream))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def proxy(target: Target, make_proxy: Callable[[Target], FaultProxy]) -> FaultProxy:
    """A fault proxy in front of this test's own database."""
    return make_proxy(target)
