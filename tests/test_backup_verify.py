"""A proof is a restore: what is not there, or not the same, is found; what is proved says so."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pliers_db.backup.manifest import _checksum
from pliers_db.db import connect
from tests.fix_backup import Shop, descendants, wait_until
from tests.fix_cli import url_of


def rewrite(shop: Shop, backup_id: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Make the manifest say something else, with the checksum that belongs to it."""
    file = shop.path_of(backup_id) / "manifest.json"
    document = json.loads(file.read_text())
    document.pop("self_sha256")
    change(document)
    file.write_text(json.dumps({**document, "self_sha256": _checksum(document)}))


def state_of(shop: Shop) -> Any:
    return shop.cli("backup", "list", "--json").json["backups"][0]


@pytest.fixture(autouse=True)
def at_a_time(shop: Shop) -> None:
    shop.execute(
        "create table hard (v numrange, j jsonb, t timestamptz, f float8, a text[]); insert into hard select"
        " numrange(i, i + 1), jsonb_build_object('k', i), now(), random(), array['ä', null]"
        " from generate_series(1, 99) i"
    )


def test_a_good_backup_is_proved_and_says_so_with_a_date(shop: Shop) -> None:
    backup_id = shop.back_up()
    assert state_of(shop)["state"] == "unproved"
    result = shop.cli("backup", "verify", "--json")
    assert result.code == 0, result.err
    assert result.json["backups"][0]["state"] == "proved"
    after = state_of(shop)
    assert after["id"] == backup_id
    assert after["state"] == "proved"
    assert after["proof"]["findings"] == []
    assert after["proof"]["restore_seconds"] > 0
    assert shop.cli("backup", "list", "--check").code == 0  # the manifest still fits its checksum
    assert shop.cli("restore", "latest", "--compare-rows").code == 0


def test_what_differs_makes_a_backup_broken(shop: Shop) -> None:
    def change(document: dict[str, Any]) -> None:
        contents = document["contents"]
        contents["tables"][0].update(rows=51)
        contents["tables"][1].update(hash="1")
        contents["tables"].append({"path": "public.gone", "rows": 1, "hash": "0"})
        contents.update(large_objects=3)

    rewrite(shop, shop.back_up(), change)
    result = shop.prove("--json")
    assert result.code == 1, result.err
    found = result.json["backups"][0]["proof"]["findings"]
    for finding in ("rows instead of 51", "but not the same ones", "gone is missing", "0 large objects instead of 3"):
        assert len([each for each in found if finding in each]) == 1, found
    assert len(found) == 4
    assert state_of(shop)["state"] == "broken"
    refused = shop.cli("restore", "latest", "--json")
    assert refused.code == 2
    assert found[0] in refused.json["error"]["why"]


def test_compare_rows_compares_them_when_restoring(shop: Shop) -> None:
    rewrite(shop, shop.back_up(), lambda d: d["contents"]["tables"][0].update(hash="1"))
    assert shop.cli("restore", "latest").code == 0  # as many rows: all that is looked at without it
    result = shop.cli("restore", "latest", "--compare-rows", "--json")
    assert result.code == 6
    assert "not the same ones" in result.json["error"]["why"]


def test_a_lost_definition_is_found(shop: Shop) -> None:
    backup_id = shop.back_up()
    folder = shop.path_of(backup_id)
    catalog = json.loads((folder / "catalog.json").read_text())
    catalog["tables"][0]["columns"][0]["comment"] = "never written"
    text = json.dumps(catalog)
    (folder / "catalog.json").write_text(text)

    def change(document: dict[str, Any]) -> None:
        entry = next(f for f in document["files"] if f["path"] == "catalog.json")
        entry.update(size=len(text.encode()), sha256=hashlib.sha256(text.encode()).hexdigest())

    rewrite(shop, backup_id, change)
    result = shop.prove("--json")
    assert result.code == 1
    assert any("comment was" in each for each in result.json["backups"][0]["proof"]["findings"])


def test_a_damaged_file_is_a_finding(shop: Shop) -> None:
    backup_id = shop.back_up()
    dump = shop.path_of(backup_id) / "dump.pgc.zst"
    data = bytearray(dump.read_bytes())
    data[-5] ^= 1
    dump.write_bytes(data)
    result = shop.cli("backup", "verify", backup_id, "--json")
    assert result.code == 1
    assert "dump.pgc.zst has changed" in result.json["backups"][0]["problem"]
    assert state_of(shop)["state"] == "broken"


def test_all_proves_each(shop: Shop) -> None:
    shop.back_up()
    shop.back_up()
    result = shop.prove("all", "--json")
    assert result.code == 0
    assert [b["state"] for b in result.json["backups"]] == ["proved", "proved"]


def test_without_digests_rows_are_counted(shop: Shop) -> None:
    assert shop.cli("backup", "create", "--no-digests").code == 0
    result = shop.prove()
    assert result.code == 0, result.err
    assert "the number of rows equal" in result.out


def test_roles_of_the_backup_are_made_on_the_scratch_server(shop: Shop) -> None:
    role = f'{shop.target.dbname} "odd" Role'
    quoted = role.replace('"', '""')
    shop.execute(f'create role "{quoted}"; alter table notes owner to "{quoted}"; grant select on orders to "{quoted}"')
    try:
        shop.back_up()
        result = shop.cli("backup", "verify", "--json")
        assert result.code == 0, result.out
    finally:
        shop.execute(f'drop owned by "{quoted}"; drop role "{quoted}"')


def test_a_named_server_can_be_used_and_is_left_as_it_was(shop: Shop) -> None:
    shop.back_up()
    result = shop.cli("backup", "verify", "--into", url_of(shop.target.with_database("postgres")), "--json")
    assert result.code == 0, result.err
    with connect(shop.target) as conn:
        left = conn.execute("select datname from pg_database where datname ~ '^a_proof_new_'").fetchall()
    assert left == []


def test_a_proof_that_is_killed_says_nothing_about_the_backup(shop: Shop) -> None:
    shop.execute("create table slow (a int check (pg_sleep(1) is not null)); insert into slow values (1)")
    shop.back_up()
    for victim in ("pg_restore", "postgres"):
        _kill_a_proof(shop, victim)
        assert state_of(shop)["state"] == "unproved"


def _kill_a_proof(shop: Shop, victim: str) -> None:
    running = shop.cli.start("backup", "verify", "--json")

    def loading() -> list[int]:
        names = {pid: Path(line.split()[0]).name for pid, line in descendants(running.pid).items()}
        return [pid for pid, name in names.items() if name == victim] if "pg_restore" in names.values() else []

    wait_until(loading)
    time.sleep(0.3)
    for pid in loading()[:1]:
        os.kill(pid, signal.SIGKILL)
    out, err = running.communicate(timeout=60)
    assert running.returncode in (3, 6), err
    if victim == "pg_restore":
        assert '"restore.interrupted"' in out


def test_an_extension_that_no_server_here_has_is_named(shop: Shop) -> None:
    def change(document: dict[str, Any]) -> None:
        document["source"]["extensions"] = [{"name": "timescaledb", "version": "2.17", "schema": "public"}]

    rewrite(shop, shop.back_up(), change)
    result = shop.cli("backup", "verify", "--json")
    assert result.code == 4
    assert "timescaledb" in result.json["error"]["why"]
    assert state_of(shop)["state"] == "unproved"  # nothing was found out


def test_nightly_proves_at_once(shop: Shop) -> None:
    result = shop.cli("backup", "nightly", "--verify")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert state_of(shop)["state"] == "proved"


def test_the_newest_proved_backup_stays_whatever_the_numbers_say(shop: Shop) -> None:
    (shop.folder / "pliers-db.toml").write_text('name = "shop"\n[backup]\nkeep_last = 1\nkeep_days = 0\n')
    proved = shop.cli("backup", "nightly", "--verify", "--json").json["backup"]["id"]
    for _ in range(2):
        assert shop.cli("backup", "nightly").code == 0
    assert proved in shop.published()
    assert len(shop.published()) == 2


@pytest.mark.pg15
def test_postgresql_15_is_proved_on_15(shop15: Shop) -> None:
    shop15.back_up()
    result = shop15.cli("backup", "verify", "--json")
    assert result.code == 0, result.out + result.err
    assert result.json["backups"][0]["proof"]["server_version"].startswith("15.")
