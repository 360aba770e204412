"""Loading a dump into an empty database, by pg_restore or psql."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pliers_db.backup import Tls, find_clients, in_the_clear, pieces
from pliers_db.config import Target
from pliers_db.errors import RestoreFailed, RestoreInterrupted, RestoreRefused
from pliers_db.postgres import Binaries, Finished, Program, read_program, run_program, start_program
from pliers_db.postgres.programs import DEVNULL, PIPE
from pliers_db.progress import Reporter
from pliers_db.restore.check import plain_lines
from pliers_db.restore.material import Material
from pliers_db.restore.noise import Noise, not_the_dumps
from pliers_db.restore.plan import RestorePlan
from pliers_db.restore.scope import filter_rows, without_history
from pliers_db.restore.shape import Kind

APPLICATION = "pliers-db/restore"
_ENTRIES = re.compile(r"^;\s+TOC Entries: (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """One dump on its way into one database."""

    target: Target
    """The empty database."""
    material: Material
    archive: Path | None
    """What pg_restore can read; None: the dump is fed through a pipe."""
    plan: RestorePlan
    folder: Path
    """For files of ours meanwhile."""
    reporter: Reporter
    tls: Tls = Tls.NO
    """Whether the programs' connections must be encrypted."""

    def check_programs(self) -> None:
        """Look for the programs that will be needed, before anything is written.

        :raises BinariesMissing: what is here is too old, or speaks no TLS.
        """
        if warning := in_the_clear(self._reader, self.tls):
            self.reporter.warn(warning)
        if self.plan.scope.data_only:
            _ = self._own

    def run(self) -> None:
        """Fill the database.

        :raises RestoreFailed: at the first error that matters.
        """
        with self.reporter.task(f"Restoring {self.plan.database}", total=self._objects(), unit="objects") as task:
            if self.material.shape.kind is Kind.PLAIN:
                self._by_psql()
            elif self.plan.scope.data_only:
                self._rows_into_what_is_there()
            else:
                self._pg_restore(self._reader, self._part(), self.archive, task.advance)

    def _objects(self) -> int | None:
        """How many there are in the archive, if all of it is restored."""
        if self.archive is None or not self.plan.scope.whole:
            return None
        listing = read_program(self._reader, "pg_restore", ["--list", self.archive])
        found = _ENTRIES.search(listing)
        return int(found[1]) if found else None

    @property
    def _reader(self) -> Binaries:
        """A pg_restore that can read the archive; or a psql."""
        if self.material.shape.kind is Kind.PLAIN:
            return self._own
        return find_clients(self.material.shape.client_major, self.plan.server_major, self.tls)

    @property
    def _own(self) -> Binaries:
        """Programs of the server's version."""
        return find_clients(self.plan.server_major, tls=self.tls)

    def _part(self) -> list[str]:
        """The arguments that leave something out."""
        if self.plan.scope.schema_only:
            return ["--schema-only"]
        if self.plan.scope.only:
            return [self._list(lambda listing: filter_rows(listing, self.plan.chosen))]
        return []

    def _list(self, change: Callable[[str], str]) -> str:
        """The argument for a changed list of the archive's entries."""
        if self.archive is None:
            raise RestoreRefused(
                "A part can only be restored from an archive on the disk",
                why="There is no room to unpack it.",
                fix="Make room beside the backups.",
            )
        file = self.folder / "list"
        file.write_text(change(read_program(self._reader, "pg_restore", ["--list", self.archive])), encoding="utf-8")
        return f"--use-list={file}"

    def _rows_into_what_is_there(self) -> None:
        """The definitions, and the record of migrations, of the database as it is now; the rows of the backup."""
        live, own = self.target.with_database(self.plan.database), self._own
        frame, history = self.folder / "frame", self.folder / "history"
        dump = ["--format=custom", "--no-password"]
        run_program(own, "pg_dump", [*dump, "--schema-only", f"--file={frame}"], target=live).check()
        self._pg_restore(own, ["--section=pre-data"], frame)
        self._pg_restore(self._reader, ["--data-only", self._list(without_history)], self.archive)
        yoyo = ["--table=*._yoyo_*", "--table=*.yoyo_lock"]
        done = run_program(own, "pg_dump", [*dump, "--data-only", *yoyo, f"--file={history}"], target=live)
        if "no matching tables" not in done.stderr:
            done.check()
            self._pg_restore(own, ["--data-only"], history)
        self._pg_restore(own, ["--section=post-data"], frame)

    def _pg_restore(
        self,
        binaries: Binaries,
        part: Sequence[str],
        archive: Path | None,
        on_object: Callable[[], None] = lambda: None,
    ) -> None:
        arguments: list[str | Path] = [*self.plan.arguments, *part, f"--dbname={self.target.dbname}"]
        # Only a file, and not a tar, is read in parallel. And where errors are tolerated, they must be countable.
        noisy = binaries.major >= 17 > self.plan.server_major
        if archive is None or noisy or self.material.shape.kind is Kind.TAR:
            arguments = [each for each in arguments if not str(each).startswith("--jobs")]
        if archive is not None:
            arguments.append(archive)
        jobs = next((str(each) for each in arguments if str(each).startswith("--jobs=")), "--jobs=1")
        noise = Noise(on_object, parallel=jobs != "--jobs=1")
        with start_program(
            binaries,
            "pg_restore",
            arguments,
            target=self.target,
            settings=self.plan.settings,
            application_name=APPLICATION,
            stdin=DEVNULL if archive else PIPE,
            on_line=noise.feed,
        ) as program:
            if archive is None:
                self._feed(program, pieces(self.material.dump, self.material.identities), noise)
            finished = program.wait(lambda: self._raise_for(noise))
        if not noise.harmless(finished.returncode):
            self._raise_for(noise)
            self._check(finished)
        for notice in noise.notices:
            self.reporter.info(notice)

    def _by_psql(self) -> None:
        with start_program(
            self._own,
            "psql",
            ["--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--file=-"],
            target=self.target,
            settings=self.plan.settings,
            application_name=APPLICATION,
            stdin=PIPE,
        ) as program:
            self._feed(program, plain_lines(self.material, self.plan.server_major), Noise())
            finished = program.wait()
        self._check(finished)

    def _feed(self, program: Program, data: Iterable[bytes], noise: Noise) -> None:
        with suppress(BrokenPipeError):  # it has ended: its own words tell why
            for piece in data:
                program.stdin.write(piece)
                self._raise_for(noise)

    def _raise_for(self, noise: Noise) -> None:
        """End at the first error that matters: pg_restore itself would go on for hours."""
        if noise.errors:
            raise self._failed("pg_restore", "\n".join(noise.errors[:3]))

    def _check(self, finished: Finished) -> None:
        if finished.returncode < 0:
            raise RestoreInterrupted(
                f"{finished.name} was killed; {unchanged(self.plan)}",
                why=f"It was ended by {signal.Signals(-finished.returncode).name}.",
                fix="Run it again.",
            )
        if finished.returncode:
            last = finished.stderr.strip().splitlines()[-3:] or [f"It ended with {finished.returncode}."]
            raise self._failed(finished.name, "\n".join(last))

    def _failed(self, name: str, why: str) -> RestoreFailed:
        kind = RestoreInterrupted if not_the_dumps(why) else RestoreFailed
        return kind(f"{name} failed; {unchanged(self.plan)}", why=why)


def unchanged(plan: RestorePlan) -> str:
    """The end of a message about a restore that failed."""
    return f"{plan.database} is as it was" if plan.replaces else f"there is still no {plan.database}"
