"""What the pool costs beside a bare psycopg connection, psycopg's own pools and a connection for each call.

    python benchmarks/pool.py [--rounds 15] [--calls 300]

Aims: checkout and query at most 1.15x the bare query, run_transaction at most 1.1x a transaction by hand, and a
checkout, which is tracked against leaks, at most 1.2x a checkout from psycopg's own pool.
"""

from __future__ import annotations

import argparse
import threading
import time

import psycopg
from psycopg_pool import ConnectionPool, NullConnectionPool

from pliers_db.config import PoolSettings, Target
from pliers_db.db import Database, connect
from pliers_db.db.bench import Cost, compare, cost, measure_pool
from pliers_db.postgres import scratch_server

LIMITS = PoolSettings(min_size=4, max_size=10)


def show(title: str, costs: list[Cost]) -> None:
    print(f"\n{title}")
    width = max(len(c.name) for c in costs)
    for c in costs:
        figures = f"median {c.seconds * 1e6:8.1f} us   {c.ratio:6.2f}x {c.baseline} [{c.lowest:.2f}..{c.highest:.2f}]"
        print(f"  {c.name:<{width}}  {figures}")


def checkouts(database: Database, target: Target, rounds: int, calls: int) -> list[Cost]:
    """A checkout with our clean-up and leak tracking beside psycopg's pool, without and with a reset."""

    def ours() -> None:
        with database.connection(autocommit=True):
            return

    def plain() -> None:
        with pool.connection():
            return

    with ConnectionPool(kwargs={**target.parameters(), "autocommit": True}, min_size=4, max_size=10, open=True) as pool:
        pool.wait()
        names = [("psycopg's pool", plain), ("ours, leaks tracked", ours)]
        compare(names, rounds=1, calls_per_round=calls)
        times = compare(names, rounds=rounds, calls_per_round=calls * 10)
    return [cost(times, name, "psycopg's pool") for name, _ in names]


def alternatives(database: Database, target: Target, rounds: int) -> list[Cost]:
    """What people do without a pool."""

    def ours() -> None:
        with database.connection(autocommit=True) as conn:
            conn.execute("select 1")

    def each_call() -> None:
        with psycopg.connect(**target.parameters(), autocommit=True) as conn:
            conn.execute("select 1")

    def null_pool() -> None:
        with null.connection() as conn:
            conn.execute("select 1")

    with (
        connect(target) as bare,
        NullConnectionPool(kwargs={**target.parameters(), "autocommit": True}, max_size=10, open=True) as null,
    ):
        names = [
            ("bare connection", lambda: bare.execute("select 1")),
            ("our pool", ours),
            ("NullConnectionPool", null_pool),
            ("connect for each call", each_call),
        ]
        times = compare(names, rounds=rounds, calls_per_round=20)
    return [cost(times, name, "bare connection") for name, _ in names]


def crowd(database: Database, target: Target, threads: int, calls: int) -> tuple[float, float]:
    """Queries per second of many threads on our ten connections, and of as many bare connections, ten at the most."""

    def pooled() -> None:
        for _ in range(calls):
            with database.connection(autocommit=True) as conn:
                conn.execute("select 1")

    def bare() -> None:
        with connect(target) as conn:
            start.wait()
            for _ in range(calls * threads // count):
                conn.execute("select 1")

    workers = [threading.Thread(target=pooled) for _ in range(threads)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ours = threads * calls / (time.perf_counter() - begun)
    count = min(threads, 10)
    start = threading.Barrier(count + 1)
    workers = [threading.Thread(target=bare) for _ in range(count)]
    for worker in workers:
        worker.start()
    start.wait()
    begun = time.perf_counter()
    for worker in workers:
        worker.join()
    return ours, count * (calls * threads // count) / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=300)
    options = parser.parse_args()
    with scratch_server() as server:
        target = server.target()
        with Database(target, LIMITS) as database:
            costs = measure_pool(database, rounds=options.rounds, calls_per_round=options.calls)
            show("The pool beside a bare connection", list(costs))
            show("A checkout alone", checkouts(database, target, options.rounds, options.calls))
            show("Without a pool", alternatives(database, target, options.rounds))
            print("\nThreads on ten connections: queries per second, ratio to bare connections")
            for threads in (1, 5, 10, 20, 50):
                pairs = [crowd(database, target, threads, 2000 // threads) for _ in range(5)]
                ratios = sorted(ours / bare for ours, bare in pairs)
                print(f"  {threads:3} threads  {ratios[2]:6.2f}x [{ratios[0]:.2f}..{ratios[-1]:.2f}]")


if __name__ == "__main__":
    main()
