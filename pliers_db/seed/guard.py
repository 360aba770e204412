"""Whether this database may be seeded at all: asked of the database, not of a variable."""

from __future__ import annotations

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


def check_environment(conn: Connection, environment: Environment) -> None:
    """Make sure that the database is what the run believes it to be, and not a protected one.

    :raises ProtectedDatabase: it is another environment, a protected one, or nobody has said what it is.
    """
    stamp = read_stamp(conn)
    dbname = conn.info.dbname
    # First, and without a way around: neither another --env nor a typed name makes seeds right for such a database.
    if stamp is not None and stamp.environment.protected and not stamp.foreign:
        raise ProtectedDatabase(
            f"Refused to seed in {dbname}",
            why=f"It is stamped {stamp.environment}, which is protected; seeds are for development and test.",
            fix="Point DATABASE_URL at another database.",
            reason="protected",
            database=dbname,
            action="seed",
        )
    check_allowed(stamp, has_tables=has_tables(conn), action="seed", dbname=dbname, environment=environment)
