"""The server is killed with -9 under load: what was acknowledged is there once, nothing twice, and life goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import psycopg
import pytest

from pliers_db import Database, RetryPolicy, run_transaction
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Connection, connect
from pliers_db.errors import PliersError
from pliers_db.postgres import Server
from tests.fix_proxy import FaultProxy
from tests.fix_tcp import tcp_server, tcp_target

WORKERS = 8
# The scratch server's own settings would lose acknowledged transactions: that is what they are for.
DURABLE = {"synchronous_commit": "on", "full_page_writes": "on", "restart_after_crash": "on"}
PATIENT = RetryPolicy(attempts=1000, base=0.05, cap=0.3, deadline=60.0)


class Load:
    """Workers that write numbered rows until told to stop, and remember what was acknowledged."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.acknowledged: list[tuple[int, int]] = []
        self.unknown: list[tuple[int, int]] = []
        self.wrong: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=[number]) for number in range(WORKERS)]
        for thread in self._threads:
            thread.start()

    def _work(self, worker: int) -> None:
        for number in range(10**9):
            if self._stop.is_set():
                return
            key = (worker, number)

            def write(conn: Connection, key: tuple[int, int] = key) -> None:
                conn.execute("insert into entry values (%s, %s)", key)
                conn.execute("update total set n = n + 1 where worker = %s", [key[0]])

            try:
                run_transaction(self.database, write, exactly_once=True, retry=PATIENT)
            except PliersError:  # the breaker is open, or nobody could tell: not acknowledged
                self.unknown.append(key)
                time.sleep(0.05)
            except BaseException as error:  # noqa: BLE001
                self.wrong.append(error)
                return
            else:
                self.acknowledged.append(key)

    def wait_for_more(self, count: int = 100) -> None:
        """Wait until so many more have been acknowledged."""
        goal = len(self.acknowledged) + count
        deadline = time.monotonic() + 90
        while len(self.acknowledged) < goal and not self.wrong:
            assert time.monotonic() < deadline, "no more transactions come through"
            time.sleep(0.02)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive()


def kill(server: Server) -> None:
    """kill -9, the whole server: first the postmaster, so that nobody can be started again."""
    running = server.live()
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)


def start_again(server: Server) -> None:
    """The old sessions hold the shared memory until they notice that they are orphans."""
    deadline = time.monotonic() + 60
    while True:
        try:
            server.start()
            return
        except PliersError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def crash_a_session(server: Server) -> None:
    """kill -9 one session: the postmaster then ends all of them and recovers."""
    with contextlib.suppress(psycopg.OperationalError), connect(server.target()) as admin:
        row = admin.execute("select pid from pg_stat_activity where usename = 'app' limit 1").fetchone()
        assert row is not None
        os.kill(row[0], signal.SIGKILL)
        admin.execute("select pg_sleep(60)")


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["postmaster", "sessions"])
def test_every_acknowledged_transaction_is_there_once_and_none_twice(victim: str) -> None:
    with tcp_server(DURABLE) as server:
        with connect(tcp_target(server)) as conn:
            conn.execute("create table entry (worker int, number int)")  # no key: a second effect would show
            conn.execute("create table total (worker int primary key, n int not null)")
            conn.execute("insert into total select g, 0 from generate_series(0, %s) g", [WORKERS - 1])
        limits = PoolSettings(min_size=2, max_size=6, checkout_timeout=20.0)
        with Database(tcp_target(server), limits) as database:
            load = Load(database)
            try:
                for _ in range(2):
                    load.wait_for_more()
                    if victim == "postmaster":
                        kill(server)
                        start_again(server)
                    else:
                        crash_a_session(server)
                    load.wait_for_more()
            finally:
                load.stop()
            assert load.wrong == []
            with database.connection() as conn:
                found = Counter(conn.execute("select worker, number from entry").fetchall())
                total = dict(conn.execute("select worker, n from total").fetchall())
        assert not [key for key in load.acknowledged if found[key] != 1]
        assert not [key for key, times in found.items() if times > 1]
        assert set(found) <= set(load.acknowledged) | set(load.unknown)
        assert total == {worker: sum(writer == worker for writer, _ in found) for worker in range(WORKERS)}


@pytest.mark.slow
def test_a_number_that_a_crash_gave_to_somebody_else_is_not_taken_for_ours(
    make_proxy: Callable[[Target], FaultProxy],
) -> None:
    """A crash loses unflushed WAL and with it the last transaction numbers; they are given out again.

    ``pg_xact_status`` then says "committed" of a transaction that never was.
    """
    with tcp_server({**DURABLE, "wal_writer_delay": "10s"}) as server:
        proxy = make_proxy(tcp_target(server))
        with connect(tcp_target(server)) as conn:
            conn.execute("create table entry (number int)")
        calls: list[int] = []  # the number that each attempt had

        def write(conn: Connection) -> None:
            row = conn.execute("insert into entry values (%s) returning pg_current_xact_id()::text", [len(calls) + 1])
            calls.append(int(row.fetchone()[0]))  # type: ignore[index]
            if len(calls) == 1:
                proxy.swallow(b"COMMIT")

        with Database(proxy.target(), PoolSettings(min_size=1, max_size=2, checkout_timeout=20.0)) as database:
            worker = threading.Thread(target=lambda: run_transaction(database, write, exactly_once=True, retry=PATIENT))
            worker.start()
            assert proxy.trapped.wait(30), "COMMIT was sent"
            proxy.refuse()
            kill(server)
            start_again(server)  # here: a server ends with the thread that started it
            with connect(tcp_target(server)) as other:
                burn = "insert into entry values (0) returning pg_current_xact_id()::text"
                numbers = [int(other.execute(burn).fetchone()[0]) for _ in range(20)]  # type: ignore[index]
            proxy.heal()
            worker.join(60)
        assert calls[0] in numbers, "the trap was there: the number was given out again and committed"
        assert len(calls) == 2
        with connect(tcp_target(server)) as conn:
            assert conn.execute("select number from entry where number > 0").fetchall() == [(2,)]
