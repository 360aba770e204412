"""The connections behind `AsyncDatabase`.

A pool of its own, not psycopg's: there, giving back waits for a lock and so can itself be cancelled (psycopg_pool
#1401). Here everything runs in one event loop and nothing that moves a connection waits, so no cancellation can come
between; what takes time (connecting, cleaning up after a cancelled task) is done by tasks that nobody cancels.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

import psycopg
from psycopg import generators, waiting
from psycopg.abc import AdaptContext
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from pliers_db.aio.connection import GRACE, PooledConnection
from pliers_db.config import PoolSettings, Target
from pliers_db.db.connect import explain
from pliers_db.db.lent import NOTHING, SESSION
from pliers_db.db.pgbouncer import Passage, noticed
from pliers_db.db.session import check_wipe, send_wipe
from pliers_db.db.supply import FRESH, IDLE
from pliers_db.db.transaction import rollback
from pliers_db.errors import ConnectFailed
from pliers_db.log import get_logger

log = get_logger(__name__)
GOOD: Final = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)

_CONNECTING: Final = 3  # connects at a time, as psycopg's pool has workers: a burst of borrowers is no storm of logins
_CONNECT: Final = "connect"
_Waiter = asyncio.Future[PooledConnection]


class AsyncSupply:
    """Opens connections, lends them, takes them back clean. Belongs to one event loop."""

    def __init__(
        self,
        target: Target,
        limits: PoolSettings,
        application_name: str,
        *,
        on_open: Callable[[PooledConnection], None],
        adapters: AdaptContext | None = None,
    ) -> None:
        """:param on_open: called with each new connection."""
        self.loop = asyncio.get_running_loop()
        self.connected = self.failed = self.hung_up = self.unclean = 0
        self._target = target
        self._limits = limits
        self._passage = Passage(target, limits, application_name, adapters)
        self._on_open = on_open
        self._closed = False
        self._size = 0  # connections that are open, being opened or being cleaned
        self._coming = 0  # of these, being opened
        self._cleaning = 0  # of these, being cleaned
        self._idle: deque[PooledConnection] = deque()
        self._waiting: deque[_Waiter] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._shrinking = self.loop.call_later(limits.idle_timeout / 2, self._shrink)

    def get_stats(self) -> dict[str, int]:
        """The figures that psycopg's pool calls so."""
        return {
            "pool_size": self._size,
            "pool_available": len(self._idle),
            "requests_waiting": len(self._waiting),
        }

    # ── lending ─────────────────────────────────────────────────────────────────────────────────────────────
    def ready(self, now: float) -> PooledConnection | None:
        """A connection that can be lent as it is, if there is one; without waiting. Otherwise see `take`.

        The last one back serves best: its server process is warm.
        """
        idle = self._idle
        if idle and now < idle[-1].fit_until and self.loop is asyncio.get_running_loop():
            return idle.pop()
        return None

    async def take(self, now: float, timeout: float) -> PooledConnection:
        """Take a connection that is alive and clean.

        :param now: by ``time.monotonic``.
        :param timeout: seconds to wait for one.
        :raises ConnectFailed: the server cannot be reached, and no connection is left to wait for.
        :raises PoolTimeout, TooManyRequests, PoolClosed: there is none to be had.
        """
        deadline = now + timeout
        while True:
            idle = self._idle  # one whose clean-up may take its time is passed over, where another one rests
            conn = (
                (idle.popleft() if idle[-1].wiping is SESSION else idle.pop()) if idle else await self._queue(deadline)
            )
            try:
                if conn.wiping:
                    await self._wiped(conn, deadline)
                elif now >= conn._expire_at:
                    raise psycopg.OperationalError("it has lived long enough")
                elif now >= conn.fit_until and conn.dead():
                    raise psycopg.OperationalError("the server has hung up")
            except psycopg.Error as error:
                log.info("replacing a connection: %s", error)
                self.hung_up += bool(conn.wiping) or now < conn._expire_at
                self.discard(conn)
                now = time.monotonic()
                if now >= deadline:
                    raise PoolTimeout from None
            except BaseException:
                self._hand_on(conn)  # cancelled: the next one goes on waiting for the clean-up
                raise
            else:
                return conn

    async def _queue(self, deadline: float) -> PooledConnection:
        """Wait in line for a connection."""
        most = self._limits.max_waiting
        if self._closed:
            raise PoolClosed
        if most and len(self._waiting) >= most:
            raise TooManyRequests
        waiter: _Waiter = self.loop.create_future()
        self._waiting.append(waiter)
        self._grow()
        timer = self.loop.call_later(max(0.0, deadline - time.monotonic()), self._expire, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
            elif waiter.exception() is None:
                self._hand_on(waiter.result())  # it was ours already
            raise
        finally:
            timer.cancel()

    def _expire(self, waiter: _Waiter) -> None:
        if not waiter.done():
            self._waiting.remove(waiter)
            waiter.set_exception(PoolTimeout())

    def _hand_on(self, conn: PooledConnection) -> None:
        """A connection is free: for the first in line, or to rest."""
        if self._closed:
            self._lose(conn)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(conn)
                return
        self._idle.append(conn)

    async def _wiped(self, conn: PooledConnection, deadline: float) -> None:
        """Wait for the end of the clean-up that was sent when the connection came back."""
        pgconn = conn.pgconn
        pgconn.consume_input()  # mostly it is there by now
        timer = self.loop.call_later(max(0.0, deadline - time.monotonic()), conn.cut)
        try:
            results = await waiting.wait_async(generators.fetch_many(pgconn), pgconn.socket, interval=0.1)
        finally:
            timer.cancel()
        if failed := [result for result in results if result.status not in GOOD]:
            raise psycopg.errors.error_from_result(failed[0])
        check_wipe(conn)
        if conn._notifies_backlog:
            conn._notifies_backlog.clear()  # what the last borrower listened to is none of the next one's business
        conn.wiping = NOTHING

    # ── connecting ──────────────────────────────────────────────────────────────────────────────────────────
    def _grow(self) -> None:
        """Open what is needed: for those in line whom no connection under way will serve, and up to the minimum."""
        while (
            not self._closed
            and self._size < self._limits.max_size
            and self._coming < _CONNECTING
            and (self._coming + self._cleaning < len(self._waiting) or self._size < self._limits.min_size)
        ):
            self._size += 1
            self._coming += 1
            self._spawn(self._open(), _CONNECT)

    async def _open(self) -> None:
        try:
            conn = await self._arrive()
        except psycopg.Error as error:
            refused = await asyncio.to_thread(explain, error, self._target)  # it pings, and may look at certificates
            self._give_up(refused)
            return
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits for the news
            self._give_up(error)
            return
        conn.supply = self
        # With some randomness, so that not all are replaced at the same moment; as psycopg's pool does.
        conn._expire_at = time.monotonic() + self._limits.max_lifetime * random.uniform(0.9, 1.0)
        self._on_open(conn)
        self._coming -= 1
        self.connected += 1
        self._hand_on(conn)
        self._grow()

    async def _arrive(self) -> PooledConnection:
        """Connect, and find out what stands between."""
        passage = self._passage
        try:
            conn = await PooledConnection.connect(**passage.parameters)
        except psycopg.OperationalError as error:
            if not passage.refuses(error):
                raise
            conn = await PooledConnection.connect(**passage.parameters)
        if passage.pooled is None:
            passage.pooled = await psycopg.AsyncConnection.wait(conn, noticed(conn))
        conn.prepare(self._limits, passage)
        return conn

    def _give_up(self, refused: Exception) -> None:
        """Free the slot and, if no connection can come any more, tell everybody who waits."""
        log.warning("connect failed: %s: %s", refused, getattr(refused, "why", ""))
        self.failed += 1
        self._coming -= 1
        self._size -= 1
        if self._size:  # others are lent, or under way: one of them will come
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(refused.again() if isinstance(refused, ConnectFailed) else refused)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self.loop.create_task(work, name=f"pliers-db pool: {name}")
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)
        return task

    # ── coming back ─────────────────────────────────────────────────────────────────────────────────────────
    def put(self, conn: PooledConnection, now: float) -> None:
        """Take a lent connection back; never waits.

        :param now: by ``time.monotonic``.
        """
        conn.back_at = now
        if self._closed or self.loop.is_closed():
            self._lose(conn)
            return
        if (
            conn.footprint is NOTHING
            and not (conn.stirred or conn.mending or self._waiting)
            and conn.pgconn.transaction_status == IDLE
            and now < conn._expire_at
            and conn.baseline.stands(conn)
        ):  # nothing to do, as mostly
            conn.fit_until = now + FRESH
            self._idle.append(conn)
            return
        if conn.mending is not None:
            self._cleaning += 1
            self._spawn(self._tidy(conn), "clean up")
            return
        match conn.pgconn.transaction_status:
            case TransactionStatus.IDLE:
                self._clean(conn)
            case TransactionStatus.INTRANS | TransactionStatus.INERROR:
                self._cleaning += 1
                self._spawn(self._tidy(conn), "clean up")
            case TransactionStatus.UNKNOWN:
                self._broken(conn)
            case _:
                self._unclean(conn, "it was returned in the middle of a statement")

    async def _tidy(self, conn: PooledConnection) -> None:
        """Bring to its end what a cancelled task has left."""
        try:
            await conn.mended()
            if conn.pgconn.transaction_status != TransactionStatus.UNKNOWN:
                timer = self.loop.call_later(GRACE, conn.cut)
                try:
                    await conn.perform(rollback(conn), None)
                finally:
                    timer.cancel()
        except asyncio.CancelledError:
            self._closed = True  # nobody else cancels this task than a loop that is ending
            self._lose(conn)
            raise
        except Exception as error:  # noqa: BLE001  whatever it was, the slot must not be lost with it
            self._cleaning -= 1
            self._unclean(conn, str(error))
            return
        self._cleaning -= 1
        match conn.pgconn.transaction_status:
            case TransactionStatus.IDLE:
                self._clean(conn)
            case TransactionStatus.UNKNOWN:
                self._broken(conn)
            case status:
                self._unclean(conn, f"its session is {status.name} after a cancellation")

    def _clean(self, conn: PooledConnection) -> None:
        """Send an idle connection's clean-up off, and make it available."""
        if conn.back_at >= conn._expire_at:
            self._lose(conn)
            return
        conn.fit_until = conn.back_at + FRESH
        try:
            conn.baseline.restore(conn)
            if conn.footprint is not NOTHING:
                if not conn.pooled:
                    send_wipe(conn, conn.footprint)
                    conn.wiping, conn.fit_until = conn.footprint, 0.0
                conn.footprint = NOTHING
        except Exception as error:  # noqa: BLE001  a connection that cannot be cleaned is dropped
            self._unclean(conn, str(error))
        else:
            self._hand_on(conn)

    def _broken(self, conn: PooledConnection) -> None:
        for other in self._idle:  # look at the others before they are lent
            other.fit_until = 0.0
        self._lose(conn)

    def _unclean(self, conn: PooledConnection, why: str) -> None:
        log.warning("dropping a connection that cannot be cleaned: %s", why)
        self.unclean += 1
        self._lose(conn)

    def _lose(self, conn: PooledConnection) -> None:
        if conn.mending is None:
            conn.hang_up()
        else:  # its socket is being waited for
            conn.cut()
            conn.mending.add_done_callback(lambda _: conn.hang_up())
        self._size -= 1
        self._grow()

    def discard(self, conn: PooledConnection) -> None:
        """Close a lent connection; its slot is free for a new one."""
        self._lose(conn)

    def forget(self) -> None:
        """A lent connection was garbage-collected; called from any thread."""

        def forgotten() -> None:
            self._size -= 1
            self._grow()

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(forgotten)

    # ── resting and ending ──────────────────────────────────────────────────────────────────────────────────
    def _shrink(self) -> None:
        """Close what has rested for too long, down to the minimum. The last one back is the first one out, so the
        longest at rest stand in front."""
        self._shrinking = self.loop.call_later(self._limits.idle_timeout / 2, self._shrink)
        now = time.monotonic()
        while self._idle and self._size > self._limits.min_size:
            if now - self._idle[0].back_at < self._limits.idle_timeout:
                break
            self._lose(self._idle.popleft())

    async def close(self) -> None:
        """Close what rests, refuse who waits; what is lent is closed when it comes back."""
        self._closed = True
        self._shrinking.cancel()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(PoolClosed())
        while self._idle:
            self._lose(self._idle.popleft())
        for task in (tasks := list(self._tasks)):
            if task.get_name().endswith(_CONNECT):
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
