"""What the pool costs: its calls beside the same calls on a bare connection, in turn, in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pliers_db.db.connect import Connection, connect
from pliers_db.db.pool import Database
from pliers_db.db.run import run_transaction

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Cost:
    """One way to do something, beside the bare way."""

    name: str
    baseline: str
    seconds: float
    """The median of one call."""
    ratio: float
    """To the baseline: the median of the rounds' ratios."""
    lowest: float
    highest: float
    best: float
    """The ratio of the fastest rounds: what is left of it while other programs keep quiet."""
    cpu: float
    """The median ratio of this process's processor time: other programs hardly touch it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One call, on the average of one round; in seconds."""

    wall: float
    cpu: float


Samples = dict[str, list[Sample]]


def compare(calls: Sequence[tuple[str, Call]], *, rounds: int, calls_per_round: int) -> Samples:
    """Time each call in turn, beginning each round with another one.

    :returns: by name, round by round.
    """
    samples: Samples = {name: [] for name, _ in calls}
    for number in range(rounds):
        shift = number % len(calls)
        for name, call in [*calls[shift:], *calls[:shift]]:
            begun, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls_per_round):
                call()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - begun
            samples[name].append(Sample(wall / calls_per_round, cpu / calls_per_round))
    return samples


def cost(samples: Samples, name: str, baseline: str) -> Cost:
    """One name's figures beside a baseline's."""
    pairs = list(zip(samples[name], samples[baseline], strict=True))
    ratios = [own.wall / base.wall for own, base in pairs]
    cpu = statistics.median(own.cpu / base.cpu for own, base in pairs)
    seconds = statistics.median(own.wall for own, _ in pairs)
    best = min(own.wall for own, _ in pairs) / min(base.wall for _, base in pairs)
    return Cost(name, baseline, seconds, statistics.median(ratios), min(ratios), max(ratios), best, cpu)


QUERY, CHECKOUT, POOLED = "query, bare connection", "checkout alone", "checkout and query"
BY_HAND, POOLED_BLOCK, RUN = "transaction by hand", "transaction, pool", "run_transaction"


BASELINES = {QUERY: QUERY, CHECKOUT: QUERY, POOLED: QUERY, BY_HAND: BY_HAND, POOLED_BLOCK: BY_HAND, RUN: BY_HAND}
"""What is measured, and beside what."""


def measure_pool(database: Database, *, rounds: int = 15, calls_per_round: int = 300) -> tuple[Cost, ...]:
    """Measure checkout, query and transaction against a bare connection to the same database.

    :param rounds: how often each is measured; the ratios are taken within a round.
    :param calls_per_round: how many calls make one measurement.
    """
    samples = sample_pool(database, rounds=rounds, calls_per_round=calls_per_round)
    return tuple(cost(samples, name, baseline) for name, baseline in BASELINES.items())


def sample_pool(database: Database, *, rounds: int, calls_per_round: int) -> Samples:
    """`measure_pool`, before it is summed up."""
    with connect(database.target, application_name=database.application_name) as bare:

        def by_hand() -> None:
            with bare.transaction():
                bare.execute("select 1")

        calls: list[tuple[str, Call]] = [
            (QUERY, lambda: bare.execute("select 1")),
            (CHECKOUT, lambda: _checkout(database)),
            (POOLED, lambda: _pooled(database)),
            (BY_HAND, by_hand),
            (POOLED_BLOCK, lambda: _block(database)),
            (RUN, lambda: run_transaction(database, _select)),
        ]
        compare(calls, rounds=1, calls_per_round=calls_per_round)  # warm: connections open, statements prepared
        return compare(calls, rounds=rounds, calls_per_round=calls_per_round)


def _select(conn: Connection) -> None:
    conn.execute("select 1")


def _checkout(database: Database) -> None:
    with database.connection(autocommit=True):
        return


def _pooled(database: Database) -> None:
    with database.connection(autocommit=True) as conn:
        conn.execute("select 1")


def _block(database: Database) -> None:
    with database.connection() as conn:
        conn.execute("select 1")
