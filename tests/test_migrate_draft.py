"""`migrate diff`: a draft is shown to do what it says, or lists what it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, Database, connect
from pliers_db.errors import CannotCompare
from pliers_db.migrate import draft as drafting
from pliers_db.migrate import read_folder, up
from pliers_db.migrate.draft import Draft, Side, make_draft
from pliers_db.postgres import Server, scratch_server
from tests.fix_cli import Cli
from tests.fix_migrate import Write

BASE = """
    create table orders (id int primary key, total int, note text, kind varchar(9) check (kind in ('a', 'b')));
    create index orders_note on orders (note);
    create type mood as enum ('sad');
"""
FILES = Side("the migrations", None)


@pytest.fixture(scope="module")
def playground() -> Iterator[Server]:
    with scratch_server() as server:
        yield server


@pytest.fixture
def live(target: Target) -> Iterator[Side]:
    with Database(target) as database:
        yield Side("live", database)


@pytest.fixture
def draft(project: Path, playground: Server) -> Callable[[Side, Side], Draft]:
    return lambda start, goal: make_draft(start, goal, read_folder(project / "migrations"), scratch=playground.target())


@pytest.fixture
def base(write: Write, project: Path, live: Side) -> None:
    write("0001_base", BASE)
    assert live.database is not None
    up(live.database, read_folder(project / "migrations"), environment=Environment.TEST)


def test_a_draft_of_what_somebody_did_by_hand_is_proved_in_both_directions(
    base: None, live: Side, draft: Callable[[Side, Side], Draft], conn: Connection
) -> None:
    assert draft(FILES, live).differences == ()
    conn.execute("""
        create function next_code() returns int language sql as 'select 7';
        create table codes (code int primary key default next_code());
        create view v as select code from codes;
        alter table orders add code int references codes, alter total set not null, drop note;
        comment on table codes is 'It''s; new.';
        alter table orders enable row level security;
        create policy mine on orders using (total > 0);
    """)
    there = draft(FILES, live)
    assert (there.proved, there.up.by_hand, there.down.by_hand) == (True, (), ())
    assert "-- note: table public.orders: same columns in another order" in there.rollback_text()
    # The function stands before the table that needs it, wherever pgmig has put it.
    text = there.text()
    assert text.index("FUNCTION public.next_code") < text.index('CREATE TABLE "public"."codes"')
    assert "orders_kind_check" not in text  # which a dump spells in another way
    assert text.startswith("-- DRAFT by pliers-db migrate diff, from the migrations to live. Read it.\n")
    assert '-- loses data:\nALTER TABLE "public"."orders" DROP COLUMN "note";' in text
    # And the other way: what would make the database what the migrations say.
    back = draft(live, FILES)
    assert back.proved
    conn.execute(back.text().encode())
    assert [d.change for d in draft(FILES, live).differences] == ["reordered"]


def test_what_the_draft_does_not_do_is_listed_one_by_one_and_stands_in_it(
    base: None, live: Side, draft: Callable[[Side, Side], Draft], conn: Connection
) -> None:
    conn.execute("""
        create statistics st on id, total from orders;
        create rule r as on delete to orders do instead nothing;
        create aggregate total_of(int) (sfunc = int4pl, stype = int);
        alter table orders add seen bool;
        insert into orders values (1, 1), (2, 1);
    """)
    with pytest.raises(Exception, match="could not create unique index"):
        conn.execute("create unique index concurrently broken on orders (total)")
    found = draft(FILES, live)
    assert not found.proved
    assert sorted(found.up.by_hand) == [
        "create aggregate public.total_of(integer)",
        "create index public.orders.broken",
        "create rule public.orders.r",
        "create statistics public.st",
    ]
    assert 'ADD COLUMN "seen"' in found.text()
    for line in found.up.by_hand:
        assert f"-- by hand: {line.partition(chr(10))[0]}\n" in found.text()
    # Of a side that is copied, what the copy lacks is told as well.
    assert any("index public.orders.broken: its copy" in line for line in draft(live, FILES).up.by_hand)


def test_why_the_tool_cannot_look_at_a_database_is_told(
    base: None, live: Side, draft: Callable[[Side, Side], Draft], conn: Connection
) -> None:
    # pgmig has no order for a view that reads a materialized view, and gives up on the whole database.
    conn.execute("create materialized view m as select 1 as x; create view v as select x from m")
    found = draft(FILES, live)
    assert not found.proved
    assert found.up.by_hand[0].startswith("all of it, for pgmig cannot process this database")
    assert {"create materialized view public.m", "create view public.v"} <= set(found.up.by_hand)


@pytest.mark.parametrize("fault", ["says nothing", "says nonsense", "leaves one out"])
def test_a_tool_that_is_wrong_cannot_make_the_claim_wrong(
    fault: str,
    base: None,
    live: Side,
    draft: Callable[[Side, Side], Draft],
    conn: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conn.execute("drop index orders_note; alter type mood add value 'glad'")
    real = drafting._pgmig
    wrong = {
        "says nothing": lambda a, b: [],
        "says nonsense": lambda a, b: ["drop index no_such", *real(a, b)[:0]],
        "leaves one out": lambda a, b: [s for s in real(a, b) if "INDEX" not in s],
    }[fault]
    monkeypatch.setattr(drafting, "_pgmig", wrong)
    found = draft(FILES, live)
    assert not found.proved
    assert "drop index public.orders.orders_note" in found.up.by_hand
    if fault == "says nonsense":
        assert found.up.by_hand[-1] == 'the server refuses (index "no_such" does not exist):\ndrop index no_such'
        assert "-- by hand: the server refuses" in found.text()
        assert "\n--   drop index no_such\n" in found.text()


def test_another_database_can_be_a_side_and_one_that_cannot_be_built_is_no_answer(
    base: None, live: Side, server: Server, conn: Connection, target: Target, draft: Callable[[Side, Side], Draft]
) -> None:
    name = f"{target.dbname}_other"
    conn.execute(f'create database "{name}"')
    try:
        with connect(server.target(name)) as other:
            other.execute(
                "create table orders (id int primary key, total bigint, kind varchar(9) check (kind in ('a', 'b')));"
                "create type mood as enum ('sad')"
            )
        with Database(server.target(name)) as database:
            found = draft(live, Side("other", database))
            assert found.proved
            assert {str(d) for d in found.differences} == {
                "column public.orders.total: type was integer, is bigint",
                "column public.orders.note was removed",
                "index public.orders.orders_note was removed",
            }
        with connect(server.target(name)) as other:
            other.execute("create function g() returns int language c as '$libdir/btree_gin', 'gin_extract_value_int4'")
            other.execute("update pg_proc set probin = '$libdir/gone' where proname = 'g'")
        with Database(server.target(name)) as database, pytest.raises(CannotCompare, match="cannot be built"):
            draft(live, Side("other", database))
    finally:
        conn.execute(f'drop database "{name}" with (force)')


def test_the_command_writes_a_migration_and_its_rollback_that_up_takes(
    base: None, cli: Cli, conn: Connection, write: Write, target: Target
) -> None:
    assert cli("migrate", "diff", "--write").code == 2
    assert cli("migrate", "diff", "--from", "lvie").code == 2
    role = f"Role_{target.dbname}"
    write("0000_role", f'create role "{role}"; create role {role}_2;', f'drop role "{role}"; drop role {role}_2;')
    assert cli("migrate", "up", "--allow-out-of-order").code == 0
    conn.execute("alter table orders add seen bool")
    done = cli("migrate", "diff", "--write", "--name", "seen", "--json")
    assert (done.code, done.json["proved"]) == (0, True), done.err  # its copies need the roles of the migrations
    conn.execute(f'drop role "{role}"; drop role {role}_2')
    assert Path(done.json["path"]).name == "0002_seen.sql"
    assert Path(done.json["path"]).read_text().startswith("-- depends: 0001_base\n-- seen\n\n")
    conn.execute("alter table orders drop seen")
    assert cli("migrate", "up").code == 0
    assert cli("migrate", "down").code == 0
