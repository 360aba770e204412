"""Whether a database still is what its migrations have made of it.

Reads the database in two statements and a snapshot: no lock, no DDL, so that it works with a role that may only read,
and on a standby.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pliers_db.config import Target
from pliers_db.db import Database
from pliers_db.migrate.files import Folder
from pliers_db.migrate.history import read_history
from pliers_db.migrate.judgement import Ignore, Judgement, judge, unfinished
from pliers_db.migrate.rebuild import build, open_workshop, read_live, read_recipe
from pliers_db.progress import SILENT, Reporter
from pliers_db.units import format_count


@dataclass(frozen=True, slots=True)
class Drift:
    """What was found."""

    judgement: Judgement
    migrations: int
    """How many applied ones were built."""
    server: str
    """The version of the scratch server."""
    seconds: float
    notes: tuple[str, ...] = ()
    """How the comparison was made, where that is not the usual way."""
    unfinished: dict[str, str] = field(default_factory=dict)
    """What the database has and does not use or enforce, by path."""

    @property
    def found(self) -> bool:
        """Whether the database differs."""
        return bool(self.judgement.differences)


def drift(
    database: Database,
    folder: Folder,
    *,
    ignores: tuple[Ignore, ...] = (),
    scratch: Target | None = None,
    reporter: Reporter = SILENT,
) -> Drift:
    """Build the applied migrations on a scratch server, and compare.

    :param ignores: differences that the project accepts.
    :param scratch: a server to use instead of one of our own.
    :raises PliersError: HistoryConflict or CannotCompare when it cannot be said; never an empty answer.
    """
    begun = time.perf_counter()
    with database.connection() as conn:
        recipe = read_recipe(conn, folder)
        live = read_live(conn, read_history(conn).schema)
    with open_workshop(live.major, scratch, reporter) as workshop:
        _, built = build(workshop, live, recipe.files, folder.hooks, reporter)
    judged = judge(live, built, ignores)
    judged = Judgement(
        judged.differences,
        judged.ignored,
        judged.remarks,
        (*judged.not_compared, *(f"{p}: what it has done so far shows as differences" for p in recipe.partial)),
    )
    return Drift(
        judged,
        len(recipe.files),
        built.version,
        time.perf_counter() - begun,
        tuple(_notes(recipe.stored, recipe.unverified, len(recipe.files))),
        dict(unfinished(live.catalog)),
    )


def _notes(stored: tuple[str, ...], unverified: tuple[str, ...], count: int) -> list[str]:
    notes = []
    if not count:
        notes.append(
            "no migration is on record here (an existing database is adopted with: pliers-db migrate baseline)"
        )
    if stored:
        notes.append(f"as they were applied, not as the files stand now: {', '.join(stored)}")
    if unverified:
        first = ", ".join(unverified[:3]) + (", …" if len(unverified) > 3 else "")
        notes.append(
            f"the files of {format_count(len(unverified), 'migration')} were believed ({first}): "
            "the database has no text of what was run"
        )
    return notes
