"""Whether a destructive command may touch a database: decided by what the database says it is.

Pure: plain values in, nothing or `ProtectedDatabase` out. The stamp is read by `pliers_db.db.read_stamp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

from pliers_db.config.environment import Environment
from pliers_db.errors import ProtectedDatabase


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a database says it is."""

    environment: Environment
    system_identifier: str
    foreign: bool
    """Stamped on another cluster: a copy, not to be believed."""


def check_allowed(
    stamp: Stamp | None,
    *,
    has_tables: bool,
    action: str,
    dbname: str,
    environment: Environment,
    confirm: str | None = None,
) -> None:
    """Let a destructive command pass, or refuse it.

    :param stamp: what the database says it is; None if it says nothing.
    :param has_tables: whether there is anything to lose.
    :param action: what is about to happen, as the end of "Refused to …": ``roll back 2 migrations``.
    :param dbname: the name of the connected database.
    :param environment: what this run believes to work on.
    :param confirm: the database name that a person typed, or ``--confirm-db``.
    :raises ProtectedDatabase: with the reason (``details["reason"]``: confirm, unstamped, foreign, mismatch or
        protected) and the way on.
    """

    def refused(reason: str, why: str, fix: str) -> ProtectedDatabase:
        return ProtectedDatabase(
            f"Refused to {action} in {dbname}", why=why, fix=fix, reason=reason, database=dbname, action=action
        )

    if confirm is not None and confirm != dbname:
        raise refused("confirm", f"The confirmed name is {confirm!r}, the database is {dbname!r}.", _confirm(dbname))
    if stamp is None:
        if not has_tables:
            return
        raise refused(
            "unstamped",
            "It has tables and nobody has said which environment it is.",
            f"Say what it is, for example: pliers-db env set {environment}",
        )
    if stamp.foreign:
        raise refused(
            "foreign",
            f"It was stamped {stamp.environment} on another cluster: a copy, of which nobody has said what it is.",
            f"Say what it is here, for example: pliers-db env set {environment}",
        )
    if stamp.environment is not environment:
        raise refused(
            "mismatch",
            f"The database is stamped {stamp.environment}, this run is for {environment}.",
            f"Run with --env {stamp.environment} if that database is meant, else correct DATABASE_URL.",
        )
    if stamp.environment.protected and confirm is None:
        raise refused("protected", f"It is stamped {stamp.environment}, which is protected.", _confirm(dbname))


def check_restamp(
    stamp: Stamp | None,
    new: Environment,
    *,
    dbname: str,
    environment: Environment,
    confirm: str | None = None,
) -> None:
    """Let ``env set`` pass, or refuse it: leaving a protected environment needs the typed name.

    :param environment: what this run believes to work on; saying that it is a less protected one needs the name too.
    :raises ProtectedDatabase: with the reason and the way on.
    """

    def refused(reason: str, why: str) -> ProtectedDatabase:
        return ProtectedDatabase(
            f"Refused to stamp {dbname} as {new}", why=why, fix=_confirm(dbname), reason=reason, database=dbname
        )

    if confirm is not None and confirm != dbname:
        raise refused("confirm", f"The confirmed name is {confirm!r}, the database is {dbname!r}.")
    if confirm is not None:
        return
    if stamp is not None and stamp.environment.protected and stamp.environment is not new:
        raise refused("protected", f"It is stamped {stamp.environment}, which is protected.")
    if environment.protected and not new.protected:
        raise refused("protected", f"This run is for {environment}, which is protected.")


def _confirm(dbname: str) -> str:
    return f"If you mean it, type the name: --confirm-db {quote(dbname)}"
