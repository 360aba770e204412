"""The endpoints for probes: quick, harmless, honest; over HTTP, ASGI and WSGI."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from pliers_db.config import PoolSettings, Settings, Target
from pliers_db.db import Connection, Database
from pliers_db.health import Endpoints, HealthServer, asgi_app, wsgi_app
from tests.fix_cli import Cli
from tests.fix_health import settings_of
from tests.fix_proxy import FaultProxy
from tests.test_health_report import break_an_index

Got = tuple[int, Any]


class Client:
    """One keep-alive connection to a health server."""

    def __init__(self, server: HealthServer) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)

    def get(self, path: str, method: str = "GET") -> Got:
        self.http.request(method, path)
        response = self.http.getresponse()
        body = response.read()
        self.headers = response.headers
        if response.headers["Content-Type"].startswith("application/health+json"):
            return response.status, json.loads(body) if body else None
        return response.status, body.decode()


@contextmanager
def served(endpoints: Endpoints) -> Iterator[Client]:
    with HealthServer(endpoints, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        client = Client(server)
        try:
            yield client
        finally:
            client.http.close()
            server.shutdown()
            thread.join()
            endpoints.close()


def endpoints_of(project: Path, target: Target, **options: float) -> Endpoints:
    settings = settings_of(project, target)
    return Endpoints(settings=settings, **{"report_every": 0, **options})


def sessions(conn: Connection) -> int:
    row = conn.execute(
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    ).fetchone()
    assert row is not None
    return int(row[0])


def until(promise: Callable[[], bool], seconds: float = 15) -> None:
    for _ in range(int(seconds * 20)):
        if promise():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


AWAY = Target(dbname="nothing", host="127.0.0.1", port="1", user="nobody")


def test_a_well_database_is_ready(project: Path, target: Target) -> None:
    with served(endpoints_of(project, target)) as client:
        assert client.get("/health/live") == (200, {"status": "pass"})
        assert client.get("/health/ready") == (200, {"status": "pass"})
        status, body = client.get("/health/db")
        assert status == 200
        assert body["status"] == "pass"


def test_a_database_that_is_away_stops_traffic_and_not_the_application(project: Path) -> None:
    with served(endpoints_of(project, AWAY)) as client:
        assert client.get("/health/live")[0] == 200
        status, body = client.get("/health/ready")
        assert status == 503
        assert body["status"] == "fail"
        assert "refused" in body["output"]
        assert client.get("/health/db")[0] == 503
        assert "pliers_db_probe_up 0\n" in client.get("/metrics")[1]


def test_settings_that_cannot_be_used_are_not_ready_but_alive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLIERS_ENV", "porduction")
    with served(Endpoints()) as client:
        assert client.get("/health/live")[0] == 200
        status, body = client.get("/health/ready")
        assert status == 503
        assert "porduction" in body["output"]


def test_health_json_has_the_shape_of_the_draft(project: Path, target: Target) -> None:
    endpoints = endpoints_of(project, target, report_every=60)
    with served(endpoints) as client:
        client.get("/health/db")
        until(lambda: endpoints.answers().reports.latest() is not None)
        _, body = client.get("/health/db")
    assert client.headers["Content-Type"] == "application/health+json"
    assert client.headers["Cache-Control"] == "no-store"
    assert body["status"] in ("pass", "warn")
    assert {"version", "releaseId", "description", "checks"} <= set(body)
    assert "health:connections" in body["checks"]
    for name, observations in body["checks"].items():
        assert name.count(":") == 1
        for observed in observations:
            assert observed["status"] in ("pass", "warn", "fail")
            assert observed["componentType"] in ("datastore", "system", "component")
            assert observed["time"].endswith("Z")
            assert ("observedValue" in observed) == ("observedUnit" in observed)
            assert ("output" in observed) == (observed["status"] != "pass") or name == "pool:connections"


def test_a_failing_check_does_not_take_the_application_out_of_service(
    project: Path, target: Target, conn: Connection
) -> None:
    break_an_index(conn)
    endpoints = endpoints_of(project, target, report_every=60)
    with served(endpoints) as client:
        client.get("/health/db")
        until(lambda: endpoints.answers().reports.latest() is not None)
        status, body = client.get("/health/db")
        assert (status, body["status"]) == (200, "warn")
        assert body["checks"]["health:invalid_index"][0]["status"] == "fail"
        assert client.get("/health/ready")[0] == 200
        assert 'pliers_db_check_status{check="invalid_index"} 2' in client.get("/metrics")[1]


def test_no_request_makes_a_report(project: Path, target: Target) -> None:
    endpoints = endpoints_of(project, target, report_every=0)
    with served(endpoints) as client:
        for path in ("/health/live", "/health/ready", "/health/db", "/metrics"):
            client.get(path)
        time.sleep(0.3)
        assert endpoints.answers().reports.latest() is None


def test_an_answer_is_good_for_a_moment_and_then_asked_anew(project: Path, proxy: FaultProxy) -> None:
    with served(endpoints_of(project, proxy.target(), ttl=1.0, timeout=0.5)) as client:
        assert client.get("/health/ready")[0] == 200
        proxy.refuse()
        assert client.get("/health/ready")[0] == 200, "remembered"
        until(lambda: client.get("/health/ready")[0] == 503)
        proxy.heal()
        until(lambda: client.get("/health/ready")[0] == 200)


def test_a_hundred_probes_at_once_ask_the_database_once(project: Path, proxy: FaultProxy, conn: Connection) -> None:
    proxy.latency = 0.05
    endpoints = endpoints_of(project, proxy.target(), ttl=30, timeout=10)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(endpoints.wait("/health/ready").status)) for _ in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [200] * 100
    assert proxy.accepted == 1
    endpoints.close()


def test_a_server_that_hangs_is_not_ready_after_the_timeout_and_probes_do_not_pile_up(
    project: Path, proxy: FaultProxy
) -> None:
    endpoints = endpoints_of(project, proxy.target(), ttl=0.01, timeout=0.3)
    assert endpoints.wait("/health/ready").status == 200
    proxy.blackhole()
    time.sleep(0.05)
    before = threading.active_count()
    began = time.monotonic()
    threads = [threading.Thread(target=endpoints.wait, args=["/health/ready"]) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - began < 8
    assert endpoints.wait("/health/ready").status == 503
    assert threading.active_count() <= before + 3
    proxy.heal()
    until(lambda: endpoints.wait("/health/ready").status == 200)
    endpoints.close()


def test_a_pool_without_a_free_connection_is_not_ready(project: Path, target: Target) -> None:
    settings = settings_of(project, target)
    with Database(target, PoolSettings(min_size=1, max_size=1)) as database:
        endpoints = Endpoints(database, settings, ttl=0.01, timeout=0.3, report_every=0)
        assert endpoints.wait("/ready").status == 200
        with database.connection():
            until(lambda: endpoints.wait("/ready").status == 503)
        until(lambda: endpoints.wait("/ready").status == 200)
        endpoints.close()
        with database.connection() as conn:  # the application's pool is not ours to close
            conn.execute("select 1")


def test_a_locked_table_makes_no_probe_wait(
    project: Path, target: Target, conn: Connection, session: Callable[[Target], Connection]
) -> None:
    conn.execute("create table held (id int generated always as identity primary key)")
    holder = session(target)
    holder.execute("begin; lock table held in access exclusive mode")
    endpoints = endpoints_of(project, target, ttl=0.01, report_every=0.2)
    for _ in range(40):
        assert endpoints.wait("/ready").status == 200
        assert endpoints.wait("/metrics").status == 200
        time.sleep(0.02)
    assert sessions(conn) <= 4, "the holder, the probe, a report and its measurement of the way"
    holder.execute("rollback")
    endpoints.close()


@pytest.mark.slow
def test_ten_thousand_requests_leave_no_connection_and_no_thread(
    project: Path, target: Target, conn: Connection
) -> None:
    with served(endpoints_of(project, target, ttl=0.02)) as client:
        assert client.get("/health/ready")[0] == 200
        threads = threading.active_count()
        for number in range(10_000):
            path = ("/health/ready", "/health/db", "/health/live", "/metrics")[number % 4]
            status, _ = client.get(path)
            assert status == 200
        assert sessions(conn) <= 1
        assert threading.active_count() <= threads + 2
    until(lambda: sessions(conn) == 0)


def test_other_methods_and_paths_are_refused(project: Path, target: Target) -> None:
    with served(endpoints_of(project, target)) as client:
        assert client.get("/health/ready", "HEAD") == (200, None)
        assert client.get("/health/ready?verbose=1")[0] == 200
        assert client.get("/health/ready/")[0] == 200
        assert client.get("/")[0] == 404
        assert client.get("/etc/live")[0] == 404
        status, _ = client.get("/health/ready", "POST")
        assert status == 405
        assert client.headers["Allow"] == "GET, HEAD"


def test_a_client_that_sends_rubbish_harms_nobody(project: Path, target: Target) -> None:
    import socket

    with served(endpoints_of(project, target)) as client:
        client.get("/health/live")
        port = client.http.port
        for rubbish in (
            b"\0\xff\r\n\r\n",
            b"GET " + b"/" * 70000 + b" HTTP/1.1\r\n\r\n",
            b"GET /health/live HTTP/9\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
                raw.sendall(rubbish)
                raw.recv(100)
        assert client.get("/health/live")[0] == 200


def call_asgi(app: Any, path: str, method: str = "GET", root_path: str = "") -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": method, "path": path, "root_path": root_path, "headers": []}
    asyncio.run(app(scope, receive, send))
    assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.mark.parametrize(
    ("path", "root_path"),
    [("/health/ready", ""), ("/ready", ""), ("/api/health/ready", "/api/health"), ("/ready", "/x")],
)
def test_the_asgi_application_is_mounted_anywhere(settings: Settings, path: str, root_path: str) -> None:
    app = asgi_app(settings=settings, report_every=0)
    status, headers, body = call_asgi(app, path, root_path=root_path)
    assert (status, json.loads(body)) == (200, {"status": "pass"})
    assert headers[b"content-length"] == str(len(body)).encode()
    assert call_asgi(app, path, "HEAD", root_path)[2] == b""
    assert call_asgi(app, path, "DELETE", root_path)[0] == 405
    app.endpoints.close()


@pytest.fixture
def settings(project: Path, target: Target) -> Settings:
    return settings_of(project, target)


def test_a_hung_database_does_not_block_the_event_loop(project: Path, proxy: FaultProxy) -> None:
    app = asgi_app(settings=settings_of(project, proxy.target()), report_every=0, ttl=0.01, timeout=0.5)
    assert call_asgi(app, "/ready")[0] == 200
    proxy.blackhole()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def both() -> int:
        ticking = asyncio.create_task(tick())
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("nothing to receive")

        await asyncio.sleep(0.05)
        await app({"type": "http", "method": "GET", "path": "/ready"}, receive, send)
        ticking.cancel()
        return int(sent[0]["status"])

    assert asyncio.run(both()) == 503
    assert ticks > 10
    proxy.heal()
    app.endpoints.close()


def test_the_asgi_application_starts_and_stops_with_its_server(settings: Settings, conn: Connection) -> None:
    app = asgi_app(settings=settings, report_every=0)
    assert call_asgi(app, "/ready")[0] == 200
    assert sessions(conn) == 1

    async def life() -> list[str]:
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
        sent: list[str] = []

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app({"type": "lifespan"}, receive, send)
        return sent

    assert asyncio.run(life()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    until(lambda: sessions(conn) == 0)


def test_the_wsgi_application_keeps_to_the_standard(settings: Settings) -> None:
    app = wsgi_app(settings=settings, report_every=0)

    def call(path: str, method: str = "GET") -> tuple[str, bytes]:
        environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": "", "SCRIPT_NAME": ""}
        setup_testing_defaults(environ)
        got: list[str] = []

        def start_response(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], None]:
            got.append(status)
            return lambda _: None

        body = validator(app)(environ, start_response)  # type: ignore[arg-type]
        try:
            return got[0] if got else "", b"".join(body)
        finally:
            body.close()  # type: ignore[attr-defined]

    assert call("/ready") == ("200 OK", b'{"status": "pass"}')
    assert call("/health/live") == ("200 OK", b'{"status": "pass"}')
    assert call("/ready", "POST")[0] == "405 Method Not Allowed"
    assert call("/nowhere")[0] == "404 Not Found"
    app.endpoints.close()


def test_importing_the_applications_connects_to_nothing(tmp_path: Path) -> None:
    code = (
        "from pliers_db.health import asgi_app, wsgi_app\n"
        "app, other = asgi_app(), wsgi_app()\n"
        "import threading; assert threading.active_count() == 1"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PLIERS_ENV": "production"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_worker_forked_after_the_first_answer_has_answers_of_its_own(project: Path, target: Target) -> None:
    """As gunicorn and uvicorn fork their workers."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from pliers_db.config import load_settings\n"
        "from pliers_db.health import Endpoints\n"
        "endpoints = Endpoints(settings=load_settings(start=Path('.')), report_every=0, ttl=0.01)\n"
        "assert endpoints.wait('/ready').status == 200\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if endpoints.wait('/ready').status == 200 else 9)\n"
        "_, status = os.waitpid(child, 0)\n"
        "assert endpoints.wait('/ready').status == 200\n"
        "sys.exit(os.waitstatus_to_exitcode(status))"
    )
    from tests.fix_cli import url_of

    env = Cli(project, {"DATABASE_URL": url_of(target), "PLIERS_ENV": "test"}).environ()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=project, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal(cli: Cli, number: int) -> None:
    running = cli.start("health", "serve", "--port", "0", "--every", "0")
    assert running.stdout is not None
    line = running.stdout.readline()
    assert line.startswith("Listening on http://127.0.0.1:")
    client = http.client.HTTPConnection(line.strip().rpartition("/")[2], timeout=20)
    client.request("GET", "/health/ready")
    assert client.getresponse().read() == b'{"status": "pass"}'
    client.close()
    running.send_signal(number)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 0, err
    assert "Traceback" not in err


def test_a_signal_to_the_process_and_then_to_its_group_is_one_request(cli: Cli) -> None:
    """As timeout(1) sends it."""
    running = cli.start("health", "serve", "--port", "0", "--every", "0")
    assert running.stdout is not None
    running.stdout.readline()
    for _ in range(10):
        running.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 0, err


def test_a_port_that_is_taken_is_said(cli: Cli) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = cli("health", "serve", "--port", str(taken.getsockname()[1]), "--json")
    assert result.code == 3
    assert result.json["error"]["code"] == "health.port-in-use"


def test_an_answer_says_no_password(project: Path) -> None:
    from pliers_db.config import Secret

    away = Target(dbname="x", host="127.0.0.1", port="1", user="u", password=Secret("hunter2secret"))
    endpoints = endpoints_of(project, away, report_every=60)
    for path in ("/ready", "/db", "/metrics"):
        assert b"hunter2secret" not in endpoints.wait(path).body
    endpoints.close()
