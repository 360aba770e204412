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


def compare(calls: Sequence[tuple[str, Call]], *, rounds: int, calls_per_round: int) -> dict[str, list[float]]:
    """Time each call in turn, beginning each round with another one.

    :returns: seconds for one call, by name, round by round.
    """
    times: dict[str, list[float]] = {name: [] for name, _ in calls}
    for number in range(rounds):
        shift = number % len(calls)
        for name, call in [*calls[shift:], *calls[:shift]]:
            begun = time.perf_counter()
            for _ in range(calls_per_round):
                call()
            times[name].append((time.perf_counter() - begun) / calls_per_round)
    return times


def cost(times: dict[str, list[float]], name: str, baseline: str) -> Cost:
    """One name's figures beside a baseline's."""
    ratios = [own / base for own, base in zip(times[name], times[baseline], strict=True)]
    return Cost(name, baseline, statistics.median(times[name]), statistics.median(ratios), min(ratios), max(ratios))


QUERY, CHECKOUT, POOLED = "query, bare connection", "checkout alone", "checkout and query"
BY_HAND, POOLED_BLOCK, RUN = "transaction by hand", "transaction, pool", "run_transaction"


def measure_pool(database: Database, *, rounds: int = 15, calls_per_round: int = 300) -> tuple[Cost, ...]:
    """Measure checkout, query and transaction against a bare connection to the same database.

    :param rounds: how often each is measured; the ratios are taken within a round.
    :param calls_per_round: how many calls make one measurement.
    """
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
        times = compare(calls, rounds=rounds, calls_per_round=calls_per_round)
    pairs = ((QUERY, QUERY), (CHECKOUT, QUERY), (POOLED, QUERY), (BY_HAND, BY_HAND), (POOLED_BLOCK, BY_HAND))
    return tuple(cost(times, name, baseline) for name, baseline in (*pairs, (RUN, BY_HAND)))


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
