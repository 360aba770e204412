"""Timing whole commands so that the figures can be compared: interleaved rounds, medians, ratios to a baseline.

Absolute times mean nothing on a shared machine; every benchmark here prints ratios measured in one run.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One thing to time: ``run`` is timed, ``prepare`` before it is not."""

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


def command(
    *words: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, code: int = 0
) -> Callable[[], None]:
    """A case's ``run`` for a process; it must end with ``code``."""

    def run() -> None:
        done = subprocess.run(list(words), cwd=cwd, env=env, capture_output=True, stdin=subprocess.DEVNULL)
        if done.returncode != code:
            raise SystemExit(f"{words}: exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}")

    return run


def measure(cases: Sequence[Case], rounds: int) -> dict[str, list[float]]:
    """Time every case once a round, in turn, beginning each round with another one.

    :returns: seconds by case name, in order of rounds.
    """
    times: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(rounds):
        shift = number % len(cases)
        for case in [*cases[shift:], *cases[:shift]]:
            case.prepare()
            begun = time.perf_counter()
            case.run()
            times[case.name].append(time.perf_counter() - begun)
    return times


def print_ratios(title: str, times: Mapping[str, Sequence[float]], baselines: Sequence[str]) -> None:
    """Print each case's median and its ratio to each baseline: the median of the rounds' ratios, with their range."""
    print(f"\n{title} ({len(next(iter(times.values())))} rounds)")
    width = max(map(len, times))
    for name, own in times.items():
        parts = [f"  {name:<{width}}  median {statistics.median(own) * 1000:8.1f} ms"]
        for baseline in baselines:
            ratios = [a / b for a, b in zip(own, times[baseline], strict=True)]
            parts.append(f"{statistics.median(ratios):6.2f}x {baseline} [{min(ratios):.2f}..{max(ratios):.2f}]")
        print("   ".join(parts))
