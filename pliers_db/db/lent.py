"""What our connections know beyond psycopg's: their footprint, their deadline, and how to tell that they are dead."""

from __future__ import annotations

import math
import os
import select
import time
from typing import Any, Final

import psycopg

from pliers_db.config import PoolSettings
from pliers_db.db.footprint import Footprint, ends_transaction, footprint
from pliers_db.db.leaks import Slip
from pliers_db.db.pgbouncer import Passage
from pliers_db.db.session import Baseline
from pliers_db.db.watchdog import cut

NOTHING: Final = Footprint.NOTHING
SESSION: Final = Footprint.SESSION

# psycopg runs everything as a generator. The name of its function tells what it does, its argument the statement.
_HARMLESS: Final = frozenset(
    {"_commit_gen", "_rollback_gen", "_enter_gen", "_exit_gen", "_set_autocommit_gen", "_set_isolation_level_gen"}
    | {"_set_read_only_gen", "_set_deferrable_gen", "fetch_many", "_read_gen", "_read_row_gen", "_end_copy_out_gen"}
    | {"copy_to", "copy_end", "_stream_fetchone_gen"}
)
_GRACE: Final = 10.0  # seconds that a server gets to keep its own statement_timeout before it counts as hung
_TINY: Final = 1e-9
_STATEMENT: Final = {
    "_execute_gen": "query",
    "_executemany_gen_pipeline": "query",
    "_executemany_gen_no_pipeline": "query",
    "_stream_send_gen": "query",
    "_start_copy_gen": "statement",
}


def statement_of(gen: Any) -> Any:
    """The statement that a generator of psycopg is about to run; None if it runs none, Ellipsis if unknown."""
    name = gen.__name__
    argument = _STATEMENT.get(name)
    if argument is not None:
        return gen.gi_frame.f_locals.get(argument, ...)
    return None if name in _HARMLESS else ...


def _stirring(name: str) -> Any:
    """A property of psycopg's connection; that it is set is noticed."""
    base = getattr(psycopg.Connection, name)

    def change(conn: Any, value: Any) -> None:
        conn.stirred = True
        base.fset(conn, value)

    return property(base.fget, change, doc=base.__doc__)


class Lent:
    """The part that the sync and the async connection share."""

    prepare_threshold = _stirring("prepare_threshold")
    prepared_max = _stirring("prepared_max")

    pgconn: Any
    _num_transactions: int
    baseline: Baseline
    footprint: Footprint
    stirred: bool
    """Whether its Python side may have been changed, otherwise than `Baseline.stands` sees."""
    slip: Slip
    """Its page in the book of loans."""
    era: int
    """What the circuit breaker said when it was borrowed."""
    cut_at: float
    """When the watchdog cuts it, by ``time.monotonic``; 0: never."""
    busy_since: float
    """When the running statement began, by ``time.monotonic``; 0: none runs."""
    cut_after: float
    """For how many seconds nothing was heard when the watchdog cut it; 0: it did not."""
    wiping: Footprint
    """What is being cleaned up: sent to the server, and its answer not read yet."""
    pooled: bool
    """Whether a pooler stands between us and the server: session state is nothing to rely on, or to wipe."""
    preamble: bytes
    """What follows each BEGIN in the same message."""
    back_at: float
    """When it came back to the pool, by ``time.monotonic``."""
    fit_until: float
    """Until when it can be lent again as it is, by ``time.monotonic``; after that, look whether it still lives."""
    reported: float
    """When its borrower was last reported for keeping it too long."""

    slow: float
    """Seconds from which a statement is logged as slow."""
    waited: float
    """How long its borrower waited for it."""
    origin: tuple[str, int] | None
    """The name and the attempt of the `run_transaction` that borrowed it."""

    def prepare(self, limits: PoolSettings, passage: Passage) -> None:
        """To be called once, when the connection has been opened and it is known whether a pooler was on the way."""
        assert isinstance(self, psycopg.Connection | psycopg.AsyncConnection)
        self.footprint = NOTHING
        self.stirred = False
        self.era = 0
        self.slow = limits.slow_query or math.inf
        self.waited, self.origin = 0.0, None
        self.cut_at = self.busy_since = self.cut_after = self.back_at = self.fit_until = self.reported = 0.0
        self.wiping = NOTHING
        self.pooled = False
        self.preamble = b""
        if passage.pooled:
            passage.adapt(self)
        self.baseline = Baseline(self)
        self._inode = os.fstat(self.pgconn.socket).st_ino
        self._poll = select.poll()
        self._poll.register(self.pgconn.socket, select.POLLIN)

    def note(self, gen: Any) -> Any:
        """Take notice of what is about to run. :returns: the statement, None or Ellipsis as `statement_of` does."""
        statement = statement_of(gen)
        self.stirred = True
        if statement is not None:
            self.tread(statement)
        return statement

    def tread(self, statement: Any) -> None:
        """Take notice of a statement that is about to run.

        :raises psycopg.ProgrammingError: it would end the transaction of a block.
        """
        if self.footprint is SESSION:
            return
        step = footprint(statement)
        if step is not NOTHING:
            self.footprint = step
        elif self._num_transactions and ends_transaction(statement):
            raise psycopg.ProgrammingError("the transaction is ended by its block, not by a statement inside it")

    def dead(self) -> bool:
        """Whether the server has hung up on this idle connection; costs no round trip.

        A server that ends a session says so, or its kernel does: something to read where nothing was asked. The
        other things that can come unasked (the news of a reloaded setting) are rare: a new connection costs less
        than a doubtful one.
        """
        return bool(self._poll.poll(0))

    def overdue(self, now: float, statement_timeout: float) -> bool:
        """Whether the server should have answered by now, and is to be cut off.

        :param statement_timeout: the pool's; while it is in force, a server that does not keep it hangs.
        """
        if self.cut_after:
            return False
        if self.cut_at and now >= self.cut_at:
            return True
        since = self.busy_since
        in_force = statement_timeout > 0 and self.footprint < Footprint.SESSION
        return bool(since) and in_force and now >= since + statement_timeout + _GRACE

    def cut(self) -> bool:
        """Cut a connection whose server does not answer. :returns: whether that was possible."""
        try:
            fileno = self.pgconn.socket
        except psycopg.Error:
            return False
        since = self.busy_since
        # Noted first: its borrower hears of the cut at once, and asks whether it was ours.
        self.cut_after = max(time.monotonic() - since, _TINY) if since else _TINY
        if not cut(fileno, self._inode):
            self.cut_after = 0.0
            return False
        return True
