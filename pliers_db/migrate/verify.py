"""Proving that migrations can be undone: taken up, down and up again on a bench."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from pliers_db.catalog import Content, Snapshot, contents
from pliers_db.config import Target
from pliers_db.errors import BadMigration
from pliers_db.migrate.bench import Bench, DoesNotRun, open_bench
from pliers_db.migrate.engine import check_files
from pliers_db.migrate.files import Folder, MigrationFile, RollbackFile
from pliers_db.migrate.filling import Filler
from pliers_db.migrate.losses import changed_tables, empty_columns, judge_rows, shared_columns
from pliers_db.migrate.parser import check
from pliers_db.migrate.roundtrip import (
    Finding,
    Moment,
    Result,
    Rows,
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

_NOT_NULL_VIOLATION = "23502"


def verify(
    folder: Folder,
    asked: Collection[str],
    *,
    database: str = "verify",
    rows: bool = False,
    scratch: Target | None = None,
    reporter: Reporter = SILENT,
) -> Verification:
    """Take migrations up, down and up again on a scratch server, and compare what is there.

    :param asked: their ids; those before them are applied only.
    :param rows: put rows into the tables before each of them, and compare what they hold, too.
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
        trial = _Trial(bench, trips, rows)
        with reporter.task("Verifying", total=len(trips), unit="migrations") as task:
            for number in range(len(trips)):
                trial.next(number)
                task.advance()
        return Verification(tuple(trial.verdicts), bench.version, time.perf_counter() - begun, trial.rows())


class _Trial:
    """A trial that is under way."""

    def __init__(self, bench: Bench, trips: tuple[Trip, ...], with_rows: bool) -> None:
        self.bench = bench
        self.trips = trips
        self.verdicts: list[Verdict] = []
        self._with_rows = with_rows
        self._filler = Filler(bench.conn) if with_rows else None
        self._inserted: dict[str, int] = {}
        self._not_filled: dict[str, str] = {}
        self._held: Mapping[tuple[str, str], Content] = {}
        """What the tables held before the migration that is being tried."""
        self._state: State | None = None
        """What is there, where it is known."""
        self._spoilt = False
        """What is there is not what going up only would have made."""
        self._stopped_at = ""

    def rows(self) -> Rows | None:
        """Which tables had rows; None if none were asked for."""
        if not self._with_rows:
            return None
        self._note_rows()
        return Rows(len(self._inserted), sum(self._inserted.values()), dict(sorted(self._not_filled.items())))

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
                found = self._try(number)
            except DoesNotRun as error:
                self._stopped_at = trip.file.id
                found = Verdict(trip.file.id, Result.CANNOT_VERIFY, reason=str(error))
        if trip.asked:
            self.verdicts.append(replace(found, seconds=time.perf_counter() - begun))

    def _rebuild(self, number: int) -> None:
        self.bench.renew()
        self._note_rows()
        self._filler = Filler(self.bench.conn) if self._with_rows else None
        for trip in self.trips[:number]:
            self.bench.run(trip.file)
        self._state, self._spoilt = None, False

    def _try(self, number: int) -> Verdict:
        """:raises DoesNotRun: it cannot be applied."""
        trip = self.trips[number]
        before = None
        if trip.there_and_back:
            before = self._state or self.bench.state()
            self._held = self._fill(before.catalog)
        try:
            self.bench.run(trip.file)
        except DoesNotRun as error:
            if self._filler is None or not self._filler.inserted:
                raise
            return self._without_rows(number, error)
        if before is None or trip.undo is None:
            self._state = None
            return no_way_back(trip)
        after = self.bench.state()
        findings = self._back_and_again(trip.file, trip.undo, before, after)
        self._spoilt = self._spoilt or any(not f.warning for f in findings)
        return verdict(trip, findings)

    def _fill(self, there: Snapshot) -> Mapping[tuple[str, str], Content]:
        """Put rows into the tables, and read what they hold then."""
        if self._filler is None:
            return {}
        self._filler.fill(there)
        self._note_rows()
        held = contents(self.bench.conn, shared_columns(there, there))
        for path in empty_columns(held):
            self._not_filled.setdefault(
                path, "it is NULL in all rows: its conditions let no value in, or none of its type is known"
            )
        return held

    def _without_rows(self, number: int, refusal: DoesNotRun) -> Verdict:
        """Try a migration that does not run with rows in the tables without any.

        :raises DoesNotRun: it does not run at all.
        """
        self._rebuild(number)
        filler, self._filler = self._filler, None
        try:
            found = self._try(number)
        finally:
            self._filler = filler
        if refusal.sqlstate == _NOT_NULL_VIOLATION:  # not the fault of our values: any row would do
            text = f"it cannot be applied to tables that hold rows: {refusal}"
            return replace(found, result=Result.FINDINGS, findings=(Finding(Moment.APPLY, text), *found.findings))
        return replace(found, without_rows=str(refusal))

    def _back_and_again(self, file: MigrationFile, undo: RollbackFile, before: State, after: State) -> list[Finding]:
        try:
            check(undo.path, undo.text, transactional=undo.transactional)
            self.bench.run(undo)
        except (BadMigration, DoesNotRun) as error:
            told = str(error).replace(f"{undo.path.parent}/", "")
            return [Finding(Moment.ROLLBACK, f"the rollback fails{self._with_what()}: {told}")]
        undone = self.bench.state()
        findings = list(judge(file, Moment.ROLLBACK, before, undone))
        if self._held:
            columns = shared_columns(before.catalog, undone.catalog)
            findings += judge_rows(Moment.ROLLBACK, self._held, contents(self.bench.conn, columns))
        try:
            self.bench.run(file)
        except DoesNotRun as error:
            text = f"it cannot be applied again after its rollback{self._with_what()}: {error}"
            return [*findings, Finding(Moment.AGAIN, text)]
        self._state = self.bench.state()
        # What the rollback has left or lost is left or lost after up again, too: said once.
        said = {_what(f) for f in findings}
        again = judge(file, Moment.AGAIN, after, self._state)
        findings += [f for f in again if _what(f) not in said]
        if self._filler is not None and all(f.warning for f in findings):
            findings += self._down_and_up(self._filler, file, undo, before.catalog, after.catalog)
        return findings

    def _down_and_up(
        self, filler: Filler, file: MigrationFile, undo: RollbackFile, before: Snapshot, after: Snapshot
    ) -> list[Finding]:
        """Whether rows that came after a migration outlive its rollback."""
        changed = changed_tables(before, after)
        if not changed:
            return []
        filler.fill(after)
        self._note_rows()
        columns = shared_columns(before, after, among=changed)
        held = contents(self.bench.conn, columns)
        try:
            self.bench.run(undo)
        except DoesNotRun as error:
            self._spoilt = not undo.transactional
            text = f"the rollback refuses rows that came after it (nothing is lost): {error}"
            return [Finding(Moment.AGAIN, text, warning=True)]
        try:
            self.bench.run(file)
        except DoesNotRun as error:
            return [Finding(Moment.AGAIN, f"it cannot be applied again to rows that came after it: {error}")]
        # What is new in them is empty again.
        filler.forget(changed | {t.path for t in after.tables if before.table(t.path) is None})
        return judge_rows(Moment.AGAIN, held, contents(self.bench.conn, columns))

    def _with_what(self) -> str:
        return " with rows in the tables" if self._held else ""

    def _note_rows(self) -> None:
        if self._filler is not None:
            for path, count in self._filler.inserted.items():
                self._inserted[path] = max(count, self._inserted.get(path, 0))
            self._not_filled.update(self._filler.not_filled)


def _what(finding: Finding) -> tuple[str, ...]:
    difference = finding.difference
    return (difference.change, difference.kind, difference.path, difference.field) if difference else ()
