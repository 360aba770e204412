"""Where seeds do not go, and what is left when they are stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pliers_db.config import Environment
from pliers_db.db import Connection, Database, LockName, advisory_lock, connect, write_stamp
from pliers_db.errors import LockedError, ProtectedDatabase, SeedTargetUnfit
from pliers_db.seed import Mode, Options, clean
from pliers_db.seed import run as seed_run
from tests.fix_cli import Cli, url_of
from tests.fix_seed import Seeds, digest


@pytest.fixture
def seed_cli(shop_seeds: Seeds) -> Cli:
    """The command line on the shop's project and database."""
    return Cli(shop_seeds.root, {"DATABASE_URL": url_of(shop_seeds.target)})


def empty(conn: Connection) -> bool:
    return set(digest(conn).values()) == {"empty"}


OUR_LOCKS = """select count(*) from pg_locks
    where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())"""
"""Others use the same server."""


def wait_until_blocked(conn: Connection, process: subprocess.Popen[str], *, after: int = 0) -> int:
    """Until a seed waits for a table that the test has locked, and is the only one there.

    :param after: the server's process of a seed that must be gone by then.
    :returns: the server's process of this one.
    """
    query = (
        "select pid, wait_event_type from pg_stat_activity"
        " where application_name = 'pliers-db/seed' and datname = current_database()"
    )
    for _ in range(400):
        there = conn.execute(query).fetchall()
        if len(there) == 1 and there[0][1] == "Lock" and there[0][0] != after:
            return int(there[0][0])
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"the seed never came to the lock: {there}")


@pytest.mark.parametrize("environment", [Environment.PRODUCTION, Environment.STAGING])
def test_a_protected_database_is_refused_whatever_is_asked(environment: Environment, shop_seeds: Seeds) -> None:
    write_stamp(shop_seeds.conn, environment)
    for env in ("dev", environment.value):
        shop_seeds.write(f"{environment.value}/x.toml", "rows.countries = [{id = 1, code = 'NO', name = 'N'}]")
        with pytest.raises(ProtectedDatabase) as caught:
            shop_seeds.run(env, options=Options(confirm=shop_seeds.target.dbname))
        assert caught.value.exit_code == 4
        assert caught.value.details["reason"] == ("protected" if env == "dev" else "not-reference")
        assert caught.value.fix.startswith("Point DATABASE_URL at another database")  # no way around it
    assert empty(shop_seeds.conn)


def test_a_protected_database_takes_reference_rows_after_a_look_and_its_typed_name(
    shop_seeds: Seeds, seed_cli: Cli
) -> None:
    write_stamp(shop_seeds.conn, Environment.PRODUCTION)
    shop_seeds.write("production/20-countries.csv", "id,code,name\n1,NO,Norway\n2,FR,France\n")
    production = {"PLIERS_ENV": "production"}
    refused = seed_cli("seed", "run", env=production)
    assert refused.code == 4
    assert refused.out.splitlines()[-1].startswith("Plan: 2 rows to add of 2; nothing was written")
    assert f"--confirm-db {shop_seeds.target.dbname}" in refused.err
    name = shop_seeds.target.dbname
    assert shop_seeds.run("production", dry_run=True).added == 2
    for wrong in (Options(confirm="another"), Options(confirm=name, mode=Mode.RESET)):
        with pytest.raises(ProtectedDatabase):
            shop_seeds.run("production", options=wrong)
    with pytest.raises(ProtectedDatabase, match="Refused"), Database(shop_seeds.target) as database:
        clean(database, shop_seeds.settings("production"))
    assert empty(shop_seeds.conn)
    assert shop_seeds.run("production", options=Options(confirm=name)).added == 2
    shop_seeds.write("production/30.toml", "fill.countries.rows = 1")
    with pytest.raises(ProtectedDatabase, match="Refused"):
        shop_seeds.run("production", options=Options(confirm=name))


def test_a_database_of_another_environment_is_refused(shop_seeds: Seeds) -> None:
    write_stamp(shop_seeds.conn, Environment.TEST)
    with pytest.raises(ProtectedDatabase) as caught:
        shop_seeds.run("dev")
    assert caught.value.details["reason"] == "mismatch"
    assert empty(shop_seeds.conn)


def test_a_database_with_tables_but_no_stamp_is_refused(shop_seeds: Seeds) -> None:
    shop_seeds.conn.execute(f"comment on database \"{shop_seeds.target.dbname}\" is 'a database'")
    with pytest.raises(ProtectedDatabase) as caught:
        shop_seeds.run("dev")
    assert caught.value.details["reason"] == "unstamped"
    assert "pliers-db env set development" in caught.value.fix


def test_a_copy_from_another_cluster_is_refused(shop_seeds: Seeds) -> None:
    name = shop_seeds.target.dbname
    shop_seeds.conn.execute(f"comment on database \"{name}\" is '[pliers:environment=development;system=123]'")
    with pytest.raises(ProtectedDatabase) as caught:
        shop_seeds.run("dev")
    assert caught.value.details["reason"] == "foreign"


def test_a_plan_is_refused_where_a_run_would_be(shop_seeds: Seeds) -> None:
    write_stamp(shop_seeds.conn, Environment.PRODUCTION)
    with pytest.raises(ProtectedDatabase):
        shop_seeds.run("dev", dry_run=True)


def test_another_seed_at_the_same_time_is_told_who_is_there(
    shop_seeds: Seeds, seed_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[seed_run.__module__], "WAIT", 0.1)
    with connect(shop_seeds.target, application_name="pliers-db/seed") as other:
        with advisory_lock(other, LockName.SEED):
            with pytest.raises(LockedError, match=r"pliers-db/seed \(pid \d+") as caught:
                shop_seeds.run()
            assert caught.value.exit_code == 5
            result = seed_cli("seed", "--env", "dev")
            assert result.code == 5, result.err
        assert empty(shop_seeds.conn)


def test_two_seeds_at_once_both_succeed_and_load_once(shop_seeds: Seeds, seed_cli: Cli) -> None:
    both = [seed_cli.start("seed", "--env", "dev", "--json") for _ in range(2)]
    results = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert sorted(int(re.findall(r'^  "added": (\d+)', out, re.MULTILINE)[0]) for out, _ in results) == [0, 31]


@pytest.mark.parametrize("table", ["countries", "orders", "texts"])
def test_killed_in_the_middle_it_leaves_nothing_and_the_same_command_succeeds(
    table: str, shop_seeds: Seeds, seed_cli: Cli
) -> None:
    with connect(shop_seeds.target) as other, other.transaction():
        other.execute(f"lock table {table} in exclusive mode")
        process = seed_cli.start("seed", "--env", "dev")
        first = wait_until_blocked(shop_seeds.conn, process)
        process.kill()
        process.communicate()
        # The very same command, at once. The killed one's session still waits for our lock, and holds the seeds'.
        again = seed_cli.start("seed", "--env", "dev")
        wait_until_blocked(shop_seeds.conn, again, after=first)
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert "Added 31 rows" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_rolls_back_and_says_so(number: signal.Signals, shop_seeds: Seeds, seed_cli: Cli) -> None:
    with connect(shop_seeds.target) as other, other.transaction():
        other.execute("lock table orders in exclusive mode")
        process = seed_cli.start("seed", "--env", "dev")
        wait_until_blocked(shop_seeds.conn, process)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "rolled back" in err
    assert empty(shop_seeds.conn)
    left = shop_seeds.conn.execute(OUR_LOCKS).fetchone()
    assert left == (0,)


def test_a_failure_in_the_last_table_undoes_the_first(shop_seeds: Seeds) -> None:
    shop_seeds.write("dev/99.sql", "select 1 / 0")
    with pytest.raises(Exception, match=r"99\.sql"):
        shop_seeds.run()
    assert empty(shop_seeds.conn)


def test_a_read_only_database_is_refused_before_anything(shop_seeds: Seeds) -> None:
    shop_seeds.conn.execute(f'alter database "{shop_seeds.target.dbname}" set default_transaction_read_only = on')
    with pytest.raises(SeedTargetUnfit, match="read-only") as caught:
        shop_seeds.run()
    assert caught.value.exit_code == 3


def as_role(seeds: Seeds, role: str) -> Seeds:
    from dataclasses import replace

    return Seeds(seeds.root, replace(seeds.target, user=role), seeds.conn)


@pytest.fixture
def role(shop_seeds: Seeds) -> object:
    """An ordinary role; gone afterwards."""
    name = f"seeder_{os.getpid()}"
    shop_seeds.conn.execute(f"create role {name} login")
    shop_seeds.conn.execute(f"grant select, insert on all tables in schema public to {name}")
    shop_seeds.conn.execute(f"grant usage, select, update on all sequences in schema public to {name}")
    yield name
    shop_seeds.conn.execute(f"drop owned by {name}; drop role {name}")


def test_an_ordinary_role_with_select_and_insert_is_enough(shop_seeds: Seeds, role: str) -> None:
    assert as_role(shop_seeds, role).run().added == 31
    assert not as_role(shop_seeds, role).run().written


def test_a_missing_privilege_is_named_with_its_table(shop_seeds: Seeds, role: str) -> None:
    shop_seeds.conn.execute(f"revoke insert on orders from {role}")
    with pytest.raises(SeedTargetUnfit, match="may not fill orders") as caught:
        as_role(shop_seeds, role).run()
    assert "INSERT" in caught.value.why
    assert "grant insert on orders" in caught.value.fix
    assert empty(shop_seeds.conn)


def test_a_role_may_make_rows_without_seeing_tables_that_they_have_nothing_to_do_with(
    shop_seeds: Seeds, role: str
) -> None:
    shop_seeds.write("dev/10-shop.toml", "fill.countries.rows = 2")
    shop_seeds.conn.execute(f"revoke all on shops from {role}")
    with pytest.raises(SeedTargetUnfit, match="ledger") as caught:
        as_role(shop_seeds, role).run()
    assert "create schema pliers_seed" in caught.value.fix
    shop_seeds.conn.execute(f"grant create on database {shop_seeds.target.dbname} to {role}")
    assert as_role(shop_seeds, role).run().added == 4
    shop_seeds.write("dev/20-texts.toml", "fill.shops.rows = 2")
    with pytest.raises(SeedTargetUnfit, match="may not fill shops"):
        as_role(shop_seeds, role).run()


def test_a_sequence_that_the_role_may_not_move_is_named(shop_seeds: Seeds, role: str) -> None:
    shop_seeds.conn.execute(f"revoke all on sequence countries_id_seq from {role}")
    with pytest.raises(SeedTargetUnfit, match="may not fill countries") as caught:
        as_role(shop_seeds, role).run()
    assert "countries_id_seq" in caught.value.why
    assert empty(shop_seeds.conn)


def test_a_missing_right_to_temporary_tables_is_named(shop_seeds: Seeds, role: str) -> None:
    shop_seeds.conn.execute(f'revoke temporary on database "{shop_seeds.target.dbname}" from public')
    with pytest.raises(SeedTargetUnfit, match="temporary tables"):
        as_role(shop_seeds, role).run()


def test_rows_that_a_policy_hides_are_an_error_not_missing(shop_seeds: Seeds, role: str) -> None:
    shop_seeds.run()
    shop_seeds.conn.execute(
        "alter table shops enable row level security; create policy none on shops for select using (false);"
        " create policy all_in on shops for insert with check (true)"
    )
    with pytest.raises(SeedTargetUnfit, match="shops") as caught:
        as_role(shop_seeds, role).run()
    assert "row-level security" in caught.value.why
    assert "BYPASSRLS" in caught.value.fix


def test_a_password_never_shows(shop_seeds: Seeds, seed_cli: Cli, tmp_path: Path) -> None:
    result = seed_cli("seed", "--env", "dev", env={"DATABASE_URL": "postgresql://u:s3cr3t-w0rd@127.0.0.1:1/x"})
    assert result.code == 3
    assert "s3cr3t-w0rd" not in result.out + result.err
