"""What would fail, or lose something, is said before anything is written."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from pliers_db.backup.manifest import _checksum, load_manifest
from pliers_db.config import Environment
from pliers_db.db import connect, write_stamp
from pliers_db.postgres import find_binaries
from pliers_db.restore.noise import Noise
from tests.fix_backup import Shop, fingerprint


def stamp(shop: Shop, environment: Environment) -> None:
    with connect(shop.target) as conn:
        write_stamp(conn, environment)


def rewrite(shop: Shop, backup_id: str, change: Any) -> None:
    """Make the manifest say something else, with the checksum that belongs to it."""
    file = shop.path_of(backup_id) / "manifest.json"
    document = json.loads(file.read_text())
    document.pop("self_sha256")
    change(document)
    file.write_text(json.dumps({**document, "self_sha256": _checksum(document)}))
    load_manifest(file.read_text())


def refused(shop: Shop, *arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a restore that must be refused with exit 4 and without a trace."""
    before = (shop.databases(), shop.fingerprint())
    result = shop.cli("restore", *arguments, "--json", env=env)
    assert result.code == 4, (result.out, result.err)
    assert (shop.databases(), shop.fingerprint()) == before
    error: dict[str, Any] = result.json["error"]
    return error


def test_a_protected_database_wants_its_name_typed(shop: Shop) -> None:
    shop.back_up()
    stamp(shop, Environment.PRODUCTION)
    production = {"PLIERS_ENV": "production"}
    assert refused(shop, "latest", env=production)["code"] == "db.protected"
    assert refused(shop, "latest", "--confirm-db", "wrong", env=production)["code"] == "db.protected"
    # The variable may say what it likes: the database is asked.
    assert refused(shop, "latest", env={"PLIERS_ENV": "development"})["code"] == "db.protected"
    result = shop.cli("restore", "latest", "--confirm-db", shop.target.dbname, env=production)
    assert result.code == 0, result.err
    assert refused(shop, "undo", env=production)["code"] == "db.protected"
    assert refused(shop, "clean", env=production)["code"] == "db.protected"
    assert shop.cli("restore", "undo", "--confirm-db", shop.target.dbname, env=production).code == 0
    assert shop.cli("restore", "clean", "--confirm-db", shop.target.dbname, env=production).code == 0


def test_a_database_of_which_nobody_said_what_it_is_is_protected(shop: Shop) -> None:
    shop.back_up()
    shop.execute(f"comment on database {shop.target.dbname} is null")
    assert "env set" in refused(shop, "latest")["fix"]


def test_beside_a_protected_database_anything_may_be_restored(shop: Shop) -> None:
    stamp(shop, Environment.PRODUCTION)
    shop.back_up()
    name = f"{shop.target.dbname}_copy"
    result = shop.cli("restore", "latest", "--to", name, env={"PLIERS_ENV": "production"})
    assert result.code == 0, result.err


def test_missing_roles_are_named_and_no_owner_does_without_them(shop: Shop) -> None:
    role = f"{shop.target.dbname}_seller"
    shop.execute(f"create role {role}; alter table notes owner to {role}; grant select on orders to {role}")
    before = shop.fingerprint()
    shop.back_up()
    shop.execute(f"reassign owned by {role} to postgres; drop owned by {role}; drop role {role}; truncate notes")
    error = refused(shop, "latest")
    assert role in error["message"]
    assert "--no-owner" in error["fix"]
    result = shop.cli("restore", "latest", "--no-owner")
    assert result.code == 0, result.err
    assert role in result.err  # the grants that are left out
    assert shop.fingerprint() == before


def test_a_missing_extension_is_named(shop: Shop) -> None:
    backup_id = shop.back_up()

    def change(document: dict[str, Any]) -> None:
        document["source"]["extensions"] = [{"name": "timescaledb", "version": "2.17", "schema": "public"}]

    rewrite(shop, backup_id, change)
    assert "timescaledb 2.17" in refused(shop, "latest")["message"]


def test_a_backup_of_a_newer_server_is_refused(shop: Shop) -> None:
    backup_id = shop.back_up()
    rewrite(shop, backup_id, lambda document: document["source"].update(server_version_num=990001))
    assert "PostgreSQL 99" in refused(shop, "latest")["message"]


def test_a_locale_that_the_server_lacks_is_named(shop: Shop) -> None:
    backup_id = shop.back_up()
    rewrite(shop, backup_id, lambda document: document["source"].update(collate="tlh_QO.UTF-8"))
    assert "tlh_QO" in refused(shop, "latest")["why"]


def test_a_role_that_may_not_create_databases_is_told_so(shop: Shop) -> None:
    shop.back_up()
    role = f"{shop.target.dbname}_small"
    shop.execute(f"create role {role} login")
    url = shop.cli.env["DATABASE_URL"].replace("//postgres@", f"//{role}@")
    try:
        assert "createdb" in refused(shop, "latest", env={"DATABASE_URL": url})["fix"]
    finally:
        shop.execute(f"drop role {role}")


def test_a_role_that_is_no_superuser_can_restore_what_it_owns(shop: Shop) -> None:
    role, name = f"{shop.target.dbname}_own", f"{shop.target.dbname}_mine"
    shop.execute(f"create role {role} login createdb")
    url = shop.cli.env["DATABASE_URL"].replace(shop.target.dbname, name).replace("//postgres@", f"//{role}@")
    with connect(shop.target.with_database("postgres")) as conn:
        conn.execute(f"create database {name} owner {role}")
    mine = Shop(type(shop.cli)(shop.folder, {**shop.cli.env, "DATABASE_URL": url}), shop.target, shop.folder)
    with connect(shop.target.with_database(name)) as conn:
        conn.execute(f"set role {role}; create schema s; create table s.t as select generate_series(1, 9) i")
    with connect(shop.target.with_database(name)) as conn:
        write_stamp(conn, Environment.TEST)
    mine.back_up()
    before = fingerprint(shop.target.with_database(name))
    with connect(shop.target.with_database(name)) as conn:
        conn.execute("truncate s.t")
    result = mine.cli("restore", "latest")
    assert result.code == 0, result.err
    assert fingerprint(shop.target.with_database(name)) == before
    with connect(shop.target.with_database("postgres")) as conn:
        conn.execute(f"drop database {name} with (force)")


def test_a_restore_that_differs_from_the_manifest_does_not_reach_the_database(shop: Shop) -> None:
    backup_id = shop.back_up()

    def change(document: dict[str, Any]) -> None:
        document["contents"]["tables"][0]["rows"] += 1
        document["contents"]["sequences"][0]["last_value"] += 1

    rewrite(shop, backup_id, change)
    before = (shop.databases(), shop.fingerprint())
    result = shop.cli("restore", "latest", "--json")
    assert result.code == 6
    error = result.json["error"]
    assert error["code"] == "restore.mismatch"
    assert "50 rows instead of 51" in error["why"]
    assert "stands at" in error["why"]
    assert (shop.databases(), shop.fingerprint()) == before


SET = [
    "pg_restore: error: could not execute query: ERROR:  unrecognized …",
    "Command was: SET transaction_timeout = 0;",
]
COPY = 'pg_restore: error: COPY failed for table "t": ERROR:  null value in column'
IGNORED = "pg_restore: warning: errors ignored on restore: {}"


@pytest.mark.parametrize(
    ("lines", "code", "harmless"),
    [
        (["pg_restore: creating TABLE t"], 0, True),
        (["pg_restore: while INITIALIZING:", *SET, IGNORED.format(1)], 1, True),
        ([*SET, COPY, "DETAIL:  Failing row", IGNORED.format(2)], 1, False),
        ([*SET, IGNORED.format(2)], 1, False),  # one was said, and got lost among other lines
        ([IGNORED.format(1)], 1, False),
        ([f"pg_restore: finished item 7{COPY}", IGNORED.format(1)], 1, False),
        (["pg_restore: error: could not read from input file: end of file"], 1, False),
        (["pg_restore: error: …", "Command was: ALTER TABLE t OWNER TO x;", IGNORED.format(1)], 1, False),
        ([], -9, False),
    ],
)
def test_of_all_errors_of_pg_restore_one_is_harmless(lines: list[str], code: int, harmless: bool) -> None:
    noise = Noise()
    for line in lines:
        noise.feed(line)
    assert noise.harmless(code) is harmless


@pytest.mark.pg15
def test_an_archive_of_a_newer_pg_dump_restores_into_the_older_server_it_came_from(
    shop15: Shop,
) -> None:
    """pg_dump 18 writes SET transaction_timeout, which 15 does not know."""
    newer = find_binaries(18)
    before = shop15.fingerprint()
    archive = shop15.folder / "newer.dump"
    command = [newer.program("pg_dump"), "--format=custom", f"--file={archive}"]
    subprocess.run(command, env=shop15.target.child_environment(), check=True)
    shop15.execute("truncate notes")
    result = shop15.cli("restore", str(archive))
    assert result.code == 0, result.err
    assert shop15.fingerprint() == before
