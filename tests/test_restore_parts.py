"""A part of a backup can be restored; never over a whole database."""

from __future__ import annotations

from typing import Any

import pytest

from pliers_db.db import connect
from tests.fix_backup import Shop, fingerprint

EMPTY = (0, None)


@pytest.fixture
def copy(shop: Shop) -> str:
    return f"{shop.target.dbname}_part"


def held(shop: Shop, name: str) -> dict[str, Any]:
    return fingerprint(shop.target.with_database(name))


def test_only_brings_all_definitions_and_the_rows_of_the_tables_that_were_named(shop: Shop, copy: str) -> None:
    shop.back_up()
    result = shop.cli("restore", "latest", "--only", "orders", "--only", 'public."Customer"', "--to", copy)
    assert result.code == 0, result.err
    before, after = shop.fingerprint(), held(shop, copy)
    assert after["public.orders_2025"] == before["public.orders_2025"]  # with its partitions
    assert after["public.orders_2026"] == before["public.orders_2026"]
    assert after["public.Customer"] == before["public.Customer"]
    assert after["public.notes"] == EMPTY
    assert after["indexes"] == before["indexes"]
    assert after["constraints"] == before["constraints"]


def test_a_foreign_key_to_a_table_without_its_rows_is_left_out(shop: Shop, copy: str) -> None:
    shop.back_up()
    result = shop.cli("restore", "latest", "--only", "public.orders", "--to", copy)
    assert result.code == 0, result.err
    after = held(shop, copy)
    assert after["public.orders_2025"] == shop.fingerprint()["public.orders_2025"]
    assert after["public.Customer"] == EMPTY
    assert not any("FOREIGN KEY" in definition for _, _, definition in after["constraints"])


def test_schema_only_brings_no_rows(shop: Shop, copy: str) -> None:
    shop.back_up()
    result = shop.cli("restore", "latest", "--schema-only", "--to", copy)
    assert result.code == 0, result.err
    before, after = shop.fingerprint(), held(shop, copy)
    assert after["constraints"] == before["constraints"]
    assert after["public.notes"] == EMPTY


def test_data_only_keeps_the_definitions_and_the_history_of_now(shop: Shop) -> None:
    (shop.folder / "migrations" / "20260101000000_first.sql").write_text("create table first (a int);\n")
    assert shop.cli("migrate", "up").code == 0
    shop.back_up()
    before = shop.fingerprint()
    (shop.folder / "migrations" / "20260102000000_second.sql").write_text(
        "create table second (a int); insert into second values (1); create index on notes (mood);\n"
    )
    assert shop.cli("migrate", "up").code == 0
    shop.execute("truncate notes; update orders set total = 5")
    now = shop.fingerprint()
    result = shop.cli("restore", "latest", "--data-only")
    assert result.code == 0, result.err
    after = shop.fingerprint()
    assert after["public.notes"] == before["public.notes"]
    assert after["public.orders_2025"] == before["public.orders_2025"]
    assert after["public.second"] == EMPTY
    assert after["indexes"] == now["indexes"] != before["indexes"]
    assert after["public._yoyo_migration"] == now["public._yoyo_migration"]
    assert shop.cli("migrate", "status", "--check").code == 0


def test_rows_that_no_longer_fit_leave_the_database_as_it_was(shop: Shop) -> None:
    shop.back_up()
    shop.execute("alter table notes drop column body")
    now = (shop.databases(), shop.fingerprint())
    result = shop.cli("restore", "latest", "--data-only", "--json")
    assert result.code == 6
    assert "body" in result.json["error"]["why"]
    assert (shop.databases(), shop.fingerprint()) == now


@pytest.mark.parametrize("part", [["--only", "notes"], ["--schema-only"]])
def test_a_part_never_takes_the_place_of_a_whole_database(shop: Shop, part: list[str]) -> None:
    shop.back_up()
    before = (shop.databases(), shop.fingerprint())
    result = shop.cli("restore", "latest", *part, "--json")
    assert result.code == 4
    assert "--to" in result.json["error"]["fix"]
    assert (shop.databases(), shop.fingerprint()) == before


def test_a_table_that_the_backup_does_not_have_is_answered_with_the_nearest(shop: Shop, copy: str) -> None:
    shop.back_up()
    result = shop.cli("restore", "latest", "--only", "order", "--to", copy, "--json")
    assert result.code == 2
    assert "orders" in result.json["error"]["why"]
    with connect(shop.target) as conn:
        conn.execute("create schema other; create table other.notes (a int)")
    shop.back_up()
    twice = shop.cli("restore", "latest", "--only", "notes", "--to", copy, "--json")
    assert twice.code == 2
    assert "other.notes" in twice.json["error"]["why"]


def test_the_parts_exclude_each_other(shop: Shop) -> None:
    shop.back_up()
    assert shop.cli("restore", "latest", "--schema-only", "--data-only").code == 2
