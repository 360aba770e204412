"""A transaction's outcome is known: all of it, or nothing, or an error that says that nobody can tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from pliers_db import Database, run_transaction
from pliers_db.config import PoolSettings, Target
from pliers_db.db import Connection, connect
from pliers_db.db.outcome import Outcome, judge, judge_after_crash
from pliers_db.db.transaction import Xid
from pliers_db.errors import CommitUnknown, InputError, TransactionAborted
from tests.fix_proxy import FaultProxy

LIMITS = PoolSettings(min_size=1, max_size=3, checkout_timeout=10.0)


@pytest.fixture
def database(target: Target) -> Iterator[Database]:
    """A pool on a database with ``t (n int primary key)`` and a child with a deferred foreign key."""
    with connect(target) as conn:
        conn.execute("create table t (n int primary key)")
        conn.execute("create table child (n int references t deferrable initially deferred)")
    with Database(target, LIMITS) as pool:
        yield pool


def rows(target: Target) -> list[int]:
    """What stands in the table, seen from outside."""
    with connect(target) as conn:
        return [n for (n,) in conn.execute("select n from t order by n")]


def insert(*numbers: int) -> Callable[[Connection], str]:
    def work(conn: Connection) -> str:
        for number in numbers:
            conn.execute("insert into t values (%s)", [number])
        return "done"

    return work


def test_what_the_function_returns_is_returned_and_all_it_did_is_committed(database: Database, target: Target) -> None:
    assert run_transaction(database, insert(1, 2, 3)) == "done"
    assert rows(target) == [1, 2, 3]


ERRORS: list[BaseException] = [
    ValueError("mine"),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    MemoryError(),
    psycopg.errors.UniqueViolation("mine"),
    psycopg.InterfaceError("mine"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("way", ["run_transaction", "block"])
def test_every_kind_of_error_rolls_back_and_passes_through(
    way: str, error: BaseException, database: Database, target: Target
) -> None:
    def work(conn: Connection) -> None:
        conn.execute("insert into t values (1)")
        raise error

    with pytest.raises(type(error)) as caught:
        if way == "run_transaction":
            run_transaction(database, work)
        else:
            with database.connection() as conn:
                work(conn)
    assert caught.value is error
    assert rows(target) == []
    run_transaction(database, insert(2))
    assert rows(target) == [2]


@pytest.mark.parametrize(
    "statement",
    ["select 1/0", "insert into t values (1)", "selec", "select * from nowhere", "insert into t values (null)"],
)
def test_errors_of_the_server_roll_back(statement: str, database: Database, target: Target) -> None:
    def work(conn: Connection) -> None:
        conn.execute("insert into t values (1)")
        conn.execute(statement)  # type: ignore[call-overload]

    with pytest.raises(psycopg.Error):
        run_transaction(database, work)
    assert rows(target) == []


def test_an_error_at_commit_is_reported_and_nothing_is_committed(database: Database, target: Target) -> None:
    def orphan(conn: Connection) -> None:
        conn.execute("insert into t values (1); insert into child values (99)")

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        run_transaction(database, orphan)
    with pytest.raises(psycopg.errors.ForeignKeyViolation), database.connection() as conn:
        orphan(conn)
    assert rows(target) == []
    assert run_transaction(database, insert(1)) == "done"


@pytest.mark.parametrize("way", ["run_transaction", "exactly_once", "block"])
def test_a_swallowed_error_of_the_server_is_not_taken_for_success(way: str, database: Database, target: Target) -> None:
    """The server answers COMMIT with ROLLBACK then; psycopg alone would say nothing."""

    def swallow(conn: Connection) -> str:
        conn.execute("insert into t values (1)")
        with pytest.raises(psycopg.Error):
            conn.execute("select 1/0")
        return "all is well"

    with pytest.raises(TransactionAborted) as caught:
        if way == "block":
            with database.connection() as conn:
                swallow(conn)
        else:
            run_transaction(database, swallow, exactly_once=way == "exactly_once")
    assert caught.value.exit_code == 6
    assert "conn.transaction()" in caught.value.fix
    assert rows(target) == []


def test_a_risky_part_in_a_savepoint_may_fail(database: Database, target: Target) -> None:
    def careful(conn: Connection) -> None:
        conn.execute("insert into t values (1)")
        with pytest.raises(psycopg.errors.UniqueViolation), conn.transaction():
            conn.execute("insert into t values (1)")
        conn.execute("insert into t values (2)")

    run_transaction(database, careful)
    assert rows(target) == [1, 2]


@pytest.mark.parametrize("end", ["commit", "ROLLBACK;", "  end", "abort", "-- now\ncommit", "prepare transaction 'x'"])
def test_the_function_cannot_end_its_transaction(end: str, database: Database, target: Target) -> None:
    def work(conn: Connection) -> None:
        conn.execute("insert into t values (1)")
        conn.execute(end)  # type: ignore[call-overload]

    with pytest.raises((psycopg.ProgrammingError, TransactionAborted, psycopg.Error)):
        run_transaction(database, work)
    assert rows(target) == []


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_nor_can_it_by_a_method(end: str, database: Database, target: Target) -> None:
    def work(conn: Connection) -> None:
        conn.execute("insert into t values (1)")
        getattr(conn, end)()

    with pytest.raises(psycopg.ProgrammingError):
        run_transaction(database, work)
    assert rows(target) == []


def test_savepoints_by_hand_are_left_alone(database: Database, target: Target) -> None:
    def work(conn: Connection) -> None:
        conn.execute("insert into t values (1)")
        conn.execute("savepoint a")
        conn.execute("insert into t values (2)")
        conn.execute("rollback to a")
        conn.execute("ROLLBACK TRANSACTION TO SAVEPOINT a")

    run_transaction(database, work)
    assert rows(target) == [1]


def test_a_transaction_inside_a_transaction_is_a_savepoint_of_it(database: Database, target: Target) -> None:
    def outer(conn: Connection) -> None:
        conn.execute("insert into t values (1)")
        run_transaction(conn, insert(2))
        with pytest.raises(ZeroDivisionError):
            run_transaction(conn, lambda c: [c.execute("insert into t values (3)"), 1 / 0])

    run_transaction(database, outer)
    assert rows(target) == [1, 2]


def test_on_a_bare_connection_it_must_be_in_a_transaction(target: Target, database: Database) -> None:
    with connect(target) as conn:
        with pytest.raises(InputError, match="in no transaction"):
            run_transaction(conn, insert(1))
        with conn.transaction(), pytest.raises(InputError, match="isolation="):
            run_transaction(conn, insert(1), isolation="serializable")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (None, "read committed"),
        ("serializable", "serializable"),
        ("Repeatable_Read", "repeatable read"),
        (psycopg.IsolationLevel.SERIALIZABLE, "serializable"),
    ],
)
def test_the_isolation_level_is_the_one_asked_for(level: object, shown: str, database: Database) -> None:
    def ask(conn: Connection) -> object:
        return conn.execute("show transaction_isolation").fetchone()

    assert run_transaction(database, ask, isolation=level) == (shown,)  # type: ignore[arg-type]
    assert run_transaction(database, ask) == ("read committed",)


def test_an_unknown_isolation_level_is_refused_before_anything_happens(database: Database) -> None:
    with pytest.raises(InputError, match="'snapshot'") as caught:
        run_transaction(database, insert(1), isolation="snapshot")
    assert "repeatable read" in caught.value.fix


def test_read_only_means_that_the_server_refuses_writes(database: Database) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        run_transaction(database, insert(1), read_only=True)


# ── COMMIT without an answer ────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def shaky(proxy: FaultProxy, database: Database) -> Iterator[Database]:
    """The same database through the proxy."""
    with Database(proxy.target(), LIMITS) as pool:
        with pool.connection(autocommit=True) as conn:
            conn.execute("select 1")
        yield pool


def test_a_lost_answer_to_commit_is_called_unknown(shaky: Database, proxy: FaultProxy, target: Target) -> None:
    proxy.cut_after(b"COMMIT")
    with pytest.raises(CommitUnknown) as caught:
        run_transaction(shaky, insert(1), name="place_order")
    assert "place_order" in caught.value.message
    assert "exactly_once" in caught.value.fix
    assert caught.value.exit_code == 7
    assert rows(target) == [1], "and here it was committed"


def test_the_same_in_a_block(shaky: Database, proxy: FaultProxy) -> None:
    proxy.cut_after(b"COMMIT")
    with pytest.raises(CommitUnknown), shaky.connection() as conn:
        conn.execute("insert into t values (1)")


def test_exactly_once_finds_out_that_it_was_committed(shaky: Database, proxy: FaultProxy, target: Target) -> None:
    calls = []

    def work(conn: Connection) -> str:
        calls.append(1)
        return insert(1)(conn)

    proxy.cut_after(b"COMMIT")
    assert run_transaction(shaky, work, exactly_once=True) == "done"
    assert (rows(target), calls) == ([1], [1])


def test_exactly_once_tries_again_what_never_arrived(shaky: Database, proxy: FaultProxy, target: Target) -> None:
    calls = []

    def work(conn: Connection) -> str:
        calls.append(1)
        done = insert(len(calls))(conn)
        if len(calls) == 1:
            # COMMIT will be swallowed: the server never sees it. Then the network heals.
            xid = conn.execute("select pg_current_xact_id()").fetchone()
            assert xid is not None
            proxy.swallow(b"COMMIT")
        return done

    assert run_transaction(shaky, work, exactly_once=True) == "done"
    assert (rows(target), len(calls)) == ([2], 2)


def test_a_read_whose_commit_was_lost_is_simply_read_again(shaky: Database, proxy: FaultProxy) -> None:
    calls = []

    def read(conn: Connection) -> object:
        calls.append(1)
        return conn.execute("select count(*) from t").fetchone()

    proxy.cut_after(b"COMMIT")
    assert run_transaction(shaky, read, read_only=True) == (0,)
    assert len(calls) == 2


def test_with_exactly_once_a_transaction_that_wrote_nothing_is_run_again(shaky: Database, proxy: FaultProxy) -> None:
    calls = []

    def read(conn: Connection) -> object:
        calls.append(1)
        return conn.execute("select count(*) from t").fetchone()

    proxy.cut_after(b"COMMIT")
    assert run_transaction(shaky, read, exactly_once=True) == (0,)
    assert len(calls) == 2


OURS = Xid("730", "00000001", "1.5")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((False, "00000001", "1.5", "committed"), Outcome.COMMITTED),
        ((False, "00000001", "1.5", "aborted"), Outcome.ABORTED),
        ((False, "00000001", "1.5", "in progress"), Outcome.IN_PROGRESS),
        ((True, None, "1.5", "committed"), Outcome.IN_PROGRESS),  # a standby: ask again
        ((False, "00000001", "1.5", None), Outcome.UNKNOWABLE),  # too old
        ((False, "00000001", "2.5", "committed"), Outcome.CRASHED),  # perhaps somebody else's
        ((False, "00000001", "2.5", "aborted"), Outcome.ABORTED),  # ours would be "committed"
        ((False, "00000001", "2.5", "in progress"), Outcome.ABORTED),
        ((False, "00000002", "1.5", "committed"), Outcome.UNKNOWABLE),  # failed over
        ((False, "00000002", "9.9", "aborted"), Outcome.ABORTED),
        (None, Outcome.UNKNOWABLE),
    ],
)
def test_what_the_servers_answer_proves(answer: tuple[object, ...] | None, outcome: Outcome) -> None:
    assert judge(OURS, answer) is outcome


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((True, "0 731"), Outcome.COMMITTED),  # the number had been used before the crash, so it was ours
        ((True, "0 730"), Outcome.ABORTED),  # it was lost and given out again
        ((True, "1 5"), Outcome.COMMITTED),
        ((False, "0 731"), Outcome.UNKNOWABLE),  # another checkpoint came since
        (None, Outcome.UNKNOWABLE),
    ],
)
def test_what_the_checkpoint_after_a_crash_proves(answer: tuple[object, ...] | None, outcome: Outcome) -> None:
    assert judge_after_crash(OURS, answer) is outcome
