"""A backup is complete, says what it holds, and appears only when it is on the disk."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pliers_db.backup import Repository
from pliers_db.db import LockName, advisory_lock, connect
from pliers_db.postgres import find_binaries
from tests.fix_backup import Shop

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def test_a_backup_holds_a_dump_a_manifest_and_sums_that_stock_tools_can_check(shop: Shop, tmp_path: Path) -> None:
    backup_id = shop.back_up()
    folder = shop.path_of(backup_id)
    files = ["SHA256SUMS", "catalog.json", "database.json", "dump.pgc.zst", "globals.sql", "manifest.json"]
    assert sorted(file.name for file in folder.iterdir()) == files
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    (tmp_path / "dump").write_bytes(zstd.decompress((folder / "dump.pgc.zst").read_bytes()))  # as zstd -d does
    command = [find_binaries().program("pg_restore"), "--list", tmp_path / "dump"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "TABLE DATA public orders_2025" in listing.stdout


def test_the_manifest_says_what_the_snapshot_held(shop: Shop) -> None:
    manifest = json.loads((shop.path_of(shop.back_up()) / "manifest.json").read_text())
    rows = {table["path"]: table["rows"] for table in manifest["contents"]["tables"]}
    # A partitioned table stands for its partitions.
    assert rows == {'public."Customer"': 50, "public.notes": 300, "public.orders": 2000}
    assert {s["path"]: s["last_value"] for s in manifest["contents"]["sequences"]}["public.tickets"] == 41
    assert manifest["source"]["database"] == shop.target.dbname
    assert manifest["source"]["environment"] == "test"
    assert manifest["source"]["server_version_num"] >= 150000
    assert manifest["client"]["major"] == manifest["source"]["server_version_num"] // 10000


def test_applied_migrations_stand_in_the_manifest(shop: Shop) -> None:
    (shop.folder / "migrations" / "20260101000000_first.sql").write_text("create table first (a int);\n")
    assert shop.cli("migrate", "up").code == 0
    manifest = json.loads((shop.path_of(shop.back_up()) / "manifest.json").read_text())
    assert manifest["source"]["migrations"] == ["20260101000000_first"]


def test_files_are_for_their_owner_only(shop: Shop) -> None:
    os.umask(0)
    try:
        folder = shop.path_of(shop.back_up())
    finally:
        os.umask(0o022)
    for path in [folder, *folder.iterdir(), shop.backups]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_rows_written_while_it_runs_are_in_neither_dump_nor_manifest(big: Shop) -> None:
    over = threading.Event()

    def write() -> None:
        with connect(big.target) as conn:
            while not over.is_set():
                conn.execute("insert into notes (id, body) select max(id) + 1, 'late' from notes")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        backup_id = big.back_up()
    finally:
        over.set()
        writer.join()
    # The restore compares the rows it has loaded with the manifest.
    restored = big.cli("restore", backup_id, "--terminate", "--json")
    assert restored.code == 0, restored.err
    assert restored.json["compared"] is True


def test_the_folder_is_the_projects_wherever_the_command_is_run(shop: Shop) -> None:
    deep = shop.folder / "some" / "where"
    deep.mkdir(parents=True)
    shop.cli.folder = deep
    shop.back_up()
    assert len(shop.published()) == 1
    assert not (deep / "backups").exists()


def test_a_second_run_meanwhile_is_refused_and_told_who_is_at_it(shop: Shop) -> None:
    with Repository(shop.backups).locked("backup nightly"):
        result = shop.cli("backup", "create", "--json")
    assert result.code == 5
    assert result.json["error"]["code"] == "backup.locked"
    assert f"process {os.getpid()}" in result.json["error"]["why"]
    assert shop.cli("backup", "create").code == 0


def test_it_waits_for_a_migration_and_says_so(shop: Shop) -> None:
    with connect(shop.target) as conn:
        with advisory_lock(conn, LockName.SCHEMA):
            result = shop.cli("backup", "create", "--wait", "0.5", "--json")
            assert result.code == 5
            running = shop.cli.start("backup", "create", "--wait", "30")
            assert any("Waiting for" in line for line in running.stderr)  # it has said so before the lock is free
        _, err = running.communicate(timeout=30)
    assert running.returncode == 0, err


def test_a_table_that_stays_locked_is_a_failure_with_a_name(shop: Shop) -> None:
    with connect(shop.target) as conn, conn.transaction():
        conn.execute("lock table notes in access exclusive mode")
        result = shop.cli("backup", "create", "--wait", "0.5", "--json")
    assert result.code == 6
    assert "lock timeout" in result.json["error"]["why"]
    assert shop.published() == []


def test_a_role_that_may_not_read_everything_gets_no_backup(shop: Shop) -> None:
    role = f"{shop.target.dbname}_reader"
    shop.execute(f"create role {role} login; grant select on orders to {role}")
    shop.cli.env["DATABASE_URL"] = shop.cli.env["DATABASE_URL"].replace("//postgres@", f"//{role}@")
    try:
        result = shop.cli("backup", "create", "--json")
        assert result.code == 4
        assert result.json["error"]["code"] == "backup.refused"
        assert "public.notes" in result.json["error"]["why"]
        assert "pg_read_all_data" in result.json["error"]["fix"]
        shop.execute(
            f"grant pg_read_all_data to {role}; alter table notes enable row level security;"
            " create policy fine_only on notes using (mood = 'fine')"
        )
        result = shop.cli("backup", "create", "--json")
        assert result.code == 4
        assert "bypassrls" in result.json["error"]["fix"]
        shop.execute(f"alter role {role} bypassrls")
        assert shop.cli("backup", "create").code == 0
    finally:
        shop.execute(f"drop owned by {role}; drop role {role}")


def test_the_password_is_in_no_argument_list_and_no_output(big: Shop) -> None:
    password = "gEheim-Xy7%"
    role = f"{big.target.dbname}_dumper"
    big.execute(f"create role {role} login superuser password '{password}'")
    url = big.cli.env["DATABASE_URL"].replace("//postgres@", f"//{role}:{password.replace('%', '%25')}@")
    running = big.cli.start("backup", "create", env={"DATABASE_URL": url})
    seen: set[str] = set()
    try:
        while running.poll() is None:
            seen.update(big.running("pg_dump").values())
            time.sleep(0.02)
        out, err = running.communicate()
        assert running.returncode == 0, err
        assert seen, "pg_dump was never seen: the test has looked at nothing"
        for text in (*seen, out, err, *(f.read_text(errors="replace") for f in big.backups.rglob("*.json"))):
            assert password not in text
    finally:
        big.execute(f"drop owned by {role}; drop role {role}")


def test_it_works_with_crons_empty_environment(shop: Shop) -> None:
    done = subprocess.run(
        shop.cli.command("backup", "nightly", "--database-url", shop.cli.env["DATABASE_URL"], "--env", "test"),
        cwd=shop.folder,
        env={},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(shop.published()) == 1


@pytest.mark.parametrize("command", ["create", "nightly"])
def test_an_unreachable_server_is_exit_3(shop: Shop, command: str) -> None:
    result = shop.cli("backup", command, env={"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"})
    assert result.code == 3
    assert shop.published() == []
    if command == "nightly":
        assert len(result.err.splitlines()) == 1
