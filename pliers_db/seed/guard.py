"""Whether this database may be seeded at all: asked of the database, not of a variable."""

from __future__ import annotations

from shlex import quote
from typing import Any

from psycopg.rows import namedtuple_row

from pliers_db.config import Environment, check_allowed
from pliers_db.db import Connection, has_tables, load_queries, read_stamp
from pliers_db.errors import ProtectedDatabase, SeedTargetUnfit


def check_target(conn: Connection) -> None:
    """Make sure that the server takes writes from us.

    :raises SeedTargetUnfit: a standby, a read-only transaction, no right to temporary tables.
    """
    with conn.cursor(row_factory=namedtuple_row) as cursor:
        facts: Any = cursor.execute(load_queries("pliers_db.seed", "sql/load.sql")["target"]).fetchone()
    if facts.standby:
        raise SeedTargetUnfit("This server is a standby", why="It only repeats its primary.", fix="Use the primary.")
    if facts.read_only:
        raise SeedTargetUnfit(
            "This database is read-only for us",
            why="default_transaction_read_only is on.",
            fix="Turn it off for this role or database.",
        )
    if not facts.can_stage:
        raise SeedTargetUnfit(
            f"The role {facts.role} may not make temporary tables",
            why="Rows are compared with what is there in a temporary table.",
            fix=f'grant temporary on database … to "{facts.role}"',
        )


def check_environment(
    conn: Connection, environment: Environment, *, beyond: str = "", writes: bool = True, confirm: str | None = None
) -> None:
    """Make sure that the database is what the run believes it to be. A protected one takes reference rows only.

    :param beyond: what of the run is more than reference rows: ``20-demo.toml: rows.users.ann``.
    :param writes: whether it writes at all.
    :param confirm: the database name that a person typed.
    :raises ProtectedDatabase: it is another environment, a protected one, or nobody has said what it is.
    """
    stamp = read_stamp(conn)
    dbname = conn.info.dbname

    def refused(why: str, fix: str, reason: str) -> ProtectedDatabase:
        return ProtectedDatabase(
            f"Refused to seed in {dbname}", why=why, fix=fix, reason=reason, database=dbname, action="seed"
        )

    if stamp is None or stamp.foreign or not stamp.environment.protected:
        check_allowed(stamp, has_tables=has_tables(conn), action="seed", dbname=dbname, environment=environment)
        return
    # First, and without a way around: neither another --env nor a typed name makes such seeds right for it.
    if stamp.environment is not environment:
        raise refused(
            f"It is stamped {stamp.environment}, which is protected; seeds for {environment} are not for it.",
            "Point DATABASE_URL at another database.",
            "protected",
        )
    if beyond:
        raise refused(
            f"It is stamped {stamp.environment}, which takes reference rows only (.csv files): {beyond} is more.",
            "Point DATABASE_URL at another database, or keep only .csv files in that folder.",
            "not-reference",
        )
    if writes and confirm != dbname:
        raise refused(
            f"It is stamped {stamp.environment}, which is protected.",
            f"Look at it first: pliers-db seed plan. If you mean it, type the name: --confirm-db {quote(dbname)}",
            "protected",
        )
