"""Whatever ends a backup, nothing that is left looks complete, and the same command then succeeds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pliers_db.db import connect
from pliers_db.postgres import scratch_server
from tests.fix_backup import Shop, make_bulk, make_shop, wait_until
from tests.fix_cli import Cli


def dumping(shop: Shop, size: int = 1) -> bool:
    return any(dump.stat().st_size >= size for dump in shop.backups.glob(".incoming/*/dump.pgc.zst"))


def all_good(shop: Shop) -> bool:
    result = shop.cli("backup", "list", "--check", "--json")
    return result.code == 0 and all(b["state"] == "unproved" for b in result.json["backups"])


def test_kill_9_in_the_middle_of_the_dump_leaves_nothing_that_looks_complete(big: Shop) -> None:
    running = big.cli.start("backup", "nightly")
    wait_until(lambda: dumping(big, 1_000_000))
    running.kill()
    running.communicate()
    assert big.published() == []
    assert big.cli("backup", "list", "--json").json["backups"] == []
    wait_until(lambda: not big.running("pg_dump"))  # pg_dump does not outlive us
    result = big.cli("backup", "nightly")
    assert (result.code, result.err) == (0, "")
    assert len(big.published()) == 1
    assert list(big.backups.glob(".incoming/*")) == []
    assert all_good(big)


def test_a_killed_pg_dump_is_a_failed_backup(big: Shop) -> None:
    running = big.cli.start("backup", "nightly", "--json")
    wait_until(lambda: dumping(big, 1_000_000))
    for process in big.running("pg_dump"):
        os.kill(process, signal.SIGKILL)
    out, err = running.communicate()
    assert running.returncode == 6, err
    assert '"backup.failed"' in out
    assert big.published() == []
    assert list(big.backups.glob(".incoming/*")) == []
    assert big.cli("backup", "nightly").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_removes_the_partial_backup_and_ends_with_130(big: Shop, number: int) -> None:
    running = big.cli.start("backup", "create")
    wait_until(lambda: dumping(big, 1_000_000))
    os.kill(running.pid, number)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert big.published() == []
    assert list(big.backups.glob(".incoming/*")) == []
    assert big.running("pg_dump") == {}
    with connect(big.target) as conn:  # and the server has noticed
        query = "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database"
        wait_until(lambda: conn.execute(query + " where datname = current_database())").fetchone() == (0,))


def test_a_server_that_dies_in_the_middle_is_exit_3_and_one_line_for_cron(project: Path) -> None:
    with scratch_server() as server:
        shop = make_shop(project, server.target("postgres"))
        make_bulk(shop.target, 24)
        running = shop.cli.start("backup", "nightly")
        wait_until(lambda: dumping(shop, 1_000_000))
        server.stop("immediate")
        _, err = running.communicate(timeout=30)
        assert running.returncode == 3, err
        assert len(err.splitlines()) == 1, err
        assert shop.published() == []
        assert list(shop.backups.glob(".incoming/*")) == []
        server.start()
        assert shop.cli("backup", "nightly").code == 0


def test_a_full_disk_is_named_with_numbers_and_leaves_nothing(big: Shop, small_disk: Callable[[int], Path]) -> None:
    place = small_disk(8000)
    (big.folder / "pliers-db.toml").write_text(f'name = "shop"\nbackups = "{place}/backups"\n')
    result = big.cli("backup", "create", "--json")
    assert result.code == 6, result.err
    error = result.json["error"]
    assert error["code"] == "backup.disk-full"
    assert "MB" in error["why"]
    assert "backups =" in error["fix"]
    assert [file.name for file in place.rglob("*") if file.is_file()] == [".lock"]
    cron = big.cli("backup", "nightly")
    assert cron.code == 6
    assert len(cron.err.splitlines()) == 1
    big.execute("truncate bulk")
    assert big.cli("backup", "nightly").code == 0


def test_no_room_by_the_last_backups_size_is_said_before_the_dump(big: Shop, small_disk: Callable[[int], Path]) -> None:
    place = small_disk(40_000)
    (big.folder / "pliers-db.toml").write_text(f'name = "shop"\nbackups = "{place}/backups"\n')
    assert big.cli("backup", "create").code == 0
    result = big.cli("backup", "create", "--json")
    assert result.code == 6
    assert result.json["error"]["code"] == "backup.disk-full"
    assert "are needed" in result.json["error"]["why"]


def test_an_orphan_of_a_killed_run_is_ended_by_the_next(shop: Shop, make_cli: Callable[..., Cli]) -> None:
    """Where the kernel cannot tie a child to us, its session is ended from the server's side."""
    left = shop.backups / ".incoming" / "20260101T000000Z-shop-abcdef"
    left.mkdir(parents=True)
    with connect(shop.target, application_name="pliers-db/20260101T000000Z-abcdef") as orphan:
        assert shop.cli("backup", "nightly").code == 0
        with connect(shop.target) as conn:
            alive = conn.execute("select 1 from pg_stat_activity where pid = %s", [orphan.info.backend_pid]).fetchone()
        assert alive is None
    assert not left.exists()
