"""How a session is brought back to the state it was opened in."""

from __future__ import annotations

import select
import time
from operator import attrgetter
from typing import Any, Final

import psycopg
from psycopg import postgres
from psycopg.abc import Dumper, Loader
from psycopg.adapt import AdaptersMap
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.types import TypeInfo, TypesRegistry

from pliers_db.db.footprint import Footprint

# What DISCARD ALL does except "deallocate all", in one message that may run as one implicit transaction.
WIPE: Final = (
    b"reset session authorization; reset role; reset all; close all; unlisten *; discard temp; discard sequences; "
    b"select pg_advisory_unlock_all()"
)
WIPE_ALL: Final = WIPE + b"; deallocate all"

_ATTRIBUTES = (
    "_autocommit",
    "_isolation_level",
    "_read_only",
    "_deferrable",
    "row_factory",
    "cursor_factory",
    "server_cursor_factory",
    "_num_transactions",
    "_tpc",
    "_pipeline",
    "_prepared.prepare_threshold",
    "_prepared.prepared_max",
)
_look = attrgetter(*_ATTRIBUTES)

AnyConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


class _Types(TypesRegistry):
    """A registry that notes what is added."""

    def __init__(self, template: TypesRegistry, changes: list[str]) -> None:
        super().__init__(template)
        self._changes = changes

    def add(self, info: TypeInfo) -> None:
        self._changes.append(info.name)
        super().add(info)


class _Adapters(AdaptersMap):
    """Adapters that note what is changed: a copy for every borrower would cost a tenth of a checkout."""

    def __init__(self, template: AdaptersMap, changes: list[str]) -> None:
        super().__init__(template)
        self.types = _Types(template.types, changes)
        self._changes = changes

    def register_dumper(self, cls: type | str | None, dumper: type[Dumper]) -> None:
        self._changes.append(dumper.__name__)
        super().register_dumper(cls, dumper)

    def register_loader(self, oid: int | str, loader: type[Loader]) -> None:
        self._changes.append(loader.__name__)
        super().register_loader(oid, loader)


class Baseline:
    """The Python side of a connection as it was opened."""

    __slots__ = ("_adapters", "_changes", "_lent", "_values", "cursors", "rows", "server_cursors")

    def __init__(self, conn: AnyConnection) -> None:
        self._values = _look(conn)
        self.rows, self.cursors, self.server_cursors = self._values[4:7]
        self._adapters = AdaptersMap(conn._adapters or postgres.adapters)
        self._changes: list[str] = []
        conn._adapters = self._lent = _Adapters(self._adapters, self._changes)

    def stands(self, conn: AnyConnection) -> bool:
        """Whether `restore` would change nothing, for a connection that is not `Lent.stirred`."""
        return (
            conn.row_factory is self.rows
            and conn.cursor_factory is self.cursors
            and conn.server_cursor_factory is self.server_cursors
            and conn._adapters is self._lent
            and not (self._changes or conn._notice_handlers or conn._notify_handlers)
        )

    def restore(self, conn: AnyConnection) -> None:
        """Undo what a borrower changed on the object: autocommit, factories, adapters, handlers."""
        if _look(conn) != self._values:
            for name, value in zip(_ATTRIBUTES, self._values, strict=True):
                owner, _, attribute = name.rpartition(".")
                setattr(conn._prepared if owner else conn, attribute, value)
            conn._begin_statement = b""
        conn._notice_handlers.clear()
        conn._notify_handlers.clear()
        if conn._adapters is not self._lent or self._changes:
            self._changes.clear()
            conn._adapters = self._lent = _Adapters(self._adapters, self._changes)
        if conn._notifies_backlog:
            conn._notifies_backlog.clear()
        conn.stirred = False  # type: ignore[union-attr]


def send_wipe(conn: AnyConnection, footprint: Footprint) -> None:
    """Send off what wipes the server's side, without waiting for the answer: that is for `finish_wipe`.

    The one who returns a connection does not pay a round trip, and the next borrower finds the answer there.

    :raises psycopg.Error: the connection is gone.
    """
    if footprint is Footprint.SESSION:
        conn.pgconn.send_query(WIPE_ALL)
        forget_prepared(conn)
    else:
        conn.pgconn.send_query(WIPE)
    conn.pgconn.flush()


def forget_prepared(conn: AnyConnection) -> None:
    """Tell psycopg that its prepared statements are gone: it notices a deallocation only in what it runs itself."""
    conn._prepared.clear()
    conn._prepared._to_flush.clear()


def finish_wipe(conn: AnyConnection, deadline: float) -> None:
    """Wait until the wipe is done.

    :param deadline: by ``time.monotonic``.
    :raises psycopg.Error: it failed or took too long; the connection is to be dropped.
    """
    pgconn = conn.pgconn
    pgconn.consume_input()
    if pgconn.is_busy():
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN)
        while pgconn.is_busy():
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise psycopg.OperationalError("the clean-up of the session got no answer")
            pgconn.flush()
            pgconn.consume_input()
    check_wipe(conn)


def check_wipe(conn: AnyConnection) -> None:
    """Read the answers to a wipe, which have all arrived.

    :raises psycopg.Error: one of them is an error.
    """
    pgconn = conn.pgconn
    failed = ""
    while (result := pgconn.get_result()) is not None:
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            failed = failed or result.get_error_message()
    while pgconn.notifies():  # what the last borrower listened to is none of the next one's business
        pass
    if failed or pgconn.transaction_status != TransactionStatus.IDLE:
        raise psycopg.OperationalError(failed or "the session is not idle after its clean-up")
