"""Migration folders, and stock yoyo beside ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection
from tests.fix_cli import KEPT, Result


class Write(Protocol):
    def __call__(self, migration_id: str, up: str | bytes, down: str | None = "") -> Path: ...


@pytest.fixture
def write(project: Path) -> Write:
    """Write a migration: ``write("0001_a", "create table a ()", "drop table a")``; down=None: no rollback file."""

    def write(migration_id: str, up: str | bytes, down: str | None = "") -> Path:
        path = project / "migrations" / f"{migration_id}.sql"
        path.write_bytes(up if isinstance(up, bytes) else up.encode())
        if down is not None:
            table = migration_id.partition("_")[2]
            path.with_suffix(".rollback.sql").write_text(down or f"drop table {table};\n")
        return path

    return write


@pytest.fixture
def abc(write: Write) -> list[str]:
    """Three migrations that make the tables a, b and c."""
    for number, table in enumerate("abc", 1):
        write(f"000{number}_{table}", f"create table {table} (id int);\n")
    return ["0001_a", "0002_b", "0003_c"]


def stock_url(target: Target) -> str:
    """The URL of a test's database as stock yoyo takes it."""
    return f"postgresql+psycopg://{target.user}@/{target.dbname}?host={target.host}&port={target.port}"


def start_yoyo(project: Path, target: Target, command: str, *arguments: str) -> subprocess.Popen[str]:
    """Start stock yoyo in a process of its own, in the project's folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "yoyo", command, "-b", "--no-config-file", "-d", stock_url(target), *arguments]
        + ([] if command == "break-lock" else [str(project / "migrations")]),
        cwd=project,
        env={name: os.environ[name] for name in KEPT if name in os.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def yoyo(project: Path, target: Target) -> Callable[..., Result]:
    """Stock yoyo on the same folder and database: ``yoyo("list")``."""

    def run(command: str, *arguments: str) -> Result:
        with start_yoyo(project, target, command, *arguments) as running:
            out, err = running.communicate(timeout=60)
        return Result(running.returncode, out, err)

    return run


def marks(listing: Result) -> dict[str, str]:
    """What ``yoyo list`` says: A (applied) or U by id."""
    assert listing.code == 0, listing.err
    rows = [line.split() for line in listing.out.splitlines()]
    return {row[1]: row[0] for row in rows if len(row) >= 3 and row[0] in ("A", "U")}


def applied_ids(conn: Connection) -> list[str]:
    """The ids in yoyo's table."""
    if conn.execute("select to_regclass('public._yoyo_migration')").fetchone() == (None,):
        return []
    return [row[0] for row in conn.execute("select migration_id from public._yoyo_migration order by 1")]


def tables(conn: Connection) -> set[str]:
    """The tables of the schema public that are the project's own."""
    rows = conn.execute(
        "select tablename from pg_tables where schemaname = 'public' and tablename !~ '^(_yoyo|yoyo|_pliers)'"
    )
    return {row[0] for row in rows}


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
