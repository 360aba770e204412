"""What became of a transaction whose COMMIT was never answered. Pure: the caller asks the server."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from pliers_db.db.transaction import Xid
from pliers_db.errors import CommitUnknown

PATIENCE: Final = 15.0
"""Seconds to keep asking."""

ASK: Final = (
    "select pg_xact_status(%s::xid8), pg_is_in_recovery(),"
    " case when not pg_is_in_recovery() then substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) end"
)
END_IT: Final = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where backend_xid = (%s::xid8)::xid and datname = current_database() and pid <> pg_backend_pid()"
)
"""End the session that still holds the transaction open; its number is unique among those in progress."""


class Outcome(Enum):
    """What the server says."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    IN_PROGRESS = "in progress"
    UNKNOWABLE = "unknowable"


def judge(xid: Xid, row: Sequence[Any] | None) -> Outcome:
    """Read the answer to `ASK`.

    A standby may lag behind the truth; and on another timeline, after a failover that lost transactions, the same
    number may be somebody else's.
    """
    if row is None:
        return Outcome.UNKNOWABLE
    status, standby, timeline = row
    if standby:
        return Outcome.IN_PROGRESS  # ask again: the primary may come back
    if timeline != xid.timeline or status is None:
        return Outcome.UNKNOWABLE
    return Outcome(status)


def outcome_unknown(error: CommitUnknown, xid: Xid, why: str) -> CommitUnknown:
    """The error when even asking did not help."""
    return CommitUnknown(
        error.message,
        why=why,
        fix=f"Look whether its effects are there: select pg_xact_status('{xid.xid}'::xid8)",
        xid=xid.xid,
    )
