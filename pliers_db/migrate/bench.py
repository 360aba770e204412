"""A place to try migrations out: a server for the purpose, and on it a database that is made anew when it is spoilt."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg import generators, sql
from psycopg.pq import ExecStatus, TransactionStatus

from pliers_db.catalog import snapshot
from pliers_db.config import Target
from pliers_db.db import Connection, Database, connect, load_queries, read_stamp
from pliers_db.errors import ScratchProtected, ScratchUnusable
from pliers_db.migrate.files import MigrationFile, RollbackFile
from pliers_db.migrate.parser import place_of, split
from pliers_db.migrate.roundtrip import Roles, State
from pliers_db.migrate.script import RESTORE, Script, locate, transaction_script
from pliers_db.postgres import scratch_server
from pliers_db.progress import SILENT, Reporter

APPLICATION = "pliers-db/migrate verify"
_QUERIES = load_queries("pliers_db.migrate", "sql/verify.sql")
_COPYING = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)


class DoesNotRun(Exception):
    """The server refuses a file; as text, where and why, in one line."""

    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


class Bench:
    """A connection to a database of its own, and the way to a new one. Use `open_bench`."""

    def __init__(self, server: Target, name: str, reporter: Reporter = SILENT) -> None:
        """:param server: a database of the server to connect to first, with a role that may create databases.
        :param name: of the database that is made, and dropped at the end.
        """
        self._server = server
        self._name = name
        self._reporter = reporter
        self._first = ExitStack()
        self._stack = ExitStack()
        database = self._first.enter_context(Database(server, application_name=APPLICATION, one_shot=True))
        self._admin = self._first.enter_context(database.connection(autocommit=True))
        self._roles_before = frozenset(read_roles(self._admin))
        self.version = self._admin.info.parameter_status("server_version") or ""
        self._conn = self._create()

    def _create(self) -> Connection:
        try:
            # template0: what somebody has put into template1 is in no production database.
            self._admin.execute(sql.SQL("create database {} template template0").format(sql.Identifier(self._name)))
        except psycopg.Error as error:
            self._first.close()
            raise ScratchUnusable(
                f"No database can be created on {self._server}",
                why=str(error.diag.message_primary or error),
                fix="Give --scratch a superuser of a server that may be played with, or leave it out.",
            ) from error
        target = self._server.with_database(self._name)
        database = self._stack.enter_context(Database(target, application_name=APPLICATION, one_shot=True))
        return self._stack.enter_context(database.connection(autocommit=True))

    def renew(self) -> None:
        """Begin again with an empty database, and without the roles that have come since the beginning."""
        self._clear()
        self._conn = self._create()

    def close(self, *, clear: bool) -> None:
        """Close the connections.

        :param clear: drop what was made on the server, first.
        """
        with self._first:
            if clear:
                self._clear()
            self._stack.close()

    def _clear(self) -> None:
        self._stack.close()
        self._admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(self._name)))
        for role in sorted(set(read_roles(self._admin)) - self._roles_before):
            try:
                self._admin.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
            except psycopg.Error as error:
                self._reporter.warn(f"the role {role} stays on the scratch server: {error.diag.message_primary}")

    @property
    def conn(self) -> Connection:
        """The session in which files run, in autocommit mode; after `renew` it is another one."""
        return self._conn

    @property
    def target(self) -> Target:
        """The database in which files run."""
        return self._server.with_database(self._name)

    # ── what is tried ───────────────────────────────────────────────────────────────────────────────────────
    def state(self) -> State:
        """What is there now."""
        return State(snapshot(self._conn), read_roles(self._conn))

    def run(self, file: MigrationFile | RollbackFile) -> None:
        """Run a file as `migrate up` and `down` do: as one transaction, or statement by statement.

        :raises DoesNotRun: the database is spoilt then, if the file runs without a transaction.
        """
        if file.transactional:
            self._send(transaction_script(file.path, file.text, settings=(), record=()))
            return
        for statement in split(file.text):
            self.run_statement(file, statement.sql, statement.start)
        self._send(Script(file.path, "", RESTORE, ""))

    def run_statement(self, file: MigrationFile | RollbackFile, statement: str, start: int) -> None:
        """Run one statement of a file, in the transaction that is open, if one is.

        :param start: where it stands in the file.
        :raises DoesNotRun: the transaction is rolled back then.
        """
        self._send(Script(file.path, "", statement, ""), lines_before=file.text.count("\n", 0, start))

    def end_transaction(self, file: MigrationFile | RollbackFile) -> None:
        """Commit as the transaction of a migration does.

        :raises DoesNotRun: a deferred constraint refuses it.
        """
        self._send(Script(file.path, "", f"set constraints all immediate;\n{RESTORE}commit", ""))

    def _send(self, script: Script, lines_before: int = 0) -> None:
        """Send one message of any number of statements by the simple protocol; what SELECTs return is dropped."""
        conn, completed = self._conn, 0
        try:
            with conn.lock:
                conn.pgconn.send_query(script.text.encode())
                results = conn.wait(generators.execute(conn.pgconn))
            for result in results:
                if result.status in _COPYING:
                    conn.close()
                    raise DoesNotRun(f"{script.path.name}: COPY from or to the client does not work in a migration")
                if result.status == ExecStatus.FATAL_ERROR:
                    raise psycopg.errors.error_from_result(result, encoding="utf-8")
                completed += 1
        except psycopg.Error as error:
            if conn.closed:
                why = " ".join(str(error).split())
                raise DoesNotRun(f"{script.path.name}: the server has closed the connection: {why}") from error
            if conn.pgconn.transaction_status != TransactionStatus.IDLE:
                conn.execute("rollback")
            raise DoesNotRun(_where(script, error, completed, lines_before), error.sqlstate) from error


def _where(script: Script, error: psycopg.Error, completed: int, lines_before: int) -> str:
    if script.head:
        place, told = locate(script, error.diag, completed)
    else:
        offset = int(error.diag.statement_position or 1) - 1
        place, told = place_of(script.body, offset), str(error.diag.message_primary or error)
    line = f":{place.line + lines_before}" if place else ""
    details = [text for text in (error.diag.message_detail, error.diag.message_hint) if text]
    return f"{script.path.name}{line}: {' '.join([told, *(f'({text})' for text in details)])}"


def read_roles(conn: Connection) -> Roles:
    """The server's roles, without those that come with PostgreSQL."""
    rows = conn.execute(_QUERIES["roles"]).fetchall()
    return {
        name: {**{key.removeprefix("rol"): value for key, value in attributes.items()}, "member of": tuple(member_of)}
        for name, attributes, member_of in rows
    }


@contextmanager
def open_bench(name: str, scratch: Target | None = None, reporter: Reporter = SILENT) -> Iterator[Bench]:
    """A bench on a server that is gone at the end of the block, or on one that was named.

    :param name: of the database on a server of our own, so that a file may name it; on another a new name is taken.
    :param scratch: a database of the server to use. Roles that appear on it meanwhile are dropped at the end.
    :raises ScratchUnusable: no database can be created there.
    :raises ScratchProtected: it is stamped as a protected environment.
    """
    with ExitStack() as stack:
        if scratch is None:
            own = stack.enter_context(scratch_server())
            server = own.target()
            if name == server.dbname:  # services call theirs so, and initdb its first
                server = own.target("template1")
                with connect(server) as admin:
                    admin.execute(sql.SQL("drop database {}").format(sql.Identifier(name)))
        else:
            server, name = scratch, f"pliers_verify_{secrets.token_hex(4)}"
            check_unprotected(server)
        bench = Bench(server, name, reporter)
        stack.callback(bench.close, clear=scratch is not None)
        yield bench


def check_unprotected(server: Target) -> None:
    """Let a server be played with, unless it says that it is a protected one.

    :raises ScratchProtected: it is stamped so.
    """
    with Database(server, application_name=APPLICATION, one_shot=True) as database, database.connection() as conn:
        stamp = read_stamp(conn)
    if stamp is not None and stamp.environment.protected:
        raise ScratchProtected(
            f"{server} is stamped {stamp.environment}: it is no place to try migrations out",
            why="They create and drop databases and roles there.",
            fix="Leave --scratch out, or name a server that may be played with.",
        )
