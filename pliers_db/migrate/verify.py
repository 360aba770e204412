"""Proving that migrations can be undone: taken up, down and up again on a bench."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

from pliers_db.config import Target
from pliers_db.errors import BadMigration
from pliers_db.migrate.bench import Bench, DoesNotRun, open_bench
from pliers_db.migrate.engine import check_files
from pliers_db.migrate.files import Folder, RollbackFile
from pliers_db.migrate.parser import check
from pliers_db.migrate.roundtrip import (
    Finding,
    Moment,
    Result,
    State,
    Trip,
    Verdict,
    Verification,
    judge,
    no_way_back,
    plan_trial,
    verdict,
)
from pliers_db.progress import SILENT, Reporter


def verify(
    folder: Folder,
    asked: Collection[str],
    *,
    database: str = "verify",
    scratch: Target | None = None,
    reporter: Reporter = SILENT,
) -> Verification:
    """Take migrations up, down and up again on a scratch server, and compare what is there.

    :param asked: their ids; those before them are applied only.
    :param database: name of the database on the scratch server.
    :param scratch: a server to use instead.
    :raises InputError: a file holds what cannot work; nothing was run.
    """
    trips = plan_trial(folder, asked)
    if not trips:
        return Verification(())
    check_files([trip.file for trip in trips])
    begun = time.perf_counter()
    with open_bench(database, scratch, reporter) as bench:
        trial = _Trial(bench, trips)
        with reporter.task("Verifying", total=len(trips), unit="migrations") as task:
            for number in range(len(trips)):
                trial.next(number)
                task.advance()
        return Verification(tuple(trial.verdicts), bench.version, time.perf_counter() - begun)


class _Trial:
    """A trial that is under way."""

    def __init__(self, bench: Bench, trips: tuple[Trip, ...]) -> None:
        self.bench = bench
        self.trips = trips
        self.verdicts: list[Verdict] = []
        self._state: State | None = None
        """What is there, where it is known."""
        self._spoilt = False
        """What is there is not what going up only would have made."""
        self._stopped_at = ""

    def next(self, number: int) -> None:
        """Try one migration."""
        trip, begun = self.trips[number], time.perf_counter()
        found: Verdict | None
        if self._stopped_at:
            found = Verdict(trip.file.id, Result.CANNOT_VERIFY, reason=f"{self._stopped_at} before it does not run")
        else:
            try:
                if self._spoilt:
                    self._rebuild(number)
                found = self._try(trip)
            except DoesNotRun as error:
                self._stopped_at = trip.file.id
                found = Verdict(trip.file.id, Result.CANNOT_VERIFY, reason=str(error))
        if trip.asked:
            self.verdicts.append(replace(found, seconds=time.perf_counter() - begun))

    def _rebuild(self, number: int) -> None:
        self.bench.renew()
        for trip in self.trips[:number]:
            self.bench.run(trip.file)
        self._state, self._spoilt = None, False

    def _try(self, trip: Trip) -> Verdict:
        """:raises DoesNotRun: it cannot be applied."""
        if not trip.there_and_back or trip.undo is None:
            self.bench.run(trip.file)
            self._state = None
            return no_way_back(trip)
        before = self._state or self.bench.state()
        self.bench.run(trip.file)
        after = self.bench.state()
        findings = self._back_and_again(trip, trip.undo, before, after)
        self._spoilt = any(not f.warning for f in findings)
        return verdict(trip, findings)

    def _back_and_again(self, trip: Trip, undo: RollbackFile, before: State, after: State) -> list[Finding]:
        try:
            check(undo.path, undo.text, transactional=undo.transactional)
            self.bench.run(undo)
        except (BadMigration, DoesNotRun) as error:
            told = str(error).replace(f"{undo.path.parent}/", "")
            return [Finding(Moment.ROLLBACK, f"the rollback fails: {told}")]
        findings = list(judge(trip.file, Moment.ROLLBACK, before, self.bench.state()))
        try:
            self.bench.run(trip.file)
        except DoesNotRun as error:
            return [*findings, Finding(Moment.AGAIN, f"it cannot be applied again after its rollback: {error}")]
        self._state = self.bench.state()
        # What the rollback has left or lost is left or lost after up again, too: said once.
        said = {_what(f) for f in findings}
        again = judge(trip.file, Moment.AGAIN, after, self._state)
        return [*findings, *(f for f in again if _what(f) not in said)]


def _what(finding: Finding) -> tuple[str, ...]:
    difference = finding.difference
    return (difference.change, difference.kind, difference.path, difference.field) if difference else ()
