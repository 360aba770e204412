"""A damaged backup is found, named, and never restored."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from pliers_db.postgres import find_binaries
from tests.fix_backup import Shop

Damage = Callable[[Path], None]


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    file.write_bytes(data)


def truncate(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def edit(file: Path) -> None:
    document = json.loads(file.read_text())
    document["contents"]["tables"][0]["rows"] += 1
    file.write_text(json.dumps(document))


DAMAGES: list[tuple[Damage, str, bool]] = [
    (truncate, "dump.pgc.zst", True),
    (Path.unlink, "dump.pgc.zst", True),
    (flip, "dump.pgc.zst", False),
    (truncate, "manifest.json", True),
    (edit, "manifest.json", True),
    (Path.unlink, "manifest.json", True),
]


def test_a_damaged_file_is_named_before_anything_is_written(shop: Shop) -> None:
    backup_id = shop.back_up()
    before = (shop.databases(), shop.fingerprint())
    for damage, name, seen_in_list in DAMAGES:
        file = shop.path_of(backup_id) / name
        whole = file.read_bytes()
        damage(file)
        result = shop.cli("restore", backup_id, "--json")
        assert result.code == 2, result.err
        error = result.json["error"]
        assert error["code"] == "backup.corrupt"
        assert name in error["why"]
        listed = shop.cli("backup", "list", "--json")
        assert listed.json["backups"][0]["state"] == ("broken" if seen_in_list else "unproved")
        assert listed.code == (1 if seen_in_list else 0)
        checked = shop.cli("backup", "list", "--check", "--json")
        assert checked.code == 1
        assert checked.json["backups"][0]["state"] == "broken"
        assert name in checked.json["backups"][0]["problem"]
        file.write_bytes(whole)
    assert (shop.databases(), shop.fingerprint()) == before


def test_any_flipped_bit_is_found(shop: Shop) -> None:
    backup_id = shop.back_up()
    folder = shop.path_of(backup_id)
    whole = {file: file.read_bytes() for file in folder.iterdir() if file.name != "SHA256SUMS"}
    for file, content in whole.items():
        for _ in range(6):
            flip(file)
            result = shop.cli("backup", "list", "--check", "--json")
            assert result.code == 1, file.name
            file.write_bytes(content)
    assert shop.cli("backup", "list", "--check").code == 0


def test_when_the_latest_is_damaged_it_is_refused_and_the_one_before_is_offered(shop: Shop) -> None:
    older = shop.back_up()
    newer = shop.back_up()
    flip(shop.path_of(newer) / "dump.pgc.zst")
    result = shop.cli("restore", "latest", "--json")
    assert result.code == 2
    assert result.json["error"]["fix"].endswith(f"pliers-db restore {older}")
    assert shop.cli("restore", older).code == 0


def test_an_unknown_id_is_answered_with_the_nearest(shop: Shop) -> None:
    backup_id = shop.back_up()
    wrong = backup_id[:-1] + ("a" if backup_id[-1] != "a" else "b")
    result = shop.cli("restore", wrong, "--json")
    assert result.code == 2
    error = result.json["error"]
    assert error["code"] == "backup.not-found"
    assert backup_id in error["why"]
    assert error["fix"] == "pliers-db backup list"


def test_the_beginning_of_an_id_is_enough_if_only_one_has_it(shop: Shop) -> None:
    first, second = shop.back_up(), shop.back_up()
    both = shop.cli("restore", first[:8], "--json")
    assert both.code == 2
    assert first in both.json["error"]["why"]
    assert second in both.json["error"]["why"]
    name = f"{shop.target.dbname}_short"
    restored = shop.cli("restore", first[:-1], "--to", name, "--json")
    if first[:-1] != second[:-1]:
        assert restored.json["from"] == first


def test_latest_without_any_backup_says_how_to_make_one(shop: Shop) -> None:
    result = shop.cli("restore", "latest", "--json")
    assert result.code == 2
    assert result.json["error"]["fix"] == "pliers-db backup create"


def test_latest_is_of_the_configured_database(shop: Shop) -> None:
    shop.back_up()
    elsewhere = shop.cli.env["DATABASE_URL"].replace(shop.target.dbname, "postgres")
    result = shop.cli("restore", "latest", "--json", env={"DATABASE_URL": elsewhere})
    assert result.code == 2
    assert shop.target.dbname in result.json["error"]["why"]


def test_a_dump_from_elsewhere_is_read_through_before_it_is_restored(shop: Shop, tmp_path: Path) -> None:
    whole = tmp_path / "whole.dump"
    command = [find_binaries().program("pg_dump"), "--format=custom", f"--file={whole}"]
    subprocess.run(command, env=shop.target.child_environment(), check=True)
    before = shop.fingerprint()
    foreign = tmp_path / "foreign.dump"
    foreign.write_bytes(whole.read_bytes()[:-200])
    assert shop.cli("restore", str(foreign), "--json").json["error"]["code"] == "backup.corrupt"
    foreign.write_text("no dump at all")
    assert shop.cli("restore", str(foreign), "--json").code == 2
    assert shop.cli("restore", str(tmp_path / "nothing.dump")).code == 2
    foreign.write_bytes(whole.read_bytes())
    shop.execute("truncate notes")
    result = shop.cli("restore", str(foreign), "--json")
    assert result.code == 0, result.err
    assert result.json["compared"] is False
    assert shop.fingerprint() == before
