"""What the embedded server costs: finding it when it runs, starting it when it does not. Ratios, in one run.

python benchmarks/server.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from measure import Case, command, measure, print_ratios

from pliers_db.config import Settings, load_settings
from pliers_db.db import connect
from pliers_db.postgres import embedded_server, ensure_embedded, stop_embedded
from pliers_db.postgres.account import server_account

PLIERS = [sys.executable, "-m", "pliers_db"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "pliers-db.toml").write_text('name = "bench"\n')
        settings = load_settings(start=folder, environ={})
        try:
            _measure(settings, folder, rounds)
        finally:
            stop_embedded(settings)


def _measure(settings: Settings, folder: Path, rounds: int) -> None:
    target = ensure_embedded(settings)
    server = embedded_server(settings)
    account = server_account(server.data)
    switch = account.popen() if account else {}
    pg_ctl = [str(server.binaries.program("pg_ctl")), "-D", str(server.data), "-s"]

    def control(*words: str) -> None:
        subprocess.run([*pg_ctl, *words], check=True, cwd="/", stdout=subprocess.DEVNULL, **switch)

    running = [
        Case("psycopg.connect", lambda: connect(target).close()),
        Case("ensure_embedded, running", lambda: ensure_embedded(settings)),
        Case("pg_ctl status", lambda: control("status")),
    ]
    print_ratios("Finding a server that runs", measure(running, rounds * 4), ["psycopg.connect"])

    options = f"-k {server.socket_dir} -c listen_addresses=''"

    def by_pg_ctl() -> None:
        server.socket_dir.mkdir(mode=0o700, exist_ok=True)
        if account:
            account.own(server.socket_dir)
        control("-w", "start", "-l", str(server.log), "-o", options)

    starting = [
        Case("pg_ctl -w start", by_pg_ctl, server.stop),
        Case("Server.start", server.start, server.stop),
        Case("ensure_embedded, stopped", lambda: ensure_embedded(settings), server.stop),
    ]
    print_ratios("Starting one", measure(starting, rounds), ["pg_ctl -w start"])

    ensure_embedded(settings)
    env = {**os.environ, "DATABASE_URL": ""}
    url = command(*PLIERS, "server", "url", cwd=folder, env=env)
    commands = [
        Case("python -c pass", command(sys.executable, "-c", "pass")),
        Case("server url, running", url),
        Case("server url, stopped", url, server.stop),
    ]
    print_ratios("Commands", measure(commands, rounds), ["python -c pass"])

    fresh = replace(server, data=folder / "fresh" / "data")

    def gone() -> None:
        subprocess.run(["rm", "-rf", fresh.data.parent], check=True)
        fresh.data.parent.mkdir()

    def by_initdb() -> None:
        place = fresh.data.parent / "plain"
        place.mkdir()
        if account:
            account.own(place)
        words = ["-D", str(place), "-U", "postgres", "-A", "trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
        initdb = server.binaries.program("initdb")
        subprocess.run([initdb, *words], check=True, cwd="/", stdout=subprocess.DEVNULL, **switch)

    making = [Case("initdb", by_initdb, gone), Case("Server.initdb", lambda: fresh.initdb(alone=True), gone)]
    print_ratios("Making a cluster", measure(making, max(3, rounds // 3)), ["initdb"])


if __name__ == "__main__":
    main()
