"""A web server on loopback that remembers what it was told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Listener:
    """Takes any POST; ``answer`` is what it says to the next ones."""

    url: str
    answer: int = 200
    heard: list[tuple[str, str]] = field(default_factory=list)
    """Path without its query, and body."""

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.heard]


@pytest.fixture
def listener() -> Iterator[Listener]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            told.heard.append((self.path.split("?")[0], body))
            self.send_response(told.answer)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told = Listener(f"http://127.0.0.1:{server.server_port}/ping/secret-uuid")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield told
        server.shutdown()
        thread.join()
