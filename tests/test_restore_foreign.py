"""Dumps that pg_dump has made without us restore, too; what is wrong with one is said before anything is written."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from pliers_db.postgres import find_binaries
from pliers_db.restore.shape import Kind, recognise
from tests.fix_backup import Shop

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def dump(shop: Shop, to: Path, *arguments: str, major: int = 18) -> Path:
    command = [find_binaries(major).program("pg_dump"), *arguments, f"--file={to}"]
    subprocess.run(command, env=shop.target.child_environment(), check=True)
    return to


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["--format=custom"], Kind.CUSTOM),
        (["--format=directory", "--jobs=2"], Kind.DIRECTORY),
        (["--format=tar"], Kind.TAR),
        (["--format=plain"], Kind.PLAIN),
        (["--format=plain", "--inserts", "--rows-per-insert=50"], Kind.PLAIN),
    ],
)
def test_every_format_of_pg_dump_restores(shop: Shop, tmp_path: Path, arguments: list[str], kind: Kind) -> None:
    before = shop.fingerprint()
    file = dump(shop, tmp_path / "named by somebody", *arguments)
    shape = recognise(file)
    assert shape is not None
    assert shape.kind is kind
    shop.execute("truncate notes")
    result = shop.cli("restore", str(file), "--json")
    assert result.code == 0, result.err
    assert result.json["compared"] is False
    assert shop.fingerprint() == before


@pytest.mark.parametrize("form", ["plain", "custom", "tar"])
@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_compressed_around_it_restores_as_well(shop: Shop, tmp_path: Path, form: str, packer: str) -> None:
    before = shop.fingerprint()
    file = dump(shop, tmp_path / "dump", f"--format={form}")
    file.write_bytes((gzip.compress if packer == "gzip" else zstd.compress)(file.read_bytes()))
    shop.execute("truncate notes")
    result = shop.cli("restore", str(file))
    assert result.code == 0, result.err
    assert shop.fingerprint() == before


FORMS = {
    "plain": ["--format=plain"],
    "custom": ["--format=custom"],
    "custom, uncompressed": ["--format=custom", "--compress=0"],
    "tar": ["--format=tar"],
    "directory": ["--format=directory"],
    "directory, uncompressed": ["--format=directory", "--compress=0"],
}


@pytest.mark.parametrize("part", [0.4, 0.75, 0.97])
@pytest.mark.parametrize("form", FORMS)
def test_a_dump_that_ends_too_early_is_found_before_anything_is_written(
    shop: Shop, tmp_path: Path, form: str, part: float
) -> None:
    file = dump(shop, tmp_path / "dump", *FORMS[form])
    if file.is_dir():
        file = max(file.glob("[0-9]*.dat*"), key=lambda f: f.stat().st_size)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * part)])
    before = (shop.databases(), shop.fingerprint())
    result = shop.cli("restore", str(tmp_path / "dump"), "--json")
    assert result.code == 2, result.out + result.err
    assert result.json["error"]["code"] == "backup.corrupt"
    assert (shop.databases(), shop.fingerprint()) == before


@pytest.mark.parametrize("form", ["plain", "custom", "tar"])
def test_a_broken_compression_around_it_is_found(shop: Shop, tmp_path: Path, form: str) -> None:
    file = dump(shop, tmp_path / "dump", *FORMS[form])
    data = gzip.compress(file.read_bytes())
    file.write_bytes(data[: len(data) * 3 // 4])
    result = shop.cli("restore", str(file), "--json")
    assert result.code == 2
    assert result.json["error"]["code"] == "backup.corrupt"


@pytest.mark.parametrize(
    "line",
    [
        "\\connect template1",
        "\\! touch /tmp/owned",
        "\\copy t from program 'id'",
        "create database other;",
        "\\i x.sql",
    ],
)
def test_plain_sql_that_reaches_outside_its_database_is_refused(shop: Shop, tmp_path: Path, line: str) -> None:
    file = tmp_path / "evil.sql"
    file.write_text(f"create table t (a int);\n{line}\n")
    result = shop.cli("restore", str(file), "--json")
    assert result.code == 2
    assert line[:20] in result.json["error"]["why"]


def test_rows_that_look_like_commands_are_rows(shop: Shop, tmp_path: Path) -> None:
    shop.execute(r"insert into notes (id, body) values (7001, '\connect'), (7002, 'create database x;'), (7003, null)")
    before = shop.fingerprint()
    file = dump(shop, tmp_path / "dump.sql", "--format=plain")
    assert shop.cli("restore", str(file)).code == 0
    assert shop.fingerprint() == before


def test_an_error_in_plain_sql_leaves_the_database_as_it_was(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "wrong.sql"
    file.write_text("create table t (a int);\ninsert into t values ('x');\n")
    before = (shop.databases(), shop.fingerprint())
    result = shop.cli("restore", str(file), "--json")
    assert result.code == 6
    assert "invalid input syntax" in result.json["error"]["why"]
    assert (shop.databases(), shop.fingerprint()) == before


@pytest.mark.pg15
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_dump_of_a_newer_server_is_refused_by_name(shop: Shop, shop15: Shop, tmp_path: Path, form: str) -> None:
    file = dump(shop, tmp_path / "dump", f"--format={form}")
    result = shop15.cli("restore", str(file), "--json")
    assert result.code == 4
    assert "PostgreSQL 18" in result.json["error"]["message"]


@pytest.mark.pg15
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_what_a_newer_pg_dump_made_of_an_older_server_restores_there(shop15: Shop, tmp_path: Path, form: str) -> None:
    """pg_dump 18 writes SET transaction_timeout, which 15 does not know."""
    before = shop15.fingerprint()
    file = dump(shop15, tmp_path / "dump", f"--format={form}")
    shop15.execute("truncate notes")
    result = shop15.cli("restore", str(file))
    assert result.code == 0, result.err
    assert shop15.fingerprint() == before


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x00\x01\x02" * 400, b"PK\x03\x04zip", b"select_not sql"])
def test_what_is_no_dump_is_told_apart(shop: Shop, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "something.dump"
    file.write_bytes(content)
    result = shop.cli("restore", str(file), "--json")
    assert result.code == 2
    assert result.json["error"]["code"] == "backup.corrupt"
