"""Drafts of migrations: what would turn one database into another, and what of that is proved.

`pgmig` writes the statements. What it is told to compare are copies on a scratch server; objects that it refuses to
look at are taken out of the copies first. Then every statement is tried, in the order in which the server takes them,
on a database that is like the first one, and what still differs afterwards is measured. So a draft is either shown to
make the first equal to the second, or says what is left to be written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from pliers_db.catalog import Change, Difference, Snapshot, diff
from pliers_db.config import Target
from pliers_db.db import Connection, Database, load_queries
from pliers_db.errors import CannotCompare, NoDraftTool
from pliers_db.migrate.bench import Bench, DoesNotRun
from pliers_db.migrate.dump import clean, dump, dump_program, join, refreshes
from pliers_db.migrate.files import Folder, MigrationFile
from pliers_db.migrate.history import read_history
from pliers_db.migrate.parser import split
from pliers_db.migrate.rebuild import Live, Workshop, build, open_workshop, read_live
from pliers_db.progress import SILENT, Reporter

_QUERIES = load_queries("pliers_db.migrate", "sql/draft.sql")
_LOSES = re.compile(r"\bdrop\s+(?:table|column|schema|materialized\s+view|sequence|type)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared."""

    name: str
    database: Database | None
    """None: what the files of the folder build."""


@dataclass(frozen=True, slots=True)
class Script:
    """The statements of one direction, and what they leave."""

    statements: tuple[str, ...]
    by_hand: tuple[str, ...]
    """What they do not do, found by trying."""
    remarks: tuple[str, ...] = ()
    """Another order of columns, which no statement changes."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A migration to be read, and what undoes it."""

    start: str
    goal: str
    differences: tuple[Difference, ...]
    """Between the two."""
    up: Script
    down: Script
    server: str

    @property
    def proved(self) -> bool:
        """Whether the statements make the first equal to the second: nothing is left to be written by hand."""
        return not self.up.by_hand

    def text(self) -> str:
        """The migration."""
        claim = (
            "Tried on a scratch server: it makes the first equal to the second."
            if self.proved
            else "Tried on a scratch server: what it leaves is listed here."
        )
        head = f"-- DRAFT by pliers-db migrate diff, from {self.start} to {self.goal}. Read it.\n-- {claim}\n"
        return head + _body(self.up)

    def rollback_text(self) -> str:
        """What undoes it."""
        claim = (
            "leaves what is listed here" if self.down.by_hand else "undoes what the draft does, but brings no rows back"
        )
        return f"-- DRAFT. Tried on a scratch server: it {claim}.\n" + _body(self.down)


def _body(script: Script) -> str:
    remarks = "".join(f"-- note: {text}\n" for text in script.remarks)
    by_hand = "".join(f"-- by hand: {line}\n" for text in script.by_hand for line in [text.replace("\n", "\n--   ")])
    statements = (f"-- loses data:\n{s}" if _LOSES.search(s) else s for s in script.statements)
    return f"{remarks}{by_hand}\n{join(tuple(statements))}"


def make_draft(
    start: Side,
    goal: Side,
    folder: Folder | None,
    *,
    scratch: Target | None = None,
    reporter: Reporter = SILENT,
) -> Draft:
    """Draft what turns one into the other. Only reads the databases.

    :param folder: needed if one side is the migrations.
    :param scratch: a server to build on instead of one of our own.
    :raises NoDraftTool: pgmig is not installed.
    :raises CannotCompare: one of the sides cannot be built on the scratch server.
    """
    _need_pgmig()
    lives = {side: _read(side.database) for side in (start, goal) if side.database is not None}
    facts = lives.get(goal) or lives[start]
    if start in lives and goal in lives:
        facts = replace(facts, roles=tuple(dict.fromkeys((*facts.roles, *lives[start].roles))))
    with open_workshop(facts.major, scratch, reporter) as workshop:
        maker = _Maker(workshop, facts, reporter)
        # First, for its files may make roles, which the copies need.
        built = maker.build(folder) if folder is not None else None
        trial = maker.copy(start.name, start.database.target, lives[start]) if start.database else built
        second = maker.copy(goal.name, goal.database.target, lives[goal]) if goal.database else maker.again(built)
        assert trial is not None, "a side that is no database is the migrations"
        first = maker.again(trial)
        wanted = lives[goal].catalog if goal in lives else maker.catalog(built or trial)
        began = maker.catalog(trial)
        source = lives[start].catalog if start in lives else began
        differences = diff(source, wanted, ignore=maker.ignored)
        if not differences:
            return Draft(start.name, goal.name, (), Script((), ()), Script((), ()), trial.version)
        there, back, refusal = _generate(first, second)
        up = _tried(maker, trial, there, wanted)
        up = replace(up, by_hand=(*refusal, *_not_copied(diff(began, source, ignore=maker.ignored)), *up.by_hand))
        down = _tried(maker, trial, back, began)
        return Draft(start.name, goal.name, differences, up, down, trial.version)


def _read(database: Database) -> Live:
    with database.connection() as conn:
        return read_live(conn, read_history(conn).schema)


class _Maker:
    """Makes databases on the scratch server that are like the sides."""

    def __init__(self, workshop: Workshop, facts: Live, reporter: Reporter) -> None:
        self._workshop, self._facts, self._reporter = workshop, facts, reporter
        self.ignored: tuple[str, ...] = () if workshop.own else ("owner",)

    def build(self, folder: Folder) -> Bench:
        """What the files build."""
        return build(self._workshop, self._facts, folder.migrations, folder.hooks, self._reporter)[0]

    def again(self, bench: Bench | None) -> Bench:
        """A second one like a bench. By a dump, as the others: PostgreSQL spells some expressions otherwise then."""
        assert bench is not None, "a side that is no database is the migrations"
        catalog = self.catalog(bench)
        live = replace(self._facts, catalog=catalog, owner=bench.conn.info.user)
        return self.copy("the migrations", bench.target, live)

    def copy(self, name: str, target: Target, live: Live) -> Bench:
        """:raises CannotCompare: the scratch server cannot hold what it holds."""
        major = live.catalog.server_version_num // 10000
        statements = clean(dump(dump_program(major), target, ["--schema-only"]), live.owner)
        statements = ("set local check_function_bodies = off", *statements, *refreshes(live.catalog, statements))
        text = join(statements)
        bench = self._workshop.bench(self._facts, [text])
        try:
            bench.run(MigrationFile("copy", Path(f"copy of {name}"), text, True, (), None))
        except DoesNotRun as error:
            raise CannotCompare(
                f"The schema of {name} cannot be built on the scratch server",
                why=f"{error} (PostgreSQL {bench.version})",
                fix="Give --scratch a server that has what it needs, with a superuser who may create databases.",
            ) from error
        return bench

    def catalog(self, bench: Bench) -> Snapshot:
        return bench.state().catalog


# ── pgmig ───────────────────────────────────────────────────────────────────────────────────────────────────
def _need_pgmig() -> None:
    try:
        import pgmig  # noqa: F401
    except ImportError as error:
        raise NoDraftTool(
            "migrate diff needs pgmig, which is not installed",
            why=str(error),
            fix="pip install 'pliers-db[diff]'",
        ) from error


def _generate(first: Bench, second: Bench) -> tuple[list[str], list[str], list[str]]:
    """The statements there and back, as pgmig writes them.

    :returns: and why there are none, if it cannot look at the databases at all: then every difference is found to be
        left by the trial, and listed.
    """
    from pgmig import PgmigError

    try:
        return _pgmig(first, second), _pgmig(second, first), []
    except PgmigError:
        _hide(first.conn)
        _hide(second.conn)
    try:
        return _pgmig(first, second), _pgmig(second, first), []
    except PgmigError as error:
        return [], [], [f"all of it, for {error}"]


def _pgmig(start: Bench, goal: Bench) -> list[str]:
    import pgmig

    text = pgmig.generate(
        source=make_conninfo(**start.target.parameters()),
        target=make_conninfo(**goal.target.parameters()),
        include_owner=True,
        include_grants=True,
    )
    return [s.sql.strip() for s in split(text)]


def _hide(conn: Connection) -> None:
    """Take out of a copy what pgmig refuses to look at."""
    for (statement,) in conn.execute(_QUERIES["unknown_to_pgmig"]).fetchall():
        try:
            conn.execute(statement)
        except psycopg.DatabaseError:  # it went with another one, or cannot go: then pgmig says so once more
            continue


# ── the trial ───────────────────────────────────────────────────────────────────────────────────────────────
def _tried(maker: _Maker, trial: Bench, statements: Sequence[str], wanted: Snapshot) -> Script:
    """Find the order in which the server takes the statements, run them for good, and measure what is left."""
    accepted, refused = _order(trial.conn, statements)
    if accepted:
        file = MigrationFile("draft", Path("draft"), join(accepted), True, (), None)
        try:
            trial.run(file)
        except DoesNotRun as error:
            accepted, refused = (), ((f"the whole, which does not run in one transaction: {error}"), *refused)
    left = diff(maker.catalog(trial), wanted, ignore=maker.ignored)
    by_hand = [_sentence(d) for d in left if d.change is not Change.REORDERED]
    remarks = tuple(str(d) for d in left if d.change is Change.REORDERED)
    return Script(tuple(accepted), (*by_hand, *(refused if by_hand else ())), remarks)


def _order(conn: Connection, statements: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The statements in an order that works, and those that never do, with the reason. Changes nothing."""
    accepted: list[str] = []
    waiting = [(statement, "") for statement in statements]
    with conn.transaction(force_rollback=True):
        while waiting:
            refused = []
            for statement, _ in waiting:
                try:
                    with conn.transaction():
                        conn.execute(statement.encode())
                    accepted.append(statement)
                except psycopg.Error as error:
                    refused.append((statement, str(error.diag.message_primary or error)))
            if len(refused) == len(waiting):
                break
            waiting = refused
        else:
            refused = []
    return tuple(accepted), tuple(f"the server refuses ({why}):\n{statement}" for statement, why in refused)


def _not_copied(differences: Sequence[Difference]) -> list[str]:
    """What the copy of the first side lacks, so that nothing was tried on it: INVALID indexes, settings…"""
    return [
        f"look at {_sentence(d).partition(' ')[2]}: its copy on the scratch server is not like it" for d in differences
    ]


def _sentence(difference: Difference) -> str:
    """What is left to be done, for a difference from the result to the goal."""
    what = f"{difference.kind} {difference.path}"
    if difference.change is Change.ADDED:
        return f"create {what}"
    if difference.change is Change.REMOVED:
        return f"drop {what}"
    return f"change {difference}"
