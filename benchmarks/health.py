"""What a health report costs, and how fast the endpoints answer: ratios in one run.

python benchmarks/health.py [--rounds 7] [--tables 300]

Against check_postgres (Debian: apt-get install check-postgres) and a bare Starlette route on uvicorn (pip install
starlette uvicorn) where those are there; what is missing is said.
"""

from __future__ import annotations

import argparse
import http.client
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from measure import Case, command, measure, print_ratios

from pliers_db.config import Settings, Target, load_settings
from pliers_db.db import connect
from pliers_db.health import Endpoints, HealthServer, run_health
from pliers_db.postgres import scratch_server

STARLETTE = (
    "import uvicorn\n"
    "from starlette.applications import Starlette\n"
    "from starlette.responses import JSONResponse\n"
    "from starlette.routing import Route\n"
    "import sys\n"
    "async def ready(request): return JSONResponse({'status': 'pass'})\n"
    "app = Starlette(routes=[Route('/health/ready', ready)])\n"
    "uvicorn.run(app, host='127.0.0.1', port=int(sys.argv[1]), log_level='error')\n"
)
# The actions that ask what our checks ask; each is a process, as a monitor starts them.
ACTIONS = (
    "connection",
    "backends",
    "txn_idle",
    "query_time",
    "locks",
    "txn_wraparound",
    "bloat",
    "sequence",
    "hitratio",
)


def select_one(target: Target) -> None:
    with connect(target) as conn:
        conn.execute("select 1")


def reports(settings: Settings, rounds: int) -> None:
    assert settings.target is not None
    target = settings.target
    url = f"postgresql://{target.user}@:{target.port}/{target.dbname}?host={target.host}"
    cases = [
        Case("select 1, new connection", lambda: select_one(target)),
        Case("full report", lambda: run_health(settings)),
        Case("three checks", lambda: run_health(settings, only=["connect", "connections", "wraparound"])),
    ]
    print_ratios("In one process", measure(cases, rounds), [cases[0].name])
    whole = [
        Case("python -c pass", command(sys.executable, "-c", "pass")),
        Case("pliers-db health", command(sys.executable, "-m", "pliers_db", "health", "--database-url", url)),
    ]
    program = shutil.which("check_postgres")
    if program is None:
        print("\ncheck_postgres is not here: apt-get install check-postgres")
    else:
        environ = {"PGHOST": str(target.host), "PGUSER": str(target.user), "PGDATABASE": target.dbname}
        options = [f"--host={target.host}", f"--dbuser={target.user}", f"--dbname={target.dbname}"]

        def check_postgres() -> None:
            for action in ACTIONS:
                subprocess.run([program, f"--action={action}", *options], capture_output=True, env=environ, check=False)

        whole.append(Case(f"check_postgres, {len(ACTIONS)} actions", check_postgres))
    print_ratios("As commands", measure(whole, rounds), [whole[0].name, whole[1].name])


@contextmanager
def ours(settings: Settings) -> Iterator[int]:
    endpoints = Endpoints(settings=settings)
    with HealthServer(endpoints, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()
        endpoints.close()


@contextmanager
def starlette() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, "-c", STARLETTE, str(port)])
    try:
        for _ in range(100):
            time.sleep(0.1)
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield port
    finally:
        process.terminate()
        process.wait()


def latencies(port: int, path: str, count: int) -> list[float]:
    client = http.client.HTTPConnection("127.0.0.1", port)
    found = []
    for _ in range(count):
        began = time.perf_counter()
        client.request("GET", path)
        response = client.getresponse()
        response.read()
        found.append(time.perf_counter() - began)
        assert response.status == 200
    client.close()
    return found


def endpoints(settings: Settings, count: int = 2000) -> None:
    ports: dict[str, tuple[int, str]] = {}
    with ours(settings) as own:
        ports |= {f"ours {path}": (own, path) for path in ("/health/live", "/health/ready", "/health/db", "/metrics")}
        try:
            import starlette as installed
            import uvicorn

            assert installed
            assert uvicorn
        except ImportError:
            print("\nNo Starlette to compare with: pip install starlette uvicorn")
            _print_latencies(ports, count)
            return
        with starlette() as other:
            ports["Starlette, a bare route"] = (other, "/health/ready")
            _print_latencies(ports, count)


def _print_latencies(ports: dict[str, tuple[int, str]], count: int) -> None:
    for port, path in ports.values():
        latencies(port, path, 200)  # warm
    times: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(3):
        for name, (port, path) in ports.items():
            times[name] += latencies(port, path, count // 3)
    print(f"\nEndpoints, one keep-alive client, {count} requests each")
    last = statistics.median(times[list(ports)[-1]])
    for name, found in times.items():
        every = sorted(found)
        median, p99 = statistics.median(every), every[int(len(every) * 0.99)]
        rate = len(every) / sum(every)
        print(
            f"  {name:<26} median {median * 1000:6.3f} ms  p99 {p99 * 1000:6.3f} ms  {rate:6.0f}/s"
            f"  {median / last:5.2f}x the last line"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tables", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, scratch_server() as server:
        settings = load_settings(start=Path(name), environ={"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"})
        settings = replace(settings, target=server.target())
        with connect(server.target()) as conn:
            for number in range(options.tables):
                conn.execute(
                    f"create table t{number} (id int generated always as identity primary key, parent int"
                    f" references t{max(number - 1, 0)}, v text); create index on t{number} (parent)"
                )
        reports(settings, options.rounds)
        endpoints(settings)


if __name__ == "__main__":
    main()
