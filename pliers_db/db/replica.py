"""Reads from standbys: a URL with several hosts names them, and libpq finds out which is which.

``postgresql://app@db1,db2,db3/shop``: writes go to the host that takes them, whichever it is after a failover; reads go
to a standby, spread by chance, or to the primary when there is none.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace

from pliers_db.config import Target
from pliers_db.db.connect import Connection
from pliers_db.log import get_logger

log = get_logger(__name__)

CAUGHT_UP = "select not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= %s::pg_lsn"
POSITION = "select pg_current_wal_insert_lsn()::text"
PATIENCE = 1.0
"""Seconds that a standby gets to catch up before the primary is asked instead."""


class Lagging(Exception):
    """The standby has not yet replayed what the reader must see."""


def write_target(target: Target) -> Target:
    """Where writes go: of several hosts, the one that takes them."""
    return _choose(target, "read-write")


def read_target(target: Target) -> Target | None:
    """Where reads may go; None if there is no choice."""
    if not _choosable(target):
        return None
    chosen = _choose(target, "prefer-standby")
    return replace(chosen, params={"load_balance_hosts": "random", **chosen.params})


def _choosable(target: Target) -> bool:
    """Several hosts, and the URL does not say itself which of them it wants."""
    return "," in (target.host or "") and "target_session_attrs" not in target.params


def _choose(target: Target, which: str) -> Target:
    if not _choosable(target):
        return target
    return replace(target, params={**target.params, "target_session_attrs": which})


def wait_until_replayed(conn: Connection, position: str, patience: float = PATIENCE) -> None:
    """Wait until this connection's server shows everything that was committed before ``position``.

    :param conn: in no transaction: inside one, the view of the data may already be fixed.
    :param position: of `Database.position`, asked after the write.
    :raises Lagging: it took longer than ``patience`` seconds.
    """
    pauses = Pauses(position, patience)
    while True:
        row = conn.execute(CAUGHT_UP, [position]).fetchone()
        if row is not None and row[0]:
            return
        time.sleep(pauses.next())


class Pauses:
    """How long to wait before each question; the caller sleeps, sync or async."""

    def __init__(self, position: str, patience: float) -> None:
        self._position, self._patience = position, patience
        self._deadline = time.monotonic() + patience
        self._pause = 0.002

    def next(self) -> float:
        """Seconds. :raises Lagging: they would go past the end."""
        if time.monotonic() + self._pause > self._deadline:
            raise Lagging(f"not at {self._position} after {self._patience:g} s")
        pause, self._pause = self._pause, min(0.05, self._pause * 2)
        return pause * random.uniform(0.8, 1.2)
