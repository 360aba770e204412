"""Asking and changing the server: facts, databases, names."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pliers_db.backup import Manifest, Properties
from pliers_db.config import Target
from pliers_db.db import Connection, Database, load_queries
from pliers_db.db.pgbouncer import pooler_in_the_way
from pliers_db.errors import RestoreRefused, RestoreRunning
from pliers_db.restore.marks import Existing, Marked
from pliers_db.restore.plan import AvailableExtension, Place, Session, in_use

_QUERIES = load_queries("pliers_db.restore", "sql/cluster.sql")
_LOCK_CLASS = 0x706C6972  # "plir"; the second key is made of the database's name
_FINAL_TRIES = 3
_PATIENCE = 1.0  # seconds; the server needs some milliseconds to see that a client has gone


def maintenance(target: Target) -> Target:
    """The database from which others are created and renamed."""
    return target.with_database("template1" if target.dbname == "postgres" else "postgres")


@contextmanager
def restore_lock(conn: Connection, database: str) -> Iterator[None]:
    """Be the only restore of a database on this server; ends with the connection at the latest.

    :raises RestoreRunning: another one is at it.
    """
    key = zlib.crc32(database.encode()) - 2**31
    row = conn.execute(
        "select case when pg_backend_pid() = %s then pg_try_advisory_lock(%s, %s) end",
        [conn.info.backend_pid, _LOCK_CLASS, key],
    ).fetchone()
    assert row is not None
    if row[0] is None:  # another process answers than the one that let us in
        raise pooler_in_the_way("a restore")
    if not row[0]:
        raise RestoreRunning(f"Another restore of {database} is running", fix="Wait for it to end.")
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("select pg_advisory_unlock(%s, %s)", [_LOCK_CLASS, key])


def read_databases(conn: Connection) -> list[Existing]:
    """Every database of the server, with its comment."""
    return [Existing(*row) for row in conn.execute(_QUERIES["databases"])]


def with_sizes(conn: Connection, marked: Sequence[Marked]) -> tuple[Marked, ...]:
    """The same with the sizes of the databases; only under their restore lock, so that none is dropped meanwhile."""
    sizes = dict(conn.execute(_QUERIES["sizes"], {"names": [each.name for each in marked]}).fetchall())
    return tuple(replace(each, size=sizes.get(each.name)) for each in marked)


def read_place(conn: Connection, database: str, manifest: Manifest | None) -> Place:
    """What `plan_restore` wants to know."""
    with conn.cursor(row_factory=dict_row) as cursor:
        me = cursor.execute(_QUERIES["me"]).fetchone()
    assert me is not None
    source = manifest.source if manifest else None
    roles = conn.execute(_QUERIES["roles"], {"names": list(source.roles) if source else []}).fetchall()
    names = [extension.name for extension in source.extensions] if source else []
    extensions = conn.execute(_QUERIES["extensions"], {"names": names}).fetchall()
    return Place(
        database=database,
        **me,
        roles=dict(roles),
        extensions={name: AvailableExtension(version, superuser) for name, version, superuser in extensions},
        existing=next((d for d in read_databases(conn) if d.name == database), None),
        sessions=read_sessions(conn, database),
        prepared=[row[0] for row in conn.execute(_QUERIES["prepared"], {"database": database})],
    )


def read_sessions(conn: Connection, database: str) -> list[Session]:
    """Who else is connected to a database, and stays: a session of a program that has just ended is waited for."""
    end = time.monotonic() + _PATIENCE
    while True:
        found = [Session(*row) for row in conn.execute(_QUERIES["sessions"], {"database": database})]
        if not found or time.monotonic() >= end:
            return found
        time.sleep(0.05)


def apply_properties(conn: Connection, database: str, wanted: Properties) -> None:
    """Give a database the properties of another."""
    name = sql.Identifier(database)
    conn.execute(sql.SQL("alter database {} connection limit {}").format(name, sql.Literal(wanted.connection_limit)))
    for each in wanted.settings:
        setting, _, value = each.setting.partition("=")
        whose: sql.Composable = sql.SQL("database {}").format(name)
        if each.role is not None:
            whose = sql.SQL("role {} in database {}").format(sql.Identifier(each.role), name)
        # A value that is a list (search_path) is stored as it was written: quoted as one it would mean one name.
        query = sql.SQL("alter {} set {} to {}")
        conn.execute(query.format(whose, _setting_name(setting), _setting_value(setting, value)))
    if wanted.has_grants:
        conn.execute(sql.SQL("revoke all on database {} from public").format(name))
        for grant in wanted.grants:
            whom: sql.Composable = sql.SQL("public") if grant.role is None else sql.Identifier(grant.role)
            option = sql.SQL(" with grant option" if grant.grantable else "")
            grant_it = sql.SQL("grant {} on database {} to {}{}")
            conn.execute(grant_it.format(sql.SQL(grant.privilege), name, whom, option))
    conn.execute(sql.SQL("alter database {} owner to {}").format(name, sql.Identifier(wanted.owner)))


def _setting_name(name: str) -> sql.Composable:
    return sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))


# The settings whose value is a list of quoted names (GUC_LIST_QUOTE in PostgreSQL's variable.c and guc_tables.c).
_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}


def _setting_value(name: str, value: str) -> sql.Composable:
    if name.lower() in _LISTS and value:
        return sql.SQL(value)
    return sql.Literal(value)


def create_database(
    conn: Connection, name: str, comment: str, manifest: Manifest | None, *, locale: bool = True
) -> None:
    """Create an empty database with the backup's encoding and locale; nobody can connect before it is marked.

    :param locale: False: with the plain locale that every server has.
    :raises RestoreRefused: the server lacks that locale.
    """
    parts = [sql.SQL("create database {} with template template0 allow_connections false").format(sql.Identifier(name))]
    if manifest is not None:
        source = manifest.source
        parts += [sql.SQL("encoding {}").format(sql.Literal(source.encoding))]
        parts += [sql.SQL("lc_collate {}").format(sql.Literal(source.collate if locale else "C"))]
        parts += [sql.SQL("lc_ctype {}").format(sql.Literal(source.ctype if locale else "C"))]
        if locale and source.locale_provider != "libc" and source.locale is not None:
            parts += [
                sql.SQL("locale_provider {} {} {}").format(
                    sql.SQL("icu" if source.locale_provider == "icu" else "builtin"),
                    sql.SQL("icu_locale" if source.locale_provider == "icu" else "builtin_locale"),
                    sql.Literal(source.locale),
                )
            ]
    try:
        conn.execute(sql.SQL(" ").join(parts))
    except (
        psycopg.errors.WrongObjectType,
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.InvalidParameterValue,
    ) as error:
        raise RestoreRefused(
            "The server cannot create a database with the backup's encoding and locale",
            why=str(error).strip(),
            fix="Install that locale on the server's machine, or restore into another server.",
        ) from None
    set_comment(conn, name, comment)
    conn.execute(sql.SQL("alter database {} allow_connections true").format(sql.Identifier(name)))


def set_comment(conn: Connection, database: str, comment: str) -> None:
    """Set a database's comment; an empty one removes it."""
    query = sql.SQL("comment on database {} is {}")
    conn.execute(query.format(sql.Identifier(database), sql.Literal(comment) if comment else sql.SQL("null")))


def drop_database(conn: Connection, name: str) -> None:
    """Drop a database and end whoever is connected to it."""
    conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def rename_all(
    database: Database, conn: Connection, renames: Sequence[tuple[str, str, str]], *, terminate: bool
) -> None:
    """Rename databases and set their comments, all in one transaction.

    ``alter database … rename`` locks the database against new connections, then waits five seconds for the old ones
    to end. So they are ended while it waits: an application's pool that reconnects at once cannot get in between.

    :param renames: old name, new name, new comment.
    :param terminate: end the sessions of others.
    :raises DatabaseInUse: others are connected.
    """
    names = [old for old, _, _ in renames]
    with _Terminator(database, names if terminate else []):
        for attempt in range(_FINAL_TRIES):
            try:
                with conn.transaction():
                    conn.execute("set local synchronous_commit = on")
                    for old, new, comment in renames:
                        query = sql.SQL("alter database {} rename to {}")
                        conn.execute(query.format(sql.Identifier(old), sql.Identifier(new)))
                        set_comment(conn, new, comment)
                return
            except psycopg.errors.ObjectInUse:
                if attempt == _FINAL_TRIES - 1 or not terminate:
                    sessions = [session for name in names for session in read_sessions(conn, name)]
                    raise in_use(names[0], sessions) from None


class _Terminator:
    """Ends the sessions at some databases again and again while the block runs."""

    def __init__(self, database: Database, names: Sequence[str]) -> None:
        self._database, self._names = database, names
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="terminator", daemon=True)

    def __enter__(self) -> None:
        if self._names:
            self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        if self._names:
            self._thread.join()

    def _run(self) -> None:
        with self._database.connection(autocommit=True) as conn:
            while True:
                for name in self._names:
                    conn.execute(_QUERIES["terminate"], {"database": name})
                if self._over.wait(0.05):
                    return


def clear_migration_locks(conn: Connection) -> None:
    """Remove restored rows of yoyo's lock table."""
    for schema, table in conn.execute(_QUERIES["lock_tables"]).fetchall():
        conn.execute(sql.SQL("delete from {}").format(sql.Identifier(schema, table)))
