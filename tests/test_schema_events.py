"""The journal: each event lies in the partition of its month, and months can be added at any time."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pliers_db.db import Connection
from tests.fix_pliers import ACME, FORM, insert

EVENT = {
    "organization_id": ACME,
    "type": "form.published",
    "actor_type": "system",
    "subject_type": "form",
    "subject_id": FORM,
}
BOUNDS = (
    "select c.relname, pg_get_expr(relpartbound, c.oid) from pg_inherits join pg_class c on c.oid = inhrelid"
    " where inhparent = 'pliers.events'::regclass order by 1"
)


def partition_of(conn: Connection, occurred_at: str) -> str:
    """Where an event of that time ends up."""
    insert(conn, "events", EVENT | {"occurred_at": occurred_at})
    row = conn.execute("select tableoid::regclass::text from pliers.events order by ctid desc limit 1").fetchone()
    conn.execute("delete from pliers.events")
    assert row is not None
    return str(row[0])


def value(conn: Connection, query: str) -> Any:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def create(conn: Connection, first: str, months: int) -> list[str]:
    rows = conn.execute("select pliers.create_event_partitions(%s::date, %s)", [first, months]).fetchall()
    return [name for (name,) in rows]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
def test_an_event_lies_in_its_month_by_utc(zone: str, rolled_back: Connection) -> None:
    rolled_back.execute(f"set local timezone to '{zone}'".encode())
    assert partition_of(rolled_back, "2026-11-01 00:00:00+00") == "pliers.events_2026_11"
    assert partition_of(rolled_back, "2026-11-30 23:59:59.999999+00") == "pliers.events_2026_11"
    assert partition_of(rolled_back, "2026-12-01 00:00:00+00") == "pliers.events_2026_12"
    assert partition_of(rolled_back, "2026-12-31 23:59:59.999999+00") == "pliers.events_2026_12"
    assert partition_of(rolled_back, "2027-01-01 00:00:00+00") == "pliers.events_2027_01"


@pytest.mark.parametrize("time", ["2026-06-30 23:59:59+00", "2028-01-01 00:00+00", "2050-01-01 00:00+00", "infinity"])
def test_an_event_of_a_month_without_partition_is_kept_in_the_default(time: str, rolled_back: Connection) -> None:
    assert partition_of(rolled_back, time) == "pliers.events_default"


def test_the_first_window_has_no_gap(pliers_both: Connection) -> None:
    with pliers_both.transaction(force_rollback=True):
        pliers_both.execute("set local timezone to 'UTC'")
        bounds = dict(pliers_both.execute(BOUNDS).fetchall())
    assert bounds.pop("events_default") == "DEFAULT"
    assert len(bounds) == 18
    months = [f"{2026 + m // 12}-{m % 12 + 1:02}" for m in range(6, 25)]
    for name, month, following in zip(sorted(bounds), months, months[1:], strict=False):
        assert name == f"events_{month.replace('-', '_')}"
        assert bounds[name] == f"FOR VALUES FROM ('{month}-01 00:00:00+00') TO ('{following}-01 00:00:00+00')"


def test_asking_again_creates_only_what_is_missing(rolled_back: Connection) -> None:
    assert create(rolled_back, "2027-11-15", 4) == ["events_2028_01", "events_2028_02"]
    assert create(rolled_back, "2027-11-15", 4) == []
    assert partition_of(rolled_back, "2028-02-29 12:00+00") == "pliers.events_2028_02"


def test_the_bounds_do_not_depend_on_the_session(rolled_back: Connection) -> None:
    rolled_back.execute("set local timezone to 'Asia/Kathmandu'; set local datestyle to 'German'")
    assert create(rolled_back, "2030-03-01", 1) == ["events_2030_03"]
    rolled_back.execute("set local timezone to 'UTC'; set local datestyle to 'ISO'")
    bounds = dict(rolled_back.execute(BOUNDS).fetchall())
    assert bounds["events_2030_03"] == "FOR VALUES FROM ('2030-03-01 00:00:00+00') TO ('2030-04-01 00:00:00+00')"


def test_rows_that_waited_in_the_default_move_to_their_new_month(rolled_back: Connection) -> None:
    for time in ("2029-12-31 23:59+00", "2030-01-01 00:00+00", "2030-01-31 12:00+00", "2030-02-01 00:00+00"):
        insert(rolled_back, "events", EVENT | {"occurred_at": time})
    assert create(rolled_back, "2030-01-01", 1) == ["events_2030_01"]
    assert value(rolled_back, "select count(*) from pliers.events_2030_01") == 2
    assert value(rolled_back, "select count(*) from pliers.events_default") == 2
    assert value(rolled_back, "select count(*) from pliers.events") == 4


def test_a_new_partition_is_like_the_others(rolled_back: Connection) -> None:
    create(rolled_back, "2030-01-01", 1)

    def shape(month: str) -> list[tuple[Any, ...]]:
        return rolled_back.execute(
            "select 'column', attname, format_type(atttypid, atttypmod), attnotnull::text, col_description(attrelid,"
            "  attnum) from pg_attribute where attrelid = %(name)s::regclass and attnum > 0"
            " union all select contype::text, replace(conname, %(month)s, ''), pg_get_constraintdef(oid), '', ''"
            "  from pg_constraint where conrelid = %(name)s::regclass"
            " union all select 'index', replace(indexrelid::regclass::text, %(month)s, ''),"
            "  replace(pg_get_indexdef(indexrelid), %(month)s, ''), '', ''"
            "  from pg_index where indrelid = %(name)s::regclass order by 1, 2, 3",
            {"name": f"pliers.events_{month}", "month": month},
        ).fetchall()

    assert shape("2030_01") == shape("2026_11")
    assert len(shape("2030_01")) > 20


def test_a_window_of_time_reads_one_partition(pliers_both: Connection) -> None:
    plan = pliers_both.execute(
        "explain select * from pliers.events where occurred_at >= '2026-11-03 00:00+00'"
        " and occurred_at < '2026-11-04 00:00+00'"
    ).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "events_2026_11" in text
    assert "events_2026_12" not in text
    assert "events_default" not in text


def test_the_application_cannot_make_partitions(rolled_back: Connection) -> None:
    rolled_back.execute("set local role pliers_app")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        create(rolled_back, "2030-01-01", 1)
