"""kill -9 of ours, of PostgreSQL's programs, or of the server, at random moments: nothing is lost, nothing looks whole
that is not, and the same command then succeeds.

    PLIERS_KILLS=100 PLIERS_KILL_SEED=7 pytest -n0 -s tests/test_backup_random_kills.py
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pliers_db.backup import Backup, Repository
from pliers_db.db import connect
from pliers_db.errors import PliersError
from pliers_db.postgres import Server, scratch_server
from tests.fix_backup import Shop, descendants, make_bulk, make_shop
from tests.fix_s3 import Bucket

KILLS = int(os.environ.get("PLIERS_KILLS", "5"))
SEED = int(os.environ.get("PLIERS_KILL_SEED", str(random.SystemRandom().randrange(10**6))))
JOBS = ("create", "nightly", "push", "verify", "restore", "prune")
VICTIMS = dict.fromkeys(("create", "nightly", "verify", "restore"), ("ours", "program", "server"))
VICTIMS |= {"push": ("ours",), "prune": ("ours",)}  # these work alone
COMMANDS = {
    "create": ("backup", "create"),
    "nightly": ("backup", "nightly"),
    "push": ("backup", "push"),
    "verify": ("backup", "verify"),
    "restore": ("restore", "latest", "--terminate"),
    "prune": ("backup", "prune"),
}


@dataclass
class Arena:
    """A shop on a server of its own, its backups here and in a bucket."""

    shop: Shop
    server: Server
    bucket: Bucket
    chance: random.Random
    takes: dict[str, float] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)

    @property
    def repository(self) -> Repository:
        return Repository(self.shop.backups)

    def prepare(self, job: str) -> None:
        """Something for the job to do."""
        if job == "prune":
            newest = self.repository.find("latest", self.shop.target.dbname)
            for days in (30, 31):
                self._older(newest, days)
        if job == "push":
            assert self.shop.cli("backup", "create").code == 0
        if job == "restore":
            self.shop.execute("insert into notes (id, body) select max(id) + 1, 'later' from notes")

    def _older(self, backup: Backup, days: int) -> None:
        assert backup.manifest is not None
        at = backup.manifest.started_at - timedelta(days=days)
        backup_id = f"{at:%Y%m%dT%H%M%SZ}-{backup.id.split('-', 1)[1]}"
        if any(each.id == backup_id for each in self.repository.backups()):
            return
        with self.repository.locked("a test"), self.repository.arriving(backup_id, backup.database) as incoming:
            for file in backup.manifest.files:
                (incoming.path / file.path).write_bytes((backup.path / file.path).read_bytes())
            self.repository.publish(incoming, replace(backup.manifest, id=backup_id, started_at=at, proof=None))

    def check(self) -> None:
        """Nothing here or there claims to be whole that is not."""
        here = self.repository.backups()
        assert here, "no backup is left"
        for backup in here:
            assert self.repository.checked(backup).good, backup.problem
        for backup in self.bucket.remote.backups():
            assert self.bucket.remote.checked(backup).good, backup.problem

    def run(self, job: str, victim: str) -> None:
        self.prepare(job)
        before, kept = self.shop.fingerprint(), {b.id for b in self.repository.backups()}
        newest = self.repository.find("latest", self.shop.target.dbname)
        running = self.shop.cli.start(*COMMANDS[job])
        time.sleep(self.chance.uniform(0, self.takes[job] * (1 if victim == "ours" else 0.7)))
        while not (hit := self._kill(running, victim)) and running.poll() is None:
            time.sleep(0.005)  # it has not been started yet
        running.communicate(timeout=120)
        if victim == "server":
            self._revive()
        self.told[f"{job}: {victim}{'' if hit else ', which had ended'}"] += 1
        now = self.shop.fingerprint()
        restored = {key: value for key, value in now.items() if key != "public.notes"}
        assert restored == {key: value for key, value in before.items() if key != "public.notes"}
        assert now["public.notes"] in (before["public.notes"], self.notes), "neither the old database nor the new one"
        self.check()
        if job not in ("prune", "nightly"):
            assert kept <= {b.id for b in self.repository.backups()}
        assert newest.id in {b.id for b in self.repository.backups()}
        again = self.shop.cli(*COMMANDS[job])
        assert again.code == 0, again.err
        self.check()
        assert list(self.shop.backups.glob(".trash/*")) == []
        if job in ("create", "nightly", "prune"):
            assert list(self.shop.backups.glob(".incoming/*")) == []
        if job == "restore":
            assert self.shop.fingerprint()["public.notes"] == self.notes
            assert [name for name in self.shop.databases() if "_new_" in name] == []
            assert self.shop.cli("restore", "clean").code == 0

    notes: Any = None
    """What the table holds in every backup."""

    def _kill(self, running: subprocess.Popen[str], victim: str) -> bool:
        """:returns: whether there was one to kill."""
        if victim == "ours":
            found = [running.pid] if running.poll() is None else []
        elif victim == "server" and "verify" not in running.args:  # type: ignore[operator]
            found = [int((self.server.data / "postmaster.pid").read_text().split()[0])]
        else:
            name = "postgres" if victim == "server" else "pg_"
            found = [
                pid for pid, line in descendants(running.pid).items() if Path(line.split()[0]).name.startswith(name)
            ]
        for pid in found[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def _revive(self) -> None:
        end = time.monotonic() + 60
        while True:
            with suppress(PliersError):
                self.server.start()
            with suppress(PliersError, psycopg.Error), connect(self.shop.target) as conn:
                conn.execute("select 1")
                return
            assert time.monotonic() < end, "the server does not come back"
            time.sleep(0.2)


@pytest.fixture
def arena(project: Path, bucket: Bucket) -> Iterator[Arena]:
    with scratch_server() as server:
        with connect(server.target("postgres")) as conn:
            conn.execute("create database kills")
        shop = make_shop(project, server.target("kills"))
        make_bulk(shop.target, 6)
        (project / "pliers-db.toml").write_text(
            f'name = "shop"\n[backup]\nkeep_last = 3\nkeep_days = 0\nremote = "{bucket.url}"\n'
        )
        shop.cli.env.update(bucket.variables)
        yield Arena(shop, server, bucket, random.Random(SEED))


def timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing_and_leaves_nothing_half(arena: Arena) -> None:
    print(f"\nseed {SEED}, {KILLS} kills")  # noqa: T201
    arena.notes = arena.shop.fingerprint()["public.notes"]
    order = [job for _ in range(KILLS // len(JOBS) + 1) for job in arena.chance.sample(JOBS, len(JOBS))][:KILLS]
    assert arena.shop.cli("backup", "create").code == 0
    for job in sorted(set(order)):
        arena.prepare(job)
        arena.takes[job] = timed(lambda job=job: arena.shop.cli(*COMMANDS[job]))
        if job == "restore":
            assert arena.shop.cli("restore", "clean").code == 0
    for number, job in enumerate(order, 1):
        victim = arena.chance.choice(VICTIMS[job])
        try:
            arena.run(job, victim)
        except BaseException as error:
            error.add_note(f"seed {SEED}, kill {number} of {KILLS}: {victim} during {job}")
            raise
    print(*(f"{count:4} {what}" for what, count in sorted(arena.told.items())), sep="\n")  # noqa: T201
