"""A restore that is ended leaves the old database or the new one, whole; the same command then succeeds."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psycopg
import pytest

from pliers_db.db import connect
from pliers_db.postgres import scratch_server
from tests.fix_backup import Shop, make_bulk, make_shop, wait_until


def working(shop: Shop) -> list[str]:
    """The databases in the making."""
    return [name for name in shop.databases() if "_new_" in name]


def change(shop: Shop) -> None:
    """What tells the database of now from the backup's."""
    shop.execute("insert into notes (id, body) values (7777, 'after the backup')")


SLOW = "create table slow (a int check (pg_sleep(1) is not null)); insert into slow values (1)"
"""A table that takes a second to load, however fast the machine is: a kill finds the restore in the middle."""


@pytest.fixture
def backed_up(big: Shop) -> Shop:
    big.execute(SLOW)
    big.back_up()
    return big


def test_kill_9_while_loading_leaves_the_database_as_it_was_and_the_next_restore_succeeds(backed_up: Shop) -> None:
    shop = backed_up
    before = shop.fingerprint()
    change(shop)
    now = shop.fingerprint()
    running = shop.cli.start("restore", "latest")
    wait_until(lambda: working(shop))
    time.sleep(0.3)
    running.kill()
    running.communicate()
    assert shop.fingerprint() == now
    assert len(working(shop)) == 1
    result = shop.cli("restore", "latest")
    assert result.code == 0, result.err
    assert "left by a restore that did not end" in result.err
    assert shop.fingerprint() == before
    assert working(shop) == []


def test_killed_between_create_and_mark_it_is_still_recognised(shop: Shop) -> None:
    shop.back_up()
    name = f"{shop.target.dbname}_new_abcdef"
    shop.execute(f"create database {name} template template0 allow_connections false")
    mine = f"{shop.target.dbname}_new_ghijkl"  # somebody else's: one can connect to it
    shop.execute(f"create database {mine}")
    assert shop.cli("restore", "latest").code == 0
    assert working(shop) == [mine]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drops_what_was_built_and_ends_with_130(backed_up: Shop, number: int) -> None:
    shop = backed_up
    change(shop)
    now = shop.fingerprint()
    running = shop.cli.start("restore", "latest")
    wait_until(lambda: working(shop))
    time.sleep(0.3)
    os.kill(running.pid, number)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert shop.fingerprint() == now
    assert working(shop) == []


def test_a_killed_pg_restore_is_a_failed_restore(backed_up: Shop) -> None:
    shop = backed_up
    change(shop)
    now = shop.fingerprint()
    running = shop.cli.start("restore", "latest", "--json")
    wait_until(lambda: shop.running("pg_restore"))
    time.sleep(0.3)
    for process in shop.running("pg_restore"):
        os.kill(process, signal.SIGKILL)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 6, err
    assert '"restore.interrupted"' in out
    assert shop.fingerprint() == now
    assert working(shop) == []


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_keeps_the_database(project: Path) -> None:
    # fsync on: what is promised here is about a crash.
    with scratch_server(settings={"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}) as server:
        with connect(server.target()) as conn:
            conn.execute("create database shop")
        shop = make_shop(project, server.target("shop"))
        make_bulk(shop.target, 24)
        shop.execute(SLOW)
        shop.back_up()
        change(shop)
        now = shop.fingerprint()
        running = shop.cli.start("restore", "latest")
        wait_until(lambda: working(shop))
        time.sleep(0.3)
        server.stop("immediate")
        _, err = running.communicate(timeout=30)
        assert running.returncode in (3, 6), err
        assert "Traceback" not in err
        server.start()
        # After a crash a sequence may have skipped some values (PostgreSQL's documentation, CREATE SEQUENCE).
        assert {**shop.fingerprint(), "sequences": ()} == {**now, "sequences": ()}
        assert shop.cli("restore", "latest").code == 0
        assert working(shop) == []


def test_two_restores_of_one_database_do_not_meet(backed_up: Shop) -> None:
    first = backed_up.cli.start("restore", "latest")
    wait_until(lambda: working(backed_up))
    first.send_signal(signal.SIGSTOP)  # it must not be done before the second has begun
    second = backed_up.cli("restore", "latest", "--json")
    first.send_signal(signal.SIGCONT)
    assert second.code == 5
    assert second.json["error"]["code"] == "restore.locked"
    _, err = first.communicate(timeout=60)
    assert first.returncode == 0, err


def test_an_application_that_reconnects_at_once_does_not_stop_the_swap(shop: Shop) -> None:
    """Its pool is thrown out, comes back in no time, and finds the restored database."""
    before = shop.fingerprint()
    shop.back_up()
    change(shop)
    over = threading.Event()
    seen: set[int] = set()

    def application() -> None:
        while not over.is_set():
            try:
                with connect(shop.target, application_name="app") as conn:
                    while not over.is_set():
                        row = conn.execute("select count(*) from notes").fetchone()
                        assert row is not None
                        seen.add(row[0])
            except Exception:  # noqa: BLE001 - thrown out: come back
                continue

    threads = [threading.Thread(target=application) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: seen)
        refused = shop.cli("restore", "latest", "--json")
        assert refused.code == 4
        assert refused.json["error"]["code"] == "restore.in-use"
        assert "app" in refused.json["error"]["why"]
        assert "--terminate" in refused.json["error"]["fix"]
        done = shop.cli("restore", "latest", "--terminate")
        assert done.code == 0, done.err
        wait_until(lambda: len(seen) == 2)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert seen == {300, 301}
    assert shop.fingerprint() == before


def test_whoever_connects_during_the_restore_is_found_at_the_swap(backed_up: Shop) -> None:
    now = backed_up.fingerprint()
    running = backed_up.cli.start("restore", "latest", "--json")
    wait_until(lambda: working(backed_up))
    with psycopg.connect(**backed_up.target.parameters(), application_name="late"):  # type: ignore[arg-type]
        out, _ = running.communicate(timeout=60)
    assert running.returncode == 4
    assert "late" in out
    assert backed_up.fingerprint() == now
    assert working(backed_up) == []
