"""What became of a transaction whose COMMIT was never answered. Pure: the caller asks the server.

``pg_xact_status`` alone is not to be believed. A crash loses the last numbers with the last unflushed WAL, and gives
them out again; so does a failover. "Committed" may then be somebody else's. What is certain: if ours was committed,
its WAL survived, its number was not given out again, and the answer is "committed". Any other answer means that it was
not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import psycopg

from pliers_db.db.transaction import MARK, Xid
from pliers_db.errors import CommitUnknown
from pliers_db.log import get_logger

log = get_logger(__name__)

PATIENCE: Final = 15.0
"""Seconds to keep asking."""

INSIST: Final = 1.0
"""Seconds to wait for a transaction in progress to end by itself, before its session is ended."""

ASK: Final = f"select pg_is_in_recovery(), {MARK}, pg_xact_status(%s::xid8)"
END_IT: Final = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where backend_xid = (%s::xid8)::xid and datname = current_database() and pid <> pg_backend_pid()"
)
"""End the session that still holds the transaction open; its number is unique among those in progress."""

AFTER_CRASH: Final = (
    "select checkpoint_lsn = redo_lsn and date_trunc('second', crashed) <= checkpoint_time"
    " and pg_postmaster_start_time() <= crashed, replace(next_xid, ':', ' ')"
    " from pg_control_checkpoint(), pg_stat_get_bgwriter_stat_reset_time() as crashed"
)
"""Whether the last checkpoint is the one at the end of the recovery, and the first number that it found unused.

That checkpoint begins where it is written, which one beside other work does not; and a clean restart would have been
after the crash.
"""


class Outcome(Enum):
    """What is known."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    IN_PROGRESS = "in progress"
    CRASHED = "committed, by somebody, perhaps after a crash"
    """Ask `AFTER_CRASH`."""
    UNKNOWABLE = "unknowable"


def judge(xid: Xid, row: Sequence[Any] | None) -> Outcome:
    """Read the answer to `ASK`."""
    if row is None:
        return Outcome.UNKNOWABLE
    standby, timeline, life, status = row
    if standby:
        return Outcome.IN_PROGRESS  # it may lag behind the truth; the primary may come back
    if status is None:
        return Outcome.UNKNOWABLE  # too old
    if (timeline, life) == (xid.timeline, xid.life):
        return Outcome(status)
    if status != Outcome.COMMITTED.value:
        return Outcome.ABORTED
    return Outcome.CRASHED if timeline == xid.timeline else Outcome.UNKNOWABLE


def judge_error(error: psycopg.Error) -> Outcome:
    """What it means that the server refused to answer `ASK`."""
    # "transaction ID … is in the future": it was lost, and its number not yet given out again.
    return Outcome.ABORTED if error.sqlstate == "22023" else Outcome.UNKNOWABLE


def judge_after_crash(xid: Xid, row: Sequence[Any] | None) -> Outcome:
    """Read the answer to `AFTER_CRASH`."""
    if row is None or not row[0]:
        return Outcome.UNKNOWABLE
    epoch, number = (int(part) for part in row[1].split())
    survived = int(xid.xid) < (epoch << 32) + number
    return Outcome.COMMITTED if survived else Outcome.ABORTED


class Inquiry:
    """Asking the server, until it knows, what became of a COMMIT whose answer was lost. The caller asks and sleeps."""

    def __init__(self, name: str, xid: Xid, unknown: CommitUnknown, give_up: float | None) -> None:
        """:param name: of the transaction, for the log.
        :param unknown: the error if it cannot be known.
        :param give_up: when to stop asking, by ``time.monotonic``; default: after `PATIENCE`.
        """
        log.warning("%s: the answer to COMMIT was lost; asking for transaction %s", name, xid.xid)
        self.xid = xid
        self._name, self._unknown = name, unknown
        self._begun = time.monotonic()
        self._until = min(self._begun + PATIENCE, give_up or self._begun + PATIENCE)
        self._pause = 0.02

    @property
    def left(self) -> float:
        """Seconds that one question may take."""
        return max(0.1, self._until - time.monotonic())

    @property
    def insist(self) -> bool:
        """Whether to end the session that still holds the transaction open: it may wait for a client that is gone, for
        as long as the network keeps quiet.
        """
        return time.monotonic() - self._begun > INSIST

    def in_vain(self, error: Exception) -> Outcome:
        """The question could not be asked."""
        log.info("%s: cannot ask yet: %s", self._name, error)
        return Outcome.IN_PROGRESS

    def committed(self, outcome: Outcome) -> bool | None:
        """Weigh an answer. :returns: None: ask again after `pause`.

        :raises CommitUnknown: it cannot be known, or not in time.
        """
        if outcome in (Outcome.COMMITTED, Outcome.ABORTED):
            log.info("%s: transaction %s was %s", self._name, self.xid.xid, outcome.value)
            return outcome is Outcome.COMMITTED
        if outcome is Outcome.UNKNOWABLE:
            raise self._error("The server cannot tell: it has crashed or failed over since.")
        if time.monotonic() + self._pause > self._until:
            raise self._error("The server could not be asked in time.")
        return None

    def pause(self) -> float:
        """Seconds to wait before the next question."""
        pause, self._pause = self._pause, min(0.5, self._pause * 2)
        return pause

    def _error(self, why: str) -> CommitUnknown:
        return outcome_unknown(self._unknown, self.xid, why)


def outcome_unknown(error: CommitUnknown, xid: Xid, why: str) -> CommitUnknown:
    """The error when even asking did not help."""
    return CommitUnknown(
        error.message,
        why=why,
        fix=f"Look whether its effects are there; its number was {xid.xid}.",
        xid=xid.xid,
    )
