"""State never leaks to the next borrower, whatever the last one did."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row, tuple_row
from psycopg.types.json import set_json_loads

from pliers_db.config import PoolSettings, Target
from pliers_db.db import Connection, Database, connect
from pliers_db.db.connection import PooledCursor

ONE = PoolSettings(min_size=1, max_size=1, checkout_timeout=10.0)


@pytest.fixture
def database(target: Target) -> Iterator[Database]:
    """A pool of one: the next borrower gets the same session."""
    with Database(target, ONE) as one:
        yield one


def lend(database: Database, deed: Callable[[Connection], object]) -> int:
    """Borrow, do the deed, give back. :returns: the server process that served it."""
    with database.connection(autocommit=True) as conn:
        pid = conn.info.backend_pid
        deed(conn)
        return pid


def value(database: Database, query: str) -> Any:
    with database.connection(autocommit=True) as conn:
        row = conn.execute(query).fetchone()  # type: ignore[call-overload]
        return row[0] if row else None


DEEDS: dict[str, tuple[str, str, object]] = {
    "a setting": ("set work_mem = '1MB'", "select current_setting('work_mem') = '1MB'", False),
    "a setting by function": (
        "select set_config('app.user', 'eve', false)",
        "select coalesce(current_setting('app.user', true), '')",
        "",
    ),
    "the search path": ("set search_path = pg_catalog", "show search_path", '"$user", public'),
    "the role": ("set role pg_monitor", "select current_user <> session_user", False),
    "the session's user": ("set session authorization pg_monitor", "select session_user::text", "postgres"),
    "the application's name": ("set application_name = 'eve'", "show application_name", "pliers-db"),
    "a temporary table": ("create temp table t (a int)", "select to_regclass('pg_temp.t') is null", True),
    "an advisory lock": (
        "select pg_advisory_lock(42)",
        "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
        0,
    ),
    "a shared advisory lock, taken twice": (
        "select pg_advisory_lock_shared(42), pg_advisory_lock_shared(42)",
        "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
        0,
    ),
    "a subscription": ("listen news", "select count(*) from pg_listening_channels()", 0),
    "a cursor that outlives its transaction": (
        "declare c cursor with hold for select 1",
        "select count(*) from pg_cursors",
        0,
    ),
    "a prepared statement": ("prepare p as select 1", "select count(*) from pg_prepared_statements", 0),
    "read-only by default": ("set default_transaction_read_only = on", "show default_transaction_read_only", "off"),
    "an open transaction": ("begin", "select pg_current_xact_id_if_assigned() is null", True),
    "a failed transaction": ("begin; savepoint s", "select now() = statement_timestamp()", True),
    "a setting inside a function": (
        "do $$ begin perform set_config('work_mem', '1MB', false); end $$",
        "select current_setting('work_mem') = '1MB'",
        False,
    ),
    "the same as data, through a trigger": (
        "create temp table x (a int); create function pg_temp.f() returns trigger language plpgsql as"
        " $$ begin perform pg_advisory_lock(43); return new; end $$;"
        " create trigger t before insert on x for each row execute function pg_temp.f(); insert into x values (1)",
        "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
        0,
    ),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_the_next_borrower_does_not_see(deed: str, database: Database) -> None:
    statement, question, answer = DEEDS[deed]
    first = lend(database, lambda conn: conn.execute(statement))  # type: ignore[call-overload]
    assert value(database, question) == answer
    assert lend(database, lambda _: None) == first, "the connection was cleaned, not thrown away"


def test_a_sequence_of_the_last_borrower_is_forgotten(database: Database) -> None:
    lend(database, lambda conn: conn.execute("create sequence s"))
    lend(database, lambda conn: conn.execute("select nextval('s')"))
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        value(database, "select lastval()")


def _autocommit(conn: Connection) -> None:
    conn.autocommit = False


def _isolation(conn: Connection) -> None:
    conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    conn.read_only = True
    conn.deferrable = True


def _factories(conn: Connection) -> None:
    conn.row_factory = dict_row
    conn.cursor_factory = psycopg.ClientCursor
    conn.server_cursor_factory = psycopg.ServerCursor
    conn.prepare_threshold = None
    conn.prepared_max = 1


def _adapters(conn: Connection) -> None:
    set_json_loads(lambda _: "eve", conn)


def _handlers(conn: Connection) -> None:
    conn.add_notice_handler(lambda _: pytest.fail("a handler of the last borrower was called"))


@pytest.mark.parametrize("change", [_autocommit, _isolation, _factories, _adapters, _handlers])
def test_the_object_is_as_new(change: Callable[[Connection], None], database: Database) -> None:
    lend(database, change)
    _is_as_new(database)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("row_factory", dict_row),
        ("cursor_factory", psycopg.ClientCursor),
        ("server_cursor_factory", psycopg.Cursor),
        ("prepare_threshold", None),
        ("prepared_max", 1),
    ],
)
def test_a_single_attribute_is_noticed(attribute: str, value: object, database: Database) -> None:
    """Whether anything has to be put back is asked first, attribute by attribute."""
    lend(database, lambda conn: setattr(conn, attribute, value))
    _is_as_new(database)


def _is_as_new(database: Database) -> None:
    with database.connection(autocommit=True) as conn:
        assert conn.autocommit
        assert conn.isolation_level is None
        assert conn.read_only is None
        assert conn.deferrable is None
        assert conn.prepare_threshold == 5
        assert conn.prepared_max == 100
        assert conn.row_factory is tuple_row
        assert conn.server_cursor_factory is psycopg.ServerCursor
        assert type(conn.cursor()) is PooledCursor
        assert conn.execute("select '[1]'::json").fetchone() == ([1],)
        conn.execute("do $$ begin raise notice 'hello'; end $$")


def test_prepared_statements_go_on_working_over_many_checkouts(database: Database) -> None:
    """`DISCARD ALL` as a pool's reset breaks the seventh use: psycopg keeps names the server has forgotten."""
    for number in range(20):
        assert value(database, f"select {number % 2} + 1") == number % 2 + 1


def test_a_statement_prepared_for_a_temporary_table_does_not_meet_the_next_one(database: Database) -> None:
    for columns, row in (("a int", (1,)), ("a text, b int", ("x", 2))):
        with database.connection(autocommit=True) as conn:
            conn.execute(f"create temp table t ({columns})")  # type: ignore[call-overload]
            conn.execute(f"insert into t values {row if len(row) > 1 else '(1)'}")  # type: ignore[call-overload]
            for _ in range(8):
                assert conn.execute("select * from t").fetchone() == row


def test_a_connection_returned_in_the_middle_of_a_statement_is_replaced(database: Database) -> None:
    def leave_busy(conn: Connection) -> None:
        conn.pgconn.send_query(b"select pg_sleep(30)")

    first = lend(database, leave_busy)
    assert lend(database, lambda _: None) != first


def test_a_connection_that_was_closed_is_replaced(database: Database) -> None:
    first = lend(database, lambda conn: conn.close())
    assert lend(database, lambda _: None) != first


def test_a_connection_that_cannot_be_cleaned_is_replaced(database: Database, target: Target) -> None:
    def killed(conn: Connection) -> None:
        conn.execute("select pg_advisory_lock(42)")
        with connect(target) as other:
            other.execute("select pg_terminate_backend(%s, 5000)", [conn.info.backend_pid])

    first = lend(database, killed)
    assert lend(database, lambda _: None) != first


def test_a_transaction_block_commits_at_its_end_and_rolls_back_on_an_error(database: Database) -> None:
    with database.connection() as conn:
        conn.execute("create table kept (a int)")
    with pytest.raises(KeyboardInterrupt), database.connection() as conn:
        conn.execute("insert into kept values (1)")
        raise KeyboardInterrupt
    assert value(database, "select count(*) from kept") == 0


def test_a_connection_from_before_close_is_closed_when_it_comes_back(database: Database) -> None:
    with database.connection(autocommit=True) as conn:
        database.close()
        conn.execute("select 1")
    assert conn.closed
    assert value(database, "select 1") == 1


def test_ctrl_c_during_the_clean_up_does_not_cost_a_slot(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from pliers_db.db import supply

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(supply, "send_wipe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lend(database, lambda conn: conn.execute("listen news"))
    done = threading.Event()
    threading.Thread(target=lambda: (value(database, "select 1"), done.set())).start()
    assert done.wait(5)
