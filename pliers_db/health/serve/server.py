"""A small HTTP server for the endpoints, where no application runs that could mount them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pliers_db.errors import PortInUse
from pliers_db.health.serve.answers import NOT_ALLOWED
from pliers_db.health.serve.mount import METHODS, Endpoints, headers_of
from pliers_db.log import get_logger

log = get_logger(__name__)
MOST_CONNECTIONS = 128
IDLE = 30.0
"""Seconds that an idle connection is kept."""


class HealthServer(ThreadingHTTPServer):
    """Serves the endpoints; a thread for each connection, up to a limit."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, endpoints: Endpoints, host: str, port: int) -> None:
        """:param host: an address of this machine; ``0.0.0.0`` or ``::`` for all.
        :param port: 0: any that is free.
        :raises PortInUse: another program listens there.
        """
        self.endpoints = endpoints
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise PortInUse(f"Cannot listen on {host}:{port}", why=error.strerror or str(error)) from error

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:  # more than any monitor opens: rather close than pile up
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection from %s broke", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: HealthServer
    protocol_version = "HTTP/1.1"
    timeout = IDLE
    # Header and body in one packet: written apart, Nagle's algorithm and delayed ACKs make them 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(self.server.endpoints.wait)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.close_connection = True  # its body is not read
        self._answer(lambda path: NOT_ALLOWED)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST

    def _answer(self, ask: Callable[[str], Any]) -> None:
        answer = ask(self.path)
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers_of(answer)]
        if self.close_connection:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.wfile.write(head if self.command == METHODS[1] else head + answer.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
