"""Looking at the lock of migrations, and removing it when nobody holds it any more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta

from psycopg import sql
from psycopg.rows import dict_row

from pliers_db.config import Environment
from pliers_db.db import Connection, Database
from pliers_db.db.locks import LockName, advisory_unlock, lock_holders, try_advisory_lock
from pliers_db.errors import LockAlive
from pliers_db.migrate.apply import guard
from pliers_db.migrate.history import QUERIES, History, read_history, yoyo_now
from pliers_db.progress import SILENT, Reporter
from pliers_db.units import format_duration

# yoyo writes its client's clock into its row; clocks differ.
_SKEW = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Unlocked:
    """What `unlock` has found and done."""

    holder: str | None
    """Who holds or held it; None: nobody."""
    removed: bool

    @property
    def sentence(self) -> str:
        """The same for a person."""
        if self.holder is None:
            return "Nobody holds the lock."
        return f"Removed the lock of {self.holder}." if self.removed else f"The lock is held by {self.holder}."


def unlock(
    database: Database,
    *,
    environment: Environment,
    terminate: bool = False,
    confirm: str | None = None,
    reporter: Reporter = SILENT,
) -> Unlocked:
    """Remove the lock of a run that is provably dead; say who holds a live one.

    A run of ours is alive as long as its session is. A yoyo that works has a session that is older than its row in
    ``yoyo_lock``: where no other session is old enough, nobody is behind the row.

    :param terminate: end the session of ours that holds the lock. Its transaction is rolled back.
    :param confirm: the name of the database, typed by a person; needed for a protected one.
    :raises LockAlive: stock yoyo's row, and a session that may be behind it.
    """
    with database.connection(autocommit=True) as conn:
        history = read_history(conn)
        if not try_advisory_lock(conn, LockName.SCHEMA):
            holder = ", ".join(lock_holders(conn, LockName.SCHEMA)) or "another session"
            if not terminate:
                return Unlocked(holder, removed=False)
            guard(conn, environment, confirm, f"end the session of {holder}")
            conn.execute(QUERIES["terminate_holders"], [LockName.SCHEMA.value])
            reporter.info(f"ended {holder}; its row goes with the next run")
            return Unlocked(holder, removed=True)
        try:
            return _remove(conn, history, environment, confirm) if history.yoyo_locks else Unlocked(None, False)
        finally:
            advisory_unlock(conn, LockName.SCHEMA)


def _remove(conn: Connection, history: History, environment: Environment, confirm: str | None) -> Unlocked:
    tables = {"rows": sql.Identifier(history.schema, "yoyo_lock")}
    if history.complete:
        tables["owners"] = sql.Identifier(history.schema, "_pliers_lock")
    query = QUERIES["lock_row" if history.complete else "plain_lock_row"]
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(sql.SQL(query).format(**tables)).fetchone()
        if row is None:
            return Unlocked(None, removed=False)
        age = format_duration((yoyo_now() - row["ctime"]).total_seconds())
        who = f"pliers-db on {row['host']}" if row["ours"] else "yoyo"
        holder = f"{who} (process {row['pid']}, taken {age} ago)"
        if not row["ours"]:
            sessions = cursor.execute(QUERIES["sessions_before"], [row["ctime"].replace(tzinfo=UTC) + _SKEW]).fetchall()
            if sessions:
                names = ", ".join(f"{s['name']} (pid {s['pid']})" for s in sessions[:5])
                raise LockAlive(
                    f"{holder} may still work; nothing was changed",
                    why=f"yoyo's row does not say which session is its own, and these are old enough: {names}.",
                    fix="End that session, or if you know that the process is dead: yoyo break-lock",
                )
    guard(conn, environment, confirm, "remove the lock of migrations")
    with conn.transaction():
        for table in tables.values():
            conn.execute(sql.SQL("delete from {}").format(table))
    return Unlocked(holder, removed=True)
