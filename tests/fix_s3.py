"""A server on loopback that speaks the protocol of S3: moto's, in a process of its own."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pliers_db.backup import Remote, Store
from tests.fix_tcp import free_port

SECRET = "s3cr3t-which-nobody-may-see"
_buckets = itertools.count(1)


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own, and how to reach it."""

    url: str
    variables: dict[str, str]

    @property
    def remote(self) -> Remote:
        return Remote(Store(self.url, self.variables))

    @property
    def store(self) -> Store:
        return self.remote.store

    def unfinished(self) -> int:
        """Uploads that were begun and neither completed nor given up."""
        place = f"{self.variables['AWS_ENDPOINT_URL']}/{self.url.split('/')[2]}?uploads"
        with urllib.request.urlopen(place, timeout=10) as answer:
            return int(answer.read().count(b"<Upload>"))

    def names(self) -> list[str]:
        return sorted(each.path for each in self.store.objects())


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Its endpoint."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "moto's server has ended"
                assert time.monotonic() < end, "moto's server does not answer"
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.kill()


@pytest.fixture
def bucket(s3: str) -> Bucket:
    """An empty one."""
    name = f"bucket{next(_buckets)}"
    urllib.request.urlopen(urllib.request.Request(f"{s3}/{name}", method="PUT"), timeout=10).close()
    return Bucket(
        f"s3://{name}/backups",
        {
            "AWS_ENDPOINT_URL": s3,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        },
    )
