"""The endpoints as an ASGI and as a WSGI application, to mount in FastAPI, Starlette, Flask or Django."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from pliers_db.config import Settings, load_settings
from pliers_db.db import Database
from pliers_db.errors import PliersError
from pliers_db.health.runner import run_health
from pliers_db.health.serve.answers import LIVE, NOT_ALLOWED, NOT_FOUND, Answer, Answers, endpoint_of, not_ready
from pliers_db.health.serve.probe import TIMEOUT, TTL, Probe
from pliers_db.health.serve.reports import EVERY, Reports

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
METHODS = ("GET", "HEAD")


class Endpoints:
    """What the applications answer with; made at the first request, so that importing them costs nothing."""

    def __init__(
        self,
        database: Database | None = None,
        settings: Settings | None = None,
        *,
        timeout: float = TIMEOUT,
        ttl: float = TTL,
        report_every: float = EVERY,
    ) -> None:
        """:param database: the application's own pool, whose readiness is asked; default: one from the settings.
        :param settings: default: those of the project that the process runs in.
        :param timeout: seconds after which a database that does not answer is not ready.
        :param ttl: seconds that an answer is good for.
        :param report_every: seconds between two full reports; 0: none.
        """
        self._given = (database, settings)
        self._options = (timeout, ttl, report_every)
        self._answers: Answers | None = None
        self._lock = threading.Lock()

    def answers(self) -> Answers:
        """The answers.

        :raises PliersError: the settings cannot be used.
        """
        with self._lock:
            if self._answers is None:
                self._answers = self._make()
            return self._answers

    def at_once(self, path: str) -> Answer | None:
        """The answer if it needs no waiting, else None."""
        name = endpoint_of(path)
        if name is None:
            return NOT_FOUND
        if name == "live":  # also with settings that cannot be used
            return LIVE
        return None if self._answers is None else self._answers.at_once(path)

    def wait(self, path: str) -> Answer:
        """The answer; a database that cannot even be configured is not ready."""
        if (answer := self.at_once(path)) is not None:
            return answer
        try:
            return self.answers().wait(path)
        except PliersError as error:
            return not_ready(f"{error.message}: {error.why}")

    def close(self) -> None:
        """Stop making reports; close the pool, if it is our own."""
        with self._lock:
            if self._answers is not None:
                self._answers.reports.stop()
                if self._given[0] is None:
                    self._answers.database.close()
                self._answers = None

    def _make(self) -> Answers:
        from pliers_db.postgres import ensure_embedded

        database, settings = self._given
        timeout, ttl, every = self._options
        settings = settings or load_settings()
        if database is not None:
            settings = settings.with_target(database.target)
        elif settings.target is None:
            settings = settings.with_target(ensure_embedded(settings))
        assert settings.target is not None
        ready = settings
        own = database or Database(settings.target, settings.pool, application_name="pliers-db/probe", one_shot=True)
        reports = Reports(lambda: run_health(ready), every)
        return Answers(own, Probe(own, timeout=timeout, ttl=ttl), reports)


def asgi_app(database: Database | None = None, settings: Settings | None = None, **options: float) -> AsgiApp:
    """An ASGI application with ``/live``, ``/ready``, ``/db`` and ``/metrics``: ``app.mount("/health", asgi_app())``.

    Parameters as of `Endpoints`.
    """
    return AsgiApp(Endpoints(database, settings, **options))


def wsgi_app(database: Database | None = None, settings: Settings | None = None, **options: float) -> WsgiApp:
    """The same as a WSGI application: ``DispatcherMiddleware(app.wsgi_app, {"/health": wsgi_app()})``."""
    return WsgiApp(Endpoints(database, settings, **options))


class AsgiApp:
    """The ASGI application. A warm answer is given in the event loop, a cold one waits in a thread of its own."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        # Not the loop's own threads: those may all be busy with what the probe is asked about.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="health")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not served here")
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        if scope["method"] not in METHODS:
            answer = NOT_ALLOWED
        elif (found := self.endpoints.at_once(path)) is not None:
            answer = found
        else:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, self.endpoints.wait, path)
        headers = [(name.lower().encode(), value.encode()) for name, value in headers_of(answer)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.endpoints.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


class WsgiApp:
    """The WSGI application."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        answer = self.endpoints.wait(environ.get("PATH_INFO") or "/") if method in METHODS else NOT_ALLOWED
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers_of(answer))
        return [] if method == "HEAD" else [answer.body]


def headers_of(answer: Answer) -> list[tuple[str, str]]:
    """The headers of an answer; nobody on the way may keep it."""
    found = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
    ]
    return found + ([("Allow", ", ".join(METHODS))] if answer is NOT_ALLOWED else [])
