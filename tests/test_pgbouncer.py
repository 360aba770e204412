"""Behind PgBouncer in transaction mode: noticed, and what needs a session is refused with the way around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pliers_db.config import Target
from pliers_db.db import LockName, advisory_lock, behind_pooler, connect, try_advisory_lock
from pliers_db.errors import PoolerInTheWay
from tests.fix_cli import Cli, url_of

pytestmark = pytest.mark.slow


def tcp_url(target: Target) -> str:
    return f"postgresql://{target.user}@{target.host}:{target.port}/{target.dbname}"


@pytest.fixture
def shop(project: Path) -> Path:
    (project / "migrations" / "20260101000000_t.sql").write_text("create table t (id int primary key);\n")
    (project / "migrations" / "20260101000000_t.rollback.sql").write_text("drop table t;\n")
    return project


def test_the_pooler_is_noticed(target: Target, bounced: Target) -> None:
    with connect(target) as direct, connect(bounced) as through:
        assert not behind_pooler(direct)
        assert behind_pooler(through)


def test_a_session_lock_is_refused_and_not_left_behind(target: Target, bounced: Target) -> None:
    with connect(bounced) as through:
        with pytest.raises(PoolerInTheWay, match="needs a session"):
            try_advisory_lock(through, LockName.SCHEMA)
        with pytest.raises(PoolerInTheWay), advisory_lock(through, LockName.SEED):
            pytest.fail("locked")
    with connect(target) as direct:
        assert direct.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone() == (0,)


@pytest.mark.parametrize("command", ["migrate up", "backup create"])
def test_commands_that_need_a_session_refuse_it(
    command: str, shop: Path, make_cli: Callable[..., Cli], bounced: Target
) -> None:
    pliers = make_cli(shop, {"DATABASE_URL": tcp_url(bounced), "PLIERS_ENV": "test"})
    result = pliers(*command.split(), "--json")
    assert result.code == 2, result.err
    assert result.json["error"]["code"] == "db.pooler"
    assert "DIRECT_DATABASE_URL" in result.json["error"]["fix"]


def test_the_direct_url_is_the_way_around(
    shop: Path, make_cli: Callable[..., Cli], target: Target, bounced: Target
) -> None:
    env = {"DATABASE_URL": tcp_url(bounced), "DIRECT_DATABASE_URL": url_of(target), "PLIERS_ENV": "test"}
    pliers = make_cli(shop, env)
    up = pliers("migrate", "up")
    assert up.code == 0, up.err
    assert "local socket" in up.err  # the target that is announced is the one that is written to
    assert pliers("migrate", "status", "--check").code == 0
    made = pliers("backup", "create")
    assert made.code == 0, made.err


def test_reading_works_through_it(shop: Path, make_cli: Callable[..., Cli], target: Target, bounced: Target) -> None:
    assert make_cli(shop, {"DATABASE_URL": url_of(target), "PLIERS_ENV": "test"})("migrate", "up").code == 0
    through = make_cli(shop, {"DATABASE_URL": tcp_url(bounced), "PLIERS_ENV": "test"})
    for _ in range(8):  # more often than there are server sessions: prepared statements would collide
        assert through("migrate", "status", "--check").code == 0
