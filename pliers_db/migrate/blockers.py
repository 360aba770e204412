"""Who holds the lock that a migration waits for, told while it waits.

A second connection of the pool asks, from a thread of its own: the one that waits cannot.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import psycopg
from psycopg.rows import dict_row

from pliers_db.db import Database
from pliers_db.errors import PliersError
from pliers_db.log import get_logger
from pliers_db.migrate.history import QUERIES
from pliers_db.progress import Reporter
from pliers_db.units import format_duration

log = get_logger(__name__)

_PATIENCE = 0.7  # seconds of waiting before somebody is asked
_EVERY = 0.25


class BlockerWatch:
    """Tells the reporter what a backend waits for. A pool of one connection has none to ask with: silent."""

    def __init__(self, database: Database, backend_pid: int, reporter: Reporter) -> None:
        """:param backend_pid: the backend that runs the migrations."""
        self._database, self._pid, self._reporter = database, backend_pid, reporter
        self._since: float | None = None
        self._what = self._told = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._database.limits.max_size > 1:
            self._thread = threading.Thread(target=self._run, name="pliers-blockers", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Watch the block. :param what: the migration, for the message."""
        self._what, self._told, self._since = what, "", time.monotonic()
        try:
            yield
        finally:
            self._since = None

    @property
    def seen(self) -> str:
        """Who blocked the last watched block, for its error; empty: nobody was seen."""
        return self._told

    def _run(self) -> None:
        while not self._stop.wait(_EVERY):
            since = self._since
            if since is not None and time.monotonic() - since >= _PATIENCE:
                try:
                    self._look()
                except (PliersError, psycopg.Error) as error:
                    log.debug("cannot see who blocks: %s", error)

    def _look(self) -> None:
        with (
            self._database.connection(autocommit=True) as conn,
            conn.cursor(row_factory=dict_row) as cursor,
        ):
            rows = cursor.execute(QUERIES["blockers"], [self._pid]).fetchall()
        text = "; ".join(
            f"{row['name']} (pid {row['pid']}, role {row['role']}, {row['state']} for {format_duration(row['age'])})"
            + (f": {' '.join(row['query'].split())[:80]}" if row["query"] else "")
            for row in rows
        )
        # Ages change from look to look; the same sessions are told once.
        if rows and self._since is not None and not self._told:
            self._reporter.info(f"{self._what} waits for {text}")
        if rows:
            self._told = text
