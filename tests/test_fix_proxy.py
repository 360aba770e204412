"""The fault proxy does to a bare connection what its documentation says: the tests of faults stand on it."""

from __future__ import annotations

import threading

import psycopg
import pytest

from pliers_db.config import Target
from pliers_db.db import connect
from tests.fix_proxy import FaultProxy


def open_through(proxy: FaultProxy) -> psycopg.Connection:
    return psycopg.connect(**proxy.target().parameters(), autocommit=True)


def test_it_forwards(proxy: FaultProxy) -> None:
    with open_through(proxy) as conn:
        assert conn.execute("select 41 + 1").fetchone() == (42,)


def test_refuse_means_nobody_listens_until_healed(proxy: FaultProxy) -> None:
    proxy.refuse()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        open_through(proxy)
    proxy.heal()
    open_through(proxy).close()


def test_a_cut_connection_fails_and_the_next_works(proxy: FaultProxy) -> None:
    conn = open_through(proxy)
    proxy.cut()
    with pytest.raises(psycopg.OperationalError):
        conn.execute("select 1")
    conn.close()
    open_through(proxy).close()


def test_a_black_hole_hangs_a_query(proxy: FaultProxy) -> None:
    conn = open_through(proxy)
    proxy.blackhole()
    answered = threading.Event()

    def ask() -> None:
        try:
            conn.execute("select 1")
        except psycopg.OperationalError:
            return
        answered.set()

    asking = threading.Thread(target=ask)
    asking.start()
    assert not answered.wait(0.5)
    proxy.cut()
    asking.join(5)
    assert not asking.is_alive()
    assert not answered.is_set()
    conn.close()


def test_a_cut_after_commit_was_forwarded_leaves_the_row(proxy: FaultProxy, target: Target) -> None:
    with connect(target) as direct:
        direct.execute("create table t (id int)")
        conn = open_through(proxy)
        conn.execute("begin")
        conn.execute("insert into t values (1)")
        proxy.cut_after(b"commit")
        with pytest.raises(psycopg.OperationalError):
            conn.execute("commit")
        assert proxy.trapped.wait(5)
        conn.close()
        assert direct.execute("select count(*) from t").fetchone() == (1,)
