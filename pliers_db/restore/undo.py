"""Going back to what stood there before a restore, and dropping what is no longer wanted."""

from __future__ import annotations

from dataclasses import dataclass

from pliers_db.backup import read_properties
from pliers_db.config import Environment, PoolSettings, Target, check_allowed
from pliers_db.db import Database, has_tables, read_stamp
from pliers_db.errors import NothingToUndo
from pliers_db.progress import SILENT, Reporter
from pliers_db.restore.cluster import (
    apply_properties,
    drop_database,
    maintenance,
    read_databases,
    read_sessions,
    rename_all,
    restore_lock,
    with_sizes,
)
from pliers_db.restore.marks import OLD, Marked, leftovers, mark, old_name, put_aside, without_mark
from pliers_db.restore.plan import in_use

APPLICATION = "pliers-db/restore"


@dataclass(frozen=True, slots=True)
class Undone:
    """What `undo` has done."""

    database: str
    brought_back: Marked
    kept_as: str | None
    """The name of what stood there until now."""


def undo(
    target: Target,
    *,
    environment: Environment,
    terminate: bool = False,
    pool: PoolSettings | None = None,
    confirm: str | None = None,
) -> Undone:
    """Swap back the database that the last restore has put aside; what stands there now is put aside in turn.

    :raises NothingToUndo: there is none.
    :raises DatabaseInUse: others are connected, and ``terminate`` was not given.
    """
    name = target.dbname
    with (
        Database(maintenance(target), pool, application_name=APPLICATION, one_shot=True) as database,
        database.connection(autocommit=True) as conn,
        restore_lock(conn, name),
    ):
        conn.execute("set statement_timeout = 0")
        databases = {each.name: each for each in read_databases(conn)}
        kept = put_aside(databases.values(), name)
        if not kept:
            raise NothingToUndo(
                f"No restore has put a {name} aside", why="There is nothing to go back to.", fix="pliers-db backup list"
            )
        back = kept[0]
        if name in databases:
            _guard(target, "undo a restore", environment, confirm)
        if (sessions := read_sessions(conn, name)) and not terminate:
            raise in_use(name, sessions)
        renames = [(back.name, name, without_mark(databases[back.name].comment))]
        kept_as = None
        if name in databases:
            apply_properties(conn, back.name, read_properties(conn, name))
            kept_as = old_name(name, databases)
            comment = f"{without_mark(databases[name].comment)} {mark(OLD, name, 'undo')}".strip()
            renames.insert(0, (name, kept_as, comment))
        rename_all(database, conn, renames, terminate=terminate)
        return Undone(name, back, kept_as)


def clean(
    target: Target,
    *,
    environment: Environment,
    pool: PoolSettings | None = None,
    confirm: str | None = None,
    reporter: Reporter = SILENT,
) -> tuple[Marked, ...]:
    """Drop every database that restores of this one have put aside, and what restores that died have left.

    :returns: what was put aside and is gone.
    """
    name = target.dbname
    with (
        Database(maintenance(target), pool, application_name=APPLICATION, one_shot=True) as database,
        database.connection(autocommit=True) as conn,
        restore_lock(conn, name),
    ):
        conn.execute("set statement_timeout = 0")
        databases = read_databases(conn)
        kept = with_sizes(conn, put_aside(databases, name))
        for each in kept:
            _guard(target, "drop what a restore has kept", environment, confirm, standing=each.name)
        for gone in (*leftovers(databases, name), *(each.name for each in kept)):
            reporter.info(f"Dropping {gone}")
            drop_database(conn, gone)
        return kept


def _guard(
    target: Target, action: str, environment: Environment, confirm: str | None, standing: str | None = None
) -> None:
    """Ask a database what it is before it is taken away.

    :param standing: the database to ask, if it is not the target's own.
    """
    asked = target.with_database(standing or target.dbname)
    with Database(asked, application_name=APPLICATION, one_shot=True) as database, database.connection() as conn:
        stamp, filled = read_stamp(conn), has_tables(conn)
    check_allowed(
        stamp, has_tables=filled, action=action, dbname=target.dbname, environment=environment, confirm=confirm
    )
