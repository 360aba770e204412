"""What is restored is what was backed up, and what stood there before is not lost."""

from __future__ import annotations

import pytest

from pliers_db.config import Environment
from pliers_db.db import connect, read_stamp
from tests.fix_backup import Shop, fingerprint


def test_a_restored_database_holds_the_same_rows_and_definitions(shop: Shop) -> None:
    before = shop.fingerprint()
    backup_id = shop.back_up()
    shop.execute("truncate notes; update orders set total = 1; drop materialized view per_customer")
    result = shop.cli("restore", "latest", "--json")
    assert result.code == 0, result.err
    assert result.json["from"] == backup_id
    assert result.json["compared"] is True
    assert shop.fingerprint() == before


def test_the_old_database_is_kept_and_undo_brings_it_back(shop: Shop) -> None:
    shop.back_up()
    shop.execute("insert into notes (id, body) values (9999, 'written after the backup')")
    lost = shop.fingerprint()
    kept = shop.cli("restore", "latest", "--json").json["kept_as"]
    assert fingerprint(shop.target.with_database(kept)) == lost
    assert shop.fingerprint() != lost
    undone = shop.cli("restore", "undo", "--json")
    assert undone.code == 0, undone.err
    assert shop.fingerprint() == lost
    again = shop.cli("restore", "undo", "--json")
    assert again.json["kept_as"] is not None
    assert shop.fingerprint() != lost


def test_clean_drops_what_restores_have_kept_and_nothing_else(shop: Shop) -> None:
    shop.back_up()
    assert shop.cli("restore", "latest").code == 0
    assert shop.cli("restore", "latest").code == 0
    shop.execute(f'create database "{shop.target.dbname}_old_mine"')
    now = shop.fingerprint()
    assert len(shop.databases()) == 4
    result = shop.cli("restore", "clean", "--json")
    assert result.code == 0, result.err
    assert len(result.json["dropped"]) == 2
    assert shop.databases() == [shop.target.dbname, f"{shop.target.dbname}_old_mine"]
    assert shop.fingerprint() == now
    undo = shop.cli("restore", "undo", "--json")
    assert undo.code == 2
    assert undo.json["error"]["code"] == "restore.nothing-to-undo"


def test_to_restores_beside_the_database(shop: Shop) -> None:
    before = shop.fingerprint()
    shop.back_up()
    shop.execute("truncate notes")
    name = f"{shop.target.dbname}_copy"
    result = shop.cli("restore", "latest", "--to", name, "--json")
    assert result.code == 0, result.err
    assert result.json["kept_as"] is None
    assert fingerprint(shop.target.with_database(name)) == before
    assert shop.fingerprint() != before
    with connect(shop.target.with_database(name)) as conn:
        stamp = read_stamp(conn)
        assert stamp is not None
        assert stamp.environment is Environment.TEST
        assert not stamp.foreign


def test_a_dropped_database_comes_back(shop: Shop) -> None:
    before = shop.fingerprint()
    shop.back_up()
    with connect(shop.target.with_database("postgres")) as conn:
        conn.execute(f'drop database "{shop.target.dbname}"')
    assert shop.cli("restore", "latest").code == 0
    assert shop.fingerprint() == before


def test_owner_settings_grants_and_comment_of_the_database_stay(shop: Shop) -> None:
    name = shop.target.dbname
    shop.execute(
        f"create role {name}_owner; create role {name}_guest;"
        f"alter database {name} set search_path to \"$user\", public, 'A b';"
        f"alter database {name} set app.greeting to 'it''s, me';"
        f"alter role {name}_guest in database {name} set work_mem to '7MB';"
        f"alter database {name} connection limit 17;"
        f"revoke connect on database {name} from public; grant connect on database {name} to {name}_guest;"
        f"alter database {name} owner to {name}_owner"
    )
    query = (
        "select pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'),"
        " (select array_agg(a::text order by a::text) from unnest(datacl) a),"
        " (select array_agg((setrole::regrole, setconfig)::text order by setrole) from pg_db_role_setting"
        " where setdatabase = d.oid) from pg_database d where datname = %s"
    )
    with connect(shop.target.with_database("postgres")) as conn:
        before = conn.execute(query, [name]).fetchone()
        shop.back_up()
        assert shop.cli("restore", "latest").code == 0
        assert conn.execute(query, [name]).fetchone() == before


def test_migrations_go_on_after_a_restore_even_if_the_backup_was_taken_in_the_middle_of_one(shop: Shop) -> None:
    migrations = shop.folder / "migrations"
    (migrations / "20260101000000_first.sql").write_text("create table first (a int);\n")
    assert shop.cli("migrate", "up").code == 0
    shop.execute("insert into yoyo_lock (locked, ctime, pid) values (1, now(), 4711)")
    shop.back_up()
    assert shop.cli("restore", "latest").code == 0
    (migrations / "20260102000000_second.sql").write_text("create table second (a int);\n")
    result = shop.cli("migrate", "up")
    assert result.code == 0, result.err


@pytest.mark.pg15
def test_postgresql_15_comes_back_by_its_own_programs(shop15: Shop) -> None:
    before = shop15.fingerprint()
    shop15.back_up()
    shop15.execute("truncate notes")
    result = shop15.cli("restore", "latest")
    assert result.code == 0, result.err
    assert shop15.fingerprint() == before


@pytest.mark.pg15
def test_a_backup_of_15_restores_into_18_but_not_the_other_way(shop15: Shop, shop: Shop) -> None:
    before = shop15.fingerprint()
    shop15.cli.folder = shop.folder
    backup_id = shop15.back_up()
    result = shop.cli("restore", backup_id)
    assert result.code == 0, result.err
    assert fingerprint(shop.target) == before
    newer = shop.back_up()
    refused = shop15.cli("restore", newer, "--json")
    assert refused.code == 4
    assert "PostgreSQL 18" in refused.json["error"]["message"]
    assert fingerprint(shop15.target) == before
