"""A ping tells a server that is away from one that says no, and never stops the process."""

from __future__ import annotations

import time
from dataclasses import replace

from psycopg.pq import Ping

from pliers_db.config import Target
from pliers_db.db.ping import ping
from tests.fix_proxy import FaultProxy
from tests.fix_tcp import free_port


def test_a_server_that_lets_nobody_in_is_there(target: Target) -> None:
    assert ping(target) is Ping.OK
    assert ping(replace(target, dbname="no_such_db")) is Ping.OK
    assert ping(replace(target, user="no_such_role")) is Ping.OK


def test_nobody_at_the_port_is_no_answer() -> None:
    assert ping(Target(dbname="x", host="127.0.0.1", port=str(free_port()))) is Ping.NO_RESPONSE
    assert ping(Target(dbname="x", host="no-such-host.invalid")) is Ping.NO_RESPONSE
    assert ping(Target(dbname="x", host="/nowhere")) is Ping.NO_RESPONSE


def test_one_of_several_hosts_is_enough(proxy: FaultProxy, target: Target) -> None:
    both = replace(target, host="127.0.0.1,127.0.0.1", port=f"{free_port()},{proxy.port}")
    assert ping(both) is Ping.OK


def test_the_other_threads_go_on_while_a_server_keeps_silent(proxy: FaultProxy) -> None:
    """The proxy lives in this process: psycopg's own ping would wait for ever for an answer it keeps back itself."""
    proxy.blackhole()
    begin = time.monotonic()
    assert ping(proxy.target(), timeout=0.3) is Ping.NO_RESPONSE
    assert time.monotonic() - begin < 30
