"""Debian's PgBouncer in transaction mode, in front of the embedded server."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pliers_db.config import Target
from tests.fix_tcp import free_port

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pgbouncer(upstream: Target, *, pool_size: int = 2) -> Iterator[Target]:
    """Run PgBouncer in front of a socket target.

    :param pool_size: server sessions that all clients share.
    :returns: how to connect through it.
    """
    assert PROGRAM is not None
    assert upstream.host is not None
    owner = Path(upstream.host).stat().st_uid  # who may go into the server's socket folder; never root
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bouncer-", dir="/tmp") as name:
        folder = Path(name)
        config = folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={upstream.host} port={upstream.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {pool_size}\nmax_client_conn = 100\n"
            f"logfile = {folder}/log\n"
        )
        # auth_type = any logs everybody in as the user of the database line.
        config.write_text(config.read_text().replace("* = host", f"* = user={upstream.user} host"))
        if os.geteuid() == 0:
            for path in (folder, config):
                os.chown(path, owner, pwd.getpwuid(owner).pw_gid)
        process = subprocess.Popen(
            [PROGRAM, config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **({"user": owner, "group": pwd.getpwuid(owner).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}),
        )
        try:
            through = replace(upstream, host="127.0.0.1", port=str(port))
            _wait(through, process, folder / "log")
            yield through
        finally:
            process.kill()
            process.wait()


def _wait(target: Target, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            psycopg.connect(**target.parameters()).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PgBouncer did not start: {log.read_text() if log.exists() else 'no log'}")
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def make_bouncer() -> Iterator[Callable[[Target], Target]]:
    """Put a PgBouncer (transaction mode, two server sessions) before a target."""
    if PROGRAM is None:
        if os.environ.get("PLIERS_REQUIRE_PG15"):
            pytest.fail("pgbouncer is missing")
        pytest.skip("no pgbouncer here: apt-get install pgbouncer")
    with ExitStack() as stack:
        yield lambda upstream: stack.enter_context(pgbouncer(upstream))


@pytest.fixture
def bounced(target: Target, make_bouncer: Callable[[Target], Target]) -> Target:
    """This test's own database, through PgBouncer."""
    return make_bouncer(target)
