"""Backups in an object store are there whole or not at all, and come back only as they were made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pliers_db.backup import Backup, Remote, Repository, Retention, Store, create_backup, nightly_backup
from pliers_db.backup import remote as remote_module
from pliers_db.config import Environment, Target
from pliers_db.db import Database, connect, write_stamp
from pliers_db.errors import BackupCorrupt, BackupNotFound, BackupNotPushed, BadSetting, RemoteFailed
from tests.fix_cli import Cli, url_of
from tests.fix_s3 import SECRET, Bucket

PARTS = 12 << 20  # more than one part of an upload


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, Backup]:
    """A backup that nobody made: a file of several parts and a small one, with a true manifest."""
    from dataclasses import replace

    from pliers_db.backup.files import sha256_of
    from pliers_db.backup.manifest import StoredFile
    from tests.test_backup_manifest import WHOLE

    repository = Repository(tmp_path_factory.mktemp("made"))
    with repository.locked("a test"), repository.arriving(WHOLE.id, "shop") as incoming:
        (incoming.path / "dump").mkdir()
        contents = {"dump/1.dat.zst": os.urandom(PARTS), "globals.sql": b"-- roles\n"}
        for name, content in contents.items():
            (incoming.path / name).write_bytes(content)
        files = tuple(StoredFile(n, len(c), sha256_of(incoming.path / n)) for n, c in contents.items())
        backup = repository.publish(incoming, replace(WHOLE, files=files))
    return repository, backup


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


# ── push and pull ────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_pulled_is_byte_for_byte_what_was_pushed(
    made: tuple[Repository, Backup], bucket: Bucket, tmp_path: Path
) -> None:
    repository, backup = made
    assert bucket.remote.push(repository, backup) is True
    assert bucket.remote.push(repository, backup) is False  # a second push sends nothing
    there = bucket.remote.find("latest", "shop")
    assert (there.id, there.state, there.manifest) == (backup.id, "proved", backup.manifest)
    assert bucket.remote.checked(there).good
    pulled = bucket.remote.pull(Repository(tmp_path), there)
    for file in sorted(backup.path.rglob("*")):
        if file.is_file():
            assert (pulled.path / file.relative_to(backup.path)).read_bytes() == file.read_bytes()
    assert Repository(tmp_path).checked(pulled).good
    assert bucket.remote.pull(Repository(tmp_path), there) == pulled  # it is there already
    folder = Remote(Store(f"{bucket.url}/shop", bucket.variables))
    assert folder.find(backup.id[:20]).id == backup.id  # the URL of the database's folder does, too


def test_the_manifest_is_stored_last(
    made: tuple[Repository, Backup], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    remote = bucket.remote
    upload, write = Store.upload, Store.write
    monkeypatch.setattr(Store, "upload", lambda self, path, *rest: (order.append(path), upload(self, path, *rest))[1])
    monkeypatch.setattr(Store, "write", lambda self, path, *rest: (order.append(path), write(self, path, *rest))[1])
    remote.push(*made)
    assert order[-1].endswith("/manifest.json")
    assert len(order) == 4


def test_a_push_that_breaks_off_leaves_nothing_that_looks_complete_and_the_next_one_finishes(
    made: tuple[Repository, Backup], bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pieces_of = remote_module._pieces_of

    def breaking(file: Path) -> Iterator[bytes]:
        for number, piece in enumerate(pieces_of(file)):
            if number == 9:
                raise KeyboardInterrupt
            yield piece

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(remote_module, "_pieces_of", breaking)
        bucket.remote.push(*made)
    assert (bucket.names(), bucket.unfinished()) == ([], 0)  # not even a part of the file
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        bucket.remote.push(*made)
    assert len(bucket.names()) == 2
    assert bucket.remote.backups() == []
    with pytest.raises(BackupNotFound):
        bucket.remote.find("latest", "shop")
    assert bucket.remote.push(*made) is True
    assert bucket.remote.pull(Repository(tmp_path), bucket.remote.find("latest", "shop")).good


def test_a_byte_that_changed_here_is_not_pushed(
    made: tuple[Repository, Backup], bucket: Bucket, tmp_path: Path
) -> None:
    bucket.remote.push(*made)
    copy = bucket.remote.pull(Repository(tmp_path), bucket.remote.find("latest", "shop"))
    flip(copy.path / "dump" / "1.dat.zst", PARTS - 1)
    other = Bucket(bucket.url + "/other", bucket.variables)
    with pytest.raises(BackupCorrupt, match="damaged") as caught:
        other.remote.push(Repository(tmp_path), copy)
    assert "dump/1.dat.zst" in caught.value.why
    assert other.names() == []


def test_a_byte_that_changed_there_is_found_before_anything_stands_here(
    made: tuple[Repository, Backup], bucket: Bucket, tmp_path: Path
) -> None:
    repository, backup = made
    bucket.remote.push(repository, backup)
    name = next(name for name in bucket.names() if name.endswith("1.dat.zst"))
    content = bytearray(bucket.store.read(name))
    content[PARTS // 2] ^= 1
    bucket.store.write(name, bytes(content))
    there = bucket.remote.find("latest", "shop")
    assert "dump/1.dat.zst has changed" in bucket.remote.checked(there).problem
    with pytest.raises(BackupCorrupt):
        bucket.remote.pull(Repository(tmp_path), there)
    assert Repository(tmp_path).backups() == []
    assert list(tmp_path.glob(".incoming/*")) == []
    bucket.store.write(name, bytes(content[:-1]))
    cut = bucket.remote.backups()[0]
    assert (cut.state, "bytes instead of" in cut.problem) == ("broken", True)
    assert bucket.remote.push(repository, backup) is True  # and it is mended by pushing it again
    assert bucket.remote.checked(bucket.remote.backups()[0]).good


def test_prune_removes_there_what_the_rules_do_not_keep_and_what_pushes_have_left(
    made: tuple[Repository, Backup], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, backup = made
    bucket.remote.push(repository, backup)
    assert backup.manifest is not None
    from dataclasses import replace

    dump = next(name for name in bucket.names() if name.endswith("globals.sql"))
    for day in (1, 2):
        at = backup.manifest.started_at + timedelta(days=day)
        newer = replace(
            backup.manifest,
            id=f"{at:%Y%m%dT%H%M%SZ}-shop-abcdef",
            started_at=at,
            files=backup.manifest.files[1:],
            proof=None,
        )
        bucket.store.write(f"shop/{newer.id}/globals.sql", bucket.store.read(dump))
        bucket.store.write(f"shop/{newer.id}/manifest.json", newer.to_json().encode())
    bucket.store.write("shop/20200101T000000Z-shop-aaaaaa/dump.pgc", b"half")
    bucket.store.write("a picture.png", b"of somebody else")
    rules = Retention(keep_last=1, keep_days=0)
    planned = bucket.remote.plan_prune(rules, "shop")
    assert [verdict.keep for verdict in planned] == [True, False, True]  # the newest, and the newest proved one
    assert [v.id for v in bucket.remote.prune(rules, "shop")] == [planned[1].id]
    assert [b.id for b in bucket.remote.backups()] == [planned[0].id, planned[2].id]
    assert any("aaaaaa" in name for name in bucket.names())  # a push may be under way
    monkeypatch.setattr(remote_module, "_ABANDONED", timedelta(seconds=-5))
    bucket.remote.prune(rules, "shop")
    assert not any("aaaaaa" in name for name in bucket.names())
    assert "a picture.png" in bucket.names()


def test_a_store_that_does_not_answer_or_refuses_is_exit_3_without_its_secrets(bucket: Bucket) -> None:
    for url, variables in (
        ("s3://nobody-has-this-bucket", bucket.variables),
        (bucket.url, bucket.variables | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}),
    ):
        with pytest.raises(RemoteFailed) as caught:
            Remote(Store(url, variables)).backups()
        assert caught.value.exit_code == 3
        assert url in caught.value.message
        assert caught.value.why
        assert SECRET not in str(caught.value) + caught.value.why + caught.value.fix


@pytest.mark.parametrize("url", ["bucket", "http://bucket/x", "s3:", "s3://"])
def test_what_is_no_object_store_is_named(url: str) -> None:
    with pytest.raises(BadSetting):
        Store(url)


# ── with a database ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def little(target: Target) -> Iterator[Target]:
    with connect(target) as conn:
        conn.execute("create table a as select generate_series(1, 10) as i")
        write_stamp(conn, Environment.TEST)
    yield target
    with connect(target.with_database("postgres")) as conn:
        names = conn.execute("select datname from pg_database where datname like %s", [target.dbname + "_%"]).fetchall()
        for (name,) in names:
            conn.execute(f'drop database "{name}" with (force)')


def test_nightly_pushes_and_removes_nothing_here_before(little: Target, bucket: Bucket, tmp_path: Path) -> None:
    repository, rules = Repository(tmp_path), Retention(keep_last=1, keep_days=0)
    away = Remote(Store(bucket.url, bucket.variables | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}))
    with Database(little) as database:
        first = create_backup(database, repository)
        with pytest.raises(BackupNotPushed, match="only here") as caught:
            nightly_backup(database, repository, rules, remote=away)
        assert caught.value.exit_code == 7
        assert len(repository.backups()) == 2
        done = nightly_backup(database, repository, rules, remote=bucket.remote)
    assert len(bucket.remote.backups()) == 3  # those that could not be pushed, too
    assert [b.id for b in repository.backups()] == [done.backup.id]
    assert first.id in {b.id for b in bucket.remote.backups()}


def test_a_database_comes_back_from_the_store_alone(little: Target, bucket: Bucket, project: Path) -> None:
    (project / "pliers-db.toml").write_text(f'name = "shop"\n[backup]\nremote = "{bucket.url}"\n')
    secrets = "".join(f"{name}={value}\n" for name, value in bucket.variables.items())
    (project / ".env.test").write_text(f"DATABASE_URL={url_of(little)}\n{secrets}")
    cli = Cli(project, {"PLIERS_ENV": "test"})
    done = cli("backup", "nightly")
    assert (done.code, done.err) == (0, "")
    listed = cli("backup", "list", "--remote", "--json")
    assert [b["state"] for b in listed.json["backups"]] == ["unproved"]
    os.rename(project / "backups", project / "lost")
    with connect(little) as conn:
        conn.execute("truncate a")
    restored = cli("restore", f"{bucket.url}/latest", "--json", "--debug")
    assert restored.code == 0, restored.err
    assert (restored.json["rows"], restored.json["compared"]) == (10, True)
    for told in (done, listed, restored):
        assert SECRET not in told.out + told.err
    assert SECRET not in (project / "backups").joinpath("logical").rglob("manifest.json").__next__().read_text()
    pruned = cli("backup", "prune", "--remote", "--dry-run", "--json")
    assert [b["keep"] for b in pruned.json["backups"]] == [True]
