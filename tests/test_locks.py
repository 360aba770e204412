"""Commands keep out of each other's way by advisory locks that never block the server."""

from __future__ import annotations

import re
import threading

import pytest

from pliers_db.config import Target
from pliers_db.db import LockName, advisory_lock, connect, lock_holders, try_advisory_lock
from pliers_db.errors import LockedError


def test_an_exclusive_lock_keeps_everybody_else_out_and_names_its_holder(target: Target) -> None:
    with connect(target, application_name="pliers-db/migrate") as one, connect(target) as two:
        with advisory_lock(one, LockName.SCHEMA):
            assert not try_advisory_lock(two, LockName.SCHEMA, shared=True)
            with pytest.raises(LockedError, match=r"pliers-db/migrate \(pid \d+, for ") as caught:
                with advisory_lock(two, LockName.SCHEMA):
                    pass
            assert caught.value.exit_code == 5
        assert try_advisory_lock(two, LockName.SCHEMA)


def test_shared_holders_live_together(target: Target) -> None:
    with connect(target) as one, connect(target) as two, connect(target) as three:
        with advisory_lock(one, LockName.SCHEMA, shared=True), advisory_lock(two, LockName.SCHEMA, shared=True):
            assert len(lock_holders(three, LockName.SCHEMA)) == 2
            assert not try_advisory_lock(three, LockName.SCHEMA)
            assert try_advisory_lock(three, LockName.SEED), "another name is another lock"


def test_a_bounded_wait_gets_the_lock_when_it_is_released(target: Target) -> None:
    told: list[str] = []
    with connect(target, application_name="first") as one, connect(target) as two:
        held = advisory_lock(one, LockName.SCHEMA)
        held.__enter__()
        timer = threading.Timer(0.4, lambda: held.__exit__(None, None, None))
        timer.start()
        with advisory_lock(two, LockName.SCHEMA, wait=30, on_wait=told.append):
            (holder,) = lock_holders(two, LockName.SCHEMA)
            assert re.fullmatch(rf"pliers-db \(pid {two.info.backend_pid}, for [0-9.]+ m?s\)", holder)
        timer.join()
    assert len(told) == 1
    assert told[0].startswith("first (pid ")


def test_the_lock_is_released_after_an_error_inside_a_transaction(target: Target) -> None:
    with connect(target) as one, connect(target) as two:
        with pytest.raises(ZeroDivisionError), advisory_lock(one, LockName.SCHEMA):
            one.execute("begin")
            with pytest.raises(Exception, match="division by zero"):
                one.execute("select 1/0")
            raise ZeroDivisionError
        assert try_advisory_lock(two, LockName.SCHEMA)


def test_a_connection_that_dies_releases_and_the_first_error_is_the_one_reported(target: Target) -> None:
    with connect(target) as one, connect(target) as two:
        with pytest.raises(ZeroDivisionError), advisory_lock(one, LockName.SCHEMA):
            two.execute("select pg_terminate_backend(%s)", [one.info.backend_pid])
            raise ZeroDivisionError
        with advisory_lock(two, LockName.SCHEMA, wait=10):
            pass


def test_locks_of_another_database_are_not_ours(target: Target, server) -> None:  # type: ignore[no-untyped-def]
    with connect(target) as one, connect(server.target()) as other, advisory_lock(one, LockName.SCHEMA):
        assert try_advisory_lock(other, LockName.SCHEMA)
        (holder,) = lock_holders(other, LockName.SCHEMA)
        assert holder.startswith(f"pliers-db (pid {other.info.backend_pid}, for ")
