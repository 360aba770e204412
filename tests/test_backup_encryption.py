"""An encrypted backup is made with public keys only, and opens for who has a secret one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from pliers_db.backup import parse_recipients
from pliers_db.backup.pack import packing, pieces
from pliers_db.errors import BackupCorrupt, NoIdentity
from tests.fix_backup import Shop

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SECRET = "customer 17"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A secret key, with its public one beside it."""
    identity = pyrage.x25519.Identity.generate()
    file = tmp_path / "key.txt"
    file.write_text(f"# created: today\n# public key: {identity.to_public()}\n{identity}\n")
    (tmp_path / "key.pub").write_text(str(identity.to_public()))
    return file


def public(key: Path) -> str:
    return key.with_suffix(".pub").read_text()


def test_nothing_readable_of_the_data_is_stored_and_the_key_brings_it_back(shop: Shop, key: Path) -> None:
    before = shop.fingerprint()
    made = shop.cli("backup", "create", "--encrypt-to", public(key), "--json")
    assert made.code == 0, made.err
    assert made.json["encrypted_to"] == [public(key)]
    folder = shop.path_of(made.json["id"])
    assert sorted(f.name for f in folder.iterdir()) == [
        "SHA256SUMS",
        "catalog.json.age",
        "database.json.age",
        "dump.pgc.zst.age",
        "globals.sql.age",
        "manifest.json",
    ]
    for file in folder.iterdir():
        assert SECRET.encode() not in file.read_bytes()
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    shop.execute("truncate notes")
    result = shop.cli("restore", "latest", "--identity", str(key), "--compare-rows")
    assert result.code == 0, result.err
    assert shop.fingerprint() == before


def test_other_programs_can_open_it(shop: Shop, key: Path) -> None:
    """age -d and zstd -d; here by the library that reads the same format."""
    shop.cli("backup", "create", "--encrypt-to", public(key))
    dump = shop.path_of(shop.published()[0]) / "dump.pgc.zst.age"
    identity = pyrage.x25519.Identity.from_str(key.read_text().splitlines()[-1])
    archive = zstd.decompress(pyrage.decrypt(dump.read_bytes(), [identity]))
    assert archive.startswith(b"PGDMP")


def test_without_the_key_it_is_said_before_anything_is_touched(shop: Shop, key: Path, tmp_path: Path) -> None:
    shop.cli("backup", "create", "--encrypt-to", public(key))
    before = (shop.databases(), shop.fingerprint())
    other = tmp_path / "other.txt"
    other.write_text(str(pyrage.x25519.Identity.generate()))
    for arguments in ([], ["--identity", str(other)]):
        result = shop.cli("restore", "latest", *arguments, "--json")
        assert result.code == 2, result.err
        assert result.json["error"]["code"] == "backup.no-identity"
        assert "--identity" in result.json["error"]["fix"]
    assert (shop.databases(), shop.fingerprint()) == before
    assert shop.cli("backup", "list", "--check").code == 0  # damage is found without the key


def test_the_key_can_come_from_the_environment_and_verify_uses_it(shop: Shop, key: Path) -> None:
    shop.cli("backup", "create", "--encrypt-to", public(key))
    assert shop.prove().code == 2
    proved = shop.cli("backup", "verify", env={"PLIERS_IDENTITY": str(key)})
    assert proved.code == 0, proved.err


def test_recipients_can_stand_in_the_projects_settings(shop: Shop, key: Path) -> None:
    (shop.folder / "pliers-db.toml").write_text(f'name = "shop"\n[backup]\nencrypt_to = ["{public(key)}"]\n')
    assert shop.cli("backup", "nightly").code == 0
    assert (shop.path_of(shop.published()[0]) / "dump.pgc.zst.age").is_file()


def test_several_recipients_each_can_open_it(shop: Shop, key: Path, tmp_path: Path) -> None:
    second = pyrage.x25519.Identity.generate()
    (tmp_path / "second.txt").write_text(str(second))
    made = shop.cli("backup", "create", "--encrypt-to", public(key), "--encrypt-to", str(second.to_public()))
    assert made.code == 0, made.err
    for file in (key, tmp_path / "second.txt"):
        assert shop.prove("--identity", str(file)).code == 0


def test_an_ssh_key_will_do(shop: Shop, tmp_path: Path) -> None:
    key = tmp_path / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    made = shop.cli("backup", "create", "--encrypt-to", key.with_suffix(".pub").read_text().strip())
    assert made.code == 0, made.err
    assert shop.prove("--identity", str(key)).code == 0


@pytest.mark.parametrize("wrong", ["age1nonsense", "hello", "AGE-SECRET-KEY-1XYZ"])
def test_a_wrong_recipient_is_refused_before_the_dump(shop: Shop, wrong: str) -> None:
    result = shop.cli("backup", "create", "--encrypt-to", wrong)
    assert result.code == 2
    assert shop.published() == []


def test_gzip_cannot_be_had_encrypted(shop: Shop, key: Path) -> None:
    assert shop.cli("backup", "create", "--encrypt-to", public(key), "--compress", "gzip:1").code == 2


@pytest.mark.parametrize("cut", [1, 70_000, 0.5])
def test_a_shortened_or_changed_file_never_opens(tmp_path: Path, cut: float) -> None:
    identity = pyrage.x25519.Identity.generate()
    file = tmp_path / "x.zst.age"
    with packing(file, recipients=parse_recipients([str(identity.to_public())], "test")) as packer:
        for _ in range(300):
            packer.write(os.urandom(4000) + file.name.encode())
    whole = file.read_bytes()
    assert len(b"".join(pieces(file, [identity]))) == 300 * (4000 + len(file.name))
    short = whole[: int(len(whole) * cut)] if cut < 1 else whole[: -int(cut)]
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 8
    for damaged in (short, bytes(flipped)):
        file.write_bytes(damaged)
        with pytest.raises((BackupCorrupt, NoIdentity)):
            list(pieces(file, [identity]))
