"""What migrations build: made anew on a scratch server, to lay it beside a database.

The scratch database is made as much like the other one as can be: a server of the same major version if one is
installed, its name, its roles, and the role that migrated it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from secrets import token_hex

from psycopg import sql
from psycopg.rows import dict_row

from pliers_db.catalog import Snapshot, snapshot
from pliers_db.catalog.model import quoted
from pliers_db.config import Target
from pliers_db.db import Connection, connect, load_queries
from pliers_db.errors import BinariesMissing, CannotCompare, HistoryConflict
from pliers_db.migrate.bench import Bench, DoesNotRun, check_unprotected
from pliers_db.migrate.files import Folder, MigrationFile, RollbackFile
from pliers_db.migrate.history import OWN_TABLE, Applied, History, read_history
from pliers_db.postgres import find_binaries, scratch_server
from pliers_db.progress import SILENT, Reporter

# The tables of migrating itself.
BOOKKEEPING = (
    "_yoyo_migration",
    "_yoyo_log",
    "_yoyo_version",
    "yoyo_lock",
    "_pliers_lock",
    "_pliers_migration",
    "_pliers_progress",
)
_EXCLUDED = tuple(f"*.{name}" for name in (*BOOKKEEPING, "yoyo_tmp_*"))
_QUERIES = load_queries("pliers_db.migrate", "sql/rebuild.sql")
_CREATES = re.compile(
    r"\bcreate\s+(?:role|user|group|schema)\s+(?:if\s+not\s+exists\s+)?\"?([^\s\";,]+)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Live:
    """A database as it is, and what is needed to make one like it."""

    catalog: Snapshot
    """Without the tables of migrating itself."""
    database: str
    home: str
    """The schema of yoyo's tables, in which migrations make what they do not qualify."""
    owner: str
    """Who has migrated it, as far as can be told."""
    roles: tuple[str, ...]
    major: int


@dataclass(frozen=True, slots=True)
class Built:
    """What migrations have built on a scratch server."""

    catalog: Snapshot
    version: str
    """Of the server."""
    like_owner: bool
    """Whether they ran as the role that migrated the database."""
    extensions: dict[str, frozenset[str]]
    """The versions that the scratch server has of the database's extensions."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The files that have been applied to a database, in the order in which they were."""

    files: tuple[MigrationFile | RollbackFile, ...]
    stored: tuple[str, ...] = ()
    """Of these the text was used that the database has, not the file."""
    unverified: tuple[str, ...] = ()
    """Of these the database has no text: the file was believed."""
    partial: tuple[str, ...] = ()
    """These stand part-way and were left out; with how far they have come."""


def read_live(conn: Connection, schema: str) -> Live:
    """Read a database. Reads only; any role may.

    :param schema: where yoyo's tables stand.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        facts = cursor.execute(_QUERIES["facts"], {"schema": schema}).fetchone()
    assert facts is not None
    return Live(
        snapshot(conn, exclude=_EXCLUDED),
        facts["database"],
        schema,
        facts["owner"],
        tuple(facts["roles"]),
        conn.info.server_version // 10000,
    )


def read_recipe(conn: Connection, folder: Folder) -> Recipe:
    """Say which files have made a database what it is.

    The text that the database stored when it applied a migration goes before the file.

    :raises HistoryConflict: one has no file and no stored text.
    """
    history = read_history(conn, folder)
    partial = tuple(
        f"{p.id} stands part-way ({p.finished} of {p.statements} statements of its {p.operation})"
        for p in history.progress
    )
    by_id, by_text = folder.by_id(), {m.sha256: m for m in folder.migrations}
    modes = _stored_modes(conn, history)
    ids = history.ids()
    squashes = {m.id: m for m in folder.migrations if m.replaces and (m.id in ids or ids >= set(m.replaces))}
    covered = {i: m for m in squashes.values() for i in (m.id, *m.replaces)}
    files: list[MigrationFile | RollbackFile] = []
    stored, unverified = [], []
    for applied in history.applied:
        if applied.id in covered:  # it leaves what those leave that it replaces: once is enough
            if (squash := covered[applied.id]) not in files:
                files.append(squash)
            continue
        file = by_id.get(applied.id)
        if applied.sha256 is None:
            if file is None:
                raise _no_text(applied)
            unverified.append(applied.id)
        elif file is None or file.sha256 != applied.sha256:
            # The history leaves out texts that the folder has, be it under another name.
            text = applied.sql if applied.sql is not None else by_text[applied.sha256].text
            path = folder.path / f"{applied.id}.sql (stored)"
            files.append(RollbackFile(path, text, modes.get(applied.id, True)))
            stored.append(applied.id)
            continue
        files.append(file)
    return Recipe(tuple(files), tuple(stored), tuple(unverified), partial)


def _stored_modes(conn: Connection, history: History) -> dict[str, bool]:
    if not history.own_readable:
        return {}
    query = sql.SQL(_QUERIES["stored_mode"]).format(own=sql.Identifier(history.schema, OWN_TABLE))
    return dict(conn.execute(query, [[a.id for a in history.applied]]).fetchall())


def _no_text(applied: Applied) -> HistoryConflict:
    return HistoryConflict(
        f"{applied.id} is applied, but what it did is not known: nothing was compared",
        why="Its file is gone, and the database has no text of it (stock yoyo applied it, or the role may not read "
        f"{OWN_TABLE}).",
        fix=f"Bring {applied.id}.sql back, for example with git.",
        id=applied.id,
    )


class Workshop:
    """A server on which databases like another one are made. Use `open_workshop`."""

    def __init__(self, server: Target, *, own: bool, stack: ExitStack, reporter: Reporter) -> None:
        self.own = own
        """Whether the server is gone afterwards, so that roles and names may be taken as they come."""
        self._server = server
        self._stack = stack
        self._reporter = reporter

    def bench(self, live: Live, texts: Sequence[str] = ()) -> Bench:
        """An empty database for making one like ``live``.

        :param texts: of migrations that will run in it: roles, and the home schema, that one of them creates are
            left to it.
        """
        found = {name for text in texts for name in _CREATES.findall(text)}
        made = found | {name.lower() for name in found}
        wanted = [role for role in live.roles if role not in made]
        server = self._server
        if live.home != "public":
            path = re.sub(r"([\\\s])", r"\\\1", f"{quoted(live.home)},public")
            server = replace(server, params={**server.params, "options": f"-c search_path={path}"})
        if self.own:
            with connect(self._server) as admin:
                taken = {row[0] for row in admin.execute("select datname from pg_database")}
                _create_roles(admin, [*wanted, live.owner])
                admin.execute(sql.SQL("alter role {} superuser login").format(sql.Identifier(live.owner)))
            name = f"pliers_{len(taken)}" if live.database in taken else live.database
            bench = Bench(replace(server, user=live.owner), name, self._reporter)
        else:
            bench = Bench(server, f"pliers_{token_hex(6)}", self._reporter)
        self._stack.callback(bench.close, clear=not self.own)
        if not self.own:  # after it has looked which roles there were, so that it removes these
            _create_roles(bench.conn, wanted)
        if live.home != "public" and live.home not in made:
            bench.conn.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(live.home)))
        return bench


def _create_roles(conn: Connection, roles: Sequence[str]) -> None:
    for (role,) in conn.execute(_QUERIES["missing_roles"], [list(dict.fromkeys(roles))]).fetchall():
        conn.execute(sql.SQL("create role {}").format(sql.Identifier(role)))


@contextmanager
def open_workshop(
    major: int | None = None, scratch: Target | None = None, reporter: Reporter = SILENT
) -> Iterator[Workshop]:
    """A server to build on: of our own and gone at the end of the block, or one that was named.

    :param major: the version that is wanted; if it is not installed, the newest.
    :param scratch: a server to use instead. What was made on it is dropped at the end.
    :raises ScratchProtected: that server is a protected one.
    """
    with ExitStack() as stack:
        if scratch is None:
            try:
                binaries = find_binaries(major, server=True)
            except BinariesMissing:
                binaries = find_binaries(server=True)
            server = stack.enter_context(scratch_server(binaries)).target()
        else:
            check_unprotected(scratch)
            server = scratch
        yield Workshop(server, own=scratch is None, stack=stack, reporter=reporter)


def build(
    workshop: Workshop,
    live: Live,
    files: Sequence[MigrationFile | RollbackFile],
    hooks: Sequence[MigrationFile] = (),
    reporter: Reporter = SILENT,
) -> tuple[Bench, Built]:
    """Run migrations into an empty database, and read what they have built.

    :param hooks: ``post-apply`` files, which run at the end.
    :raises CannotCompare: one of them does not run there.
    """
    bench = workshop.bench(live, [file.text for file in (*files, *hooks)])
    with reporter.task("Building", total=len(files), unit="migrations") as task:
        for file in (*files, *hooks) if files else ():
            try:
                bench.run(file)
            except DoesNotRun as error:
                raise CannotCompare(
                    f"{file.path.name} does not run on the scratch server; nothing was compared",
                    why=f"{error} (PostgreSQL {bench.version})",
                    fix="Give --scratch a server that has what it needs, with a superuser who may create databases.",
                ) from error
            task.advance()
    return bench, look_at(workshop, bench, live)


def look_at(workshop: Workshop, bench: Bench, live: Live) -> Built:
    """What a bench holds now."""
    names = [extension.name for extension in live.catalog.extensions]
    offered: dict[str, set[str]] = {}
    for name, version in bench.conn.execute(_QUERIES["offered_extensions"], [names]):
        offered.setdefault(name, set()).add(version)
    return Built(
        snapshot(bench.conn),
        bench.version,
        workshop.own,
        {name: frozenset(versions) for name, versions in offered.items()},
    )


def sequence_values(conn: Connection) -> dict[str, int | None]:
    """Where each sequence stands, by path; None: it was never used."""
    return dict(conn.execute(_QUERIES["sequences"]).fetchall())
