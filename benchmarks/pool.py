"""What the pools cost beside a bare psycopg connection, psycopg's own pools and a connection for each call.

    python benchmarks/pool.py [--blocks 5] [--rounds 10] [--calls 100] [--tcp] [--only calls tasks …]

Aims: checkout and query at most 1.15x the bare query, run_transaction at most 1.1x a transaction by hand, and a
checkout, which is tracked against leaks, at most 1.2x a checkout from psycopg's own pool.

The bare connection is psycopg's, in autocommit; it runs the same statement in the same way (``conn.execute``, prepared
after the fifth time). By hand means ``with conn.transaction()``. Two connections that do the same differ by percents
(their server processes lie differently in memory), so each block opens new ones. Client and server share one core:
between two, a round trip takes 20 or 80 microseconds as the scheduler wills. Every ratio is taken within a round; shown
are the median, the range, the ratio of the fastest rounds (best: while nothing else ran) and the median ratio of
processor time (cpu).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType

import psycopg
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, ConnectionPool, NullConnectionPool

from pliers_db.aio import AsyncConnection, AsyncDatabase
from pliers_db.aio import run_transaction as run_transaction_async
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Connection, Database, connect
from pliers_db.db.bench import (
    BASELINES,
    BY_HAND,
    CHECKOUT,
    POOLED,
    POOLED_BLOCK,
    QUERY,
    RUN,
    Sample,
    Samples,
    compare,
    cost,
    sample_pool,
)
from pliers_db.db.connect import startup
from pliers_db.postgres import Server, scratch_server

LIMITS = PoolSettings(min_size=4, max_size=10)
READ = (
    "select oid, relname from pg_class limit 1"  # unlike `select 1`, it can have called anything: the session is wiped
)


class Options(argparse.Namespace):
    """The command line."""

    blocks: int
    rounds: int
    calls: int
    tcp: bool
    all_cores: bool
    only: list[str]


def in_blocks(options: Options, block: Callable[[], Samples]) -> Samples:
    """Measure again and again, each time with new connections."""
    samples: Samples = {}
    for _ in range(options.blocks):
        for name, own in block().items():
            samples.setdefault(name, []).extend(own)
    return samples


def show(title: str, samples: Samples, baselines: dict[str, str]) -> None:
    print(f"\n{title}\n  {'':<26} median us   ratio  [range]         best    cpu   to")
    for name, baseline in baselines.items():
        c = cost(samples, name, baseline)
        extent = f"[{c.lowest:.2f}..{c.highest:.2f}]"
        figures = (
            f"{c.seconds * 1e6:9.1f}  {c.ratio:6.2f}  {extent:<14} {c.best:5.2f}  {c.cpu:5.2f}   {baseline.strip()}"
        )
        print(f"  {name:<26} {figures}", flush=True)


class Least:
    """The least that a pool can do in Python: a ``with`` block, and a deque."""

    def __init__(self, conn: Connection) -> None:
        self.resting = deque([conn])

    def connection(self) -> Loan:
        return Loan(self)


class Loan:
    """One loan of the least pool."""

    __slots__ = ("_conn", "_pool")

    def __init__(self, pool: Least) -> None:
        self._pool = pool

    def __enter__(self) -> Connection:
        self._conn = self._pool.resting.pop()
        return self._conn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.resting.append(self._conn)


@contextmanager
def their_pool(target: Target) -> Iterator[ConnectionPool[Connection]]:
    """psycopg's pool, as large as ours."""
    kwargs = {**target.parameters(), "autocommit": True}
    with ConnectionPool(kwargs=kwargs, min_size=4, max_size=10, open=True) as pool:
        pool.wait()
        yield pool


def calls(target: Target, options: Options) -> None:
    """Ours, theirs and the least beside a bare connection."""
    theirs, least = "psycopg's pool", "the least a pool can do"
    read, pooled_read = "read, bare connection", "checkout and read, wiped"

    def block() -> Samples:
        with Database(target, LIMITS) as database, connect(target) as bare, their_pool(target) as pool:
            smallest = Least(bare)

            def with_theirs() -> None:
                with pool.connection() as conn:
                    conn.execute("select 1")

            def with_least() -> None:
                with smallest.connection() as conn:
                    conn.execute("select 1")

            def with_ours() -> None:
                with database.connection(autocommit=True) as conn:
                    conn.execute(READ)

            samples = sample_pool(database, rounds=options.rounds, calls_per_round=options.calls)
            beside = [
                (QUERY, lambda: bare.execute("select 1")),
                (theirs, with_theirs),
                (least, with_least),
                (read, lambda: bare.execute(READ)),
                (pooled_read, with_ours),
            ]
            compare(beside, rounds=1, calls_per_round=options.calls)
            more = compare(beside, rounds=options.rounds, calls_per_round=options.calls)
            return {**samples, **{f"{name} ": own for name, own in more.items()}}

    samples = in_blocks(options, block)
    show("The pool beside a bare connection", samples, BASELINES)
    baselines = {theirs: QUERY, least: QUERY, read: read, pooled_read: read}
    show("Beside it", samples, {f"{name} ": f"{base} " for name, base in baselines.items()})


def checkout(target: Target, options: Options) -> None:
    """A checkout with our clean-up and leak tracking beside psycopg's pool."""
    theirs, ours = "psycopg's pool", "ours, leaks tracked"

    def block() -> Samples:
        with Database(target, LIMITS) as database, their_pool(target) as pool:

            def plain() -> None:
                with pool.connection():
                    return

            def tracked() -> None:
                with database.connection(autocommit=True):
                    return

            names = [(theirs, plain), (ours, tracked)]
            compare(names, rounds=1, calls_per_round=options.calls)
            return compare(names, rounds=options.rounds, calls_per_round=options.calls * 10)

    show("A checkout alone", in_blocks(options, block), {theirs: theirs, ours: theirs})


async def compare_tasks(calls: list[tuple[str, Callable[[], Awaitable[object]]]], rounds: int, each: int) -> Samples:
    """`compare`, for what is awaited."""
    samples: Samples = {name: [] for name, _ in calls}
    for number in range(rounds):
        shift = number % len(calls)
        for name, call in [*calls[shift:], *calls[:shift]]:
            begun, cpu = time.perf_counter(), time.process_time()
            for _ in range(each):
                await call()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - begun
            samples[name].append(Sample(wall / each, cpu / each))
    return samples


def tasks(target: Target, options: Options) -> None:
    """The async pool beside a bare async connection, in one event loop."""
    theirs = "psycopg's pool"

    async def block() -> Samples:
        kwargs = {**target.parameters(), "autocommit": True}
        async with (
            AsyncDatabase(target, LIMITS) as database,
            await psycopg.AsyncConnection.connect(**startup(target, application_name="bare")) as bare,
            AsyncConnectionPool(kwargs=kwargs, min_size=4, max_size=10, open=False) as pool,
        ):
            await pool.wait()

            async def by_hand() -> None:
                async with bare.transaction():
                    await bare.execute("select 1")

            async def checkout() -> None:
                async with database.connection(autocommit=True):
                    return

            async def with_ours() -> None:
                async with database.connection(autocommit=True) as conn:
                    await conn.execute("select 1")

            async def with_theirs() -> None:
                async with pool.connection() as conn:
                    await conn.execute("select 1")

            async def in_block() -> None:
                async with database.connection() as conn:
                    await conn.execute("select 1")

            async def select(conn: AsyncConnection) -> None:
                await conn.execute("select 1")

            names: list[tuple[str, Callable[[], Awaitable[object]]]] = [
                (QUERY, lambda: bare.execute("select 1")),
                (CHECKOUT, checkout),
                (POOLED, with_ours),
                (BY_HAND, by_hand),
                (POOLED_BLOCK, in_block),
                (RUN, lambda: run_transaction_async(database, select)),
                (theirs, with_theirs),
            ]
            await compare_tasks(names, 1, options.calls)
            return await compare_tasks(names, options.rounds, options.calls)

    samples = in_blocks(options, lambda: asyncio.run(block()))
    show("The async pool beside a bare async connection", samples, {**BASELINES, theirs: QUERY})


def json(target: Target, options: Options) -> None:
    """Documents of JSONB, parsed by the standard library and by orjson."""
    import orjson

    standard, faster = "500 documents, standard library", "500 documents, orjson"
    query = (
        "select jsonb_build_object('id', i, 'name', 'form ' || i, 'tags', array['a', 'b', 'c'], 'answers',"
        " (select jsonb_object_agg('question ' || n, md5((i * n)::text)) from generate_series(1, 10) n))"
        " from generate_series(1, 500) i"
    )

    def block() -> Samples:
        with connect(target) as plain, connect(target) as quick:
            set_json_loads(orjson.loads, quick)
            for conn in (plain, quick):
                conn.execute(f"create temp table documents as {query}")  # type: ignore[call-overload]
            names: list[tuple[str, Callable[[], object]]] = [
                (standard, lambda: plain.execute("select * from documents").fetchall()),
                (faster, lambda: quick.execute("select * from documents").fetchall()),
            ]
            compare(names, rounds=1, calls_per_round=6)
            return compare(names, rounds=options.rounds, calls_per_round=6)

    show("JSONB, on a bare connection", in_blocks(options, block), {standard: standard, faster: standard})


def alternatives(target: Target, options: Options) -> None:
    """What people do without a pool."""

    def block() -> Samples:
        with (
            Database(target, LIMITS) as database,
            connect(target) as bare,
            NullConnectionPool(kwargs={**target.parameters(), "autocommit": True}, max_size=10, open=True) as null,
        ):

            def ours() -> None:
                with database.connection(autocommit=True) as conn:
                    conn.execute("select 1")

            def each_call() -> None:
                with psycopg.connect(**target.parameters(), autocommit=True) as conn:
                    conn.execute("select 1")

            def null_pool() -> None:
                with null.connection() as conn:
                    conn.execute("select 1")

            names: list[tuple[str, Callable[[], object]]] = [
                (QUERY, lambda: bare.execute("select 1")),
                ("our pool", ours),
                ("NullConnectionPool", null_pool),
                ("connect for each call", each_call),
            ]
            compare(names, rounds=1, calls_per_round=10)
            return compare(names, rounds=max(2, options.rounds // 3), calls_per_round=10)

    samples = in_blocks(options, block)
    show("Without a pool", samples, dict.fromkeys(samples, QUERY))


def threads(target: Target, options: Options) -> None:
    """Queries per second of many threads on our ten connections, and of as many bare connections, ten at the most."""
    print("\nThreads on ten connections: queries per second, ratio to bare connections")
    with Database(target, LIMITS) as database:
        for count in (1, 5, 10, 20, 50):
            pairs = [_crowd(database, target, count, 2000 // count) for _ in range(options.blocks)]
            ratios = sorted(ours / bare for ours, bare in pairs)
            print(
                f"  {count:3} threads  {ratios[len(ratios) // 2]:6.2f}x [{ratios[0]:.2f}..{ratios[-1]:.2f}]", flush=True
            )


def _crowd(database: Database, target: Target, count: int, calls: int) -> tuple[float, float]:
    few = min(count, 10)
    start = threading.Barrier(count + 1), threading.Barrier(few + 1)

    def pooled() -> None:
        start[0].wait()
        for _ in range(calls):
            with database.connection(autocommit=True) as conn:
                conn.execute("select 1")

    def bare() -> None:
        with connect(target) as conn:
            start[1].wait()
            for _ in range(calls * count // few):
                conn.execute("select 1")

    def run(work: Callable[[], None], workers: int, barrier: threading.Barrier) -> float:
        them = [threading.Thread(target=work) for _ in range(workers)]
        for one in them:
            one.start()
        barrier.wait()
        begun = time.perf_counter()
        for one in them:
            one.join()
        return count * calls / (time.perf_counter() - begun)

    return run(pooled, count, start[0]), run(bare, few, start[1])


def over_tcp(server: Server) -> Target:
    """Start it again, listening on 127.0.0.1."""
    server.stop()
    (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    running = replace(server, port=port, settings={**server.settings, "listen_addresses": "127.0.0.1"})
    running.start()
    return replace(running.target(), host="127.0.0.1")


PARTS = {
    "calls": calls,
    "tasks": tasks,
    "checkout": checkout,
    "json": json,
    "without": alternatives,
    "threads": threads,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5, help="how often with new connections")
    parser.add_argument("--rounds", type=int, default=10, help="in each block")
    parser.add_argument("--calls", type=int, default=100, help="in each round")
    parser.add_argument("--tcp", action="store_true", help="through 127.0.0.1 instead of a Unix socket")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--all-cores", action="store_true", help="let client and server move between cores")
    options = parser.parse_args(namespace=Options())
    if not options.all_cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with scratch_server() as server:
        target = over_tcp(server) if options.tcp else server.target()
        print(
            f"through {'TCP' if options.tcp else 'a Unix socket'}, {options.blocks} blocks of {options.rounds} rounds"
        )
        for part in options.only:
            PARTS[part](target, options)


if __name__ == "__main__":
    main()
