"""The schema: planted faults are found, the printed statement mends them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.health import Level, Outcome
from tests.fix_health import Outcomes, plain_role


def lay(either: Outcomes, *statements: str) -> None:
    with connect(either.target) as conn:
        for statement in statements:
            conn.execute(statement)


def test_a_table_without_a_primary_key_is_a_note(either: Outcomes) -> None:
    lay(
        either,
        "create table bare (id int)",
        "create table parted (id int) partition by range (id)",
        "create table part1 partition of parted for values from (0) to (9)",
        "create table _yoyo_log (id int); create table _pliers_lock (pid int)",
        "create table ext (id int); create extension btree_gin; alter extension btree_gin add table ext",
    )
    result = either("no_pk")
    assert result.outcome is Outcome.OK
    assert {f.about for f in result.findings} == {"public.bare", "public.parted"}
    lay(either, "alter table bare add primary key (id); alter table parted add primary key (id)")
    assert either.found("no_pk") == []


@pytest.mark.parametrize(
    "table",
    [
        "create table items (id serial)",
        "create table items (id int generated always as identity)",
        "create sequence items_id_seq; create table items (id int default nextval('items_id_seq'))",
        "create sequence items_id_seq as int; create table items (id bigint default nextval('items_id_seq'))",
    ],
)
def test_a_sequence_near_its_end_is_found_and_a_wider_column_mends_it(either: Outcomes, table: str) -> None:
    lay(either, table, "select setval('items_id_seq', 1900000000)")
    assert either("sequences").outcome is Outcome.WARN
    lay(either, "select setval('items_id_seq', 2000000000)")
    result = either("sequences")
    assert result.outcome is Outcome.FAIL
    assert "public.items_id_seq has given out 93 %" in result.summary
    lay(either, "alter table items alter id type bigint; alter sequence items_id_seq as bigint")
    assert either("sequences").outcome is Outcome.OK


def test_a_bigint_sequence_that_feeds_an_integer_column_is_found(either: Outcomes) -> None:
    lay(
        either,
        "create sequence big as bigint; create table items (id int)",
        "alter sequence big owned by items.id",
        "select setval('big', 2000000000)",
    )
    assert either("sequences").outcome is Outcome.FAIL


def test_a_sequence_that_cycles_or_counts_down_is_not_judged(either: Outcomes) -> None:
    lay(
        either,
        "create sequence round maxvalue 10 cycle; select setval('round', 10)",
        "create sequence down increment -1 maxvalue 10 minvalue -1000 start 10; select nextval('down')",
    )
    assert either.found("sequences") == []


def test_sequences_that_a_role_may_not_read_are_counted_as_not_seen(either: Outcomes) -> None:
    lay(either, "create table items (id serial, v serial); select setval('items_id_seq', 2000000000)")
    name = f"health_seq_{either.target.dbname}"
    with plain_role(either.target, name) as role:
        result = either("sequences", role=role)
        assert result.outcome is Outcome.OK
        assert result.examined == 0
        assert "2 sequences of 2 cannot be read" in result.findings[0].message
        lay(either, f'grant select, usage on sequence items_id_seq to "{name}"')
        assert either("sequences", role=role).outcome is Outcome.FAIL


def test_a_locked_sequence_is_unknown_after_the_lock_timeout_not_for_ever(
    either: Outcomes, session: Callable[[Target], Connection]
) -> None:
    lay(either, "create sequence busy; select nextval('busy')")
    holder = session(either.target)
    holder.execute("begin; alter sequence busy restart")
    result = either("sequences")
    assert result.outcome in (Outcome.UNKNOWN, Outcome.OK)
    if result.outcome is Outcome.UNKNOWN:
        assert "lock_timeout" in result.summary
    holder.execute("rollback")
    assert either("sequences").outcome is Outcome.OK


def test_a_constraint_that_was_never_checked_is_found_and_validating_mends_it(either: Outcomes) -> None:
    lay(
        either,
        "create table parents (id int primary key); create table children (id int, v int)",
        'alter table children add constraint "Odd ""name" check (v > 0) not valid',
    )
    result = either("not_valid")
    assert result.outcome is Outcome.WARN
    lay(either, result.fix)
    assert either.found("not_valid") == []
    lay(either, "alter table children add constraint fk foreign key (id) references parents not valid")
    assert either.found("not_valid") == ["table public.children fk"]
    lay(either, either("not_valid").fix)
    assert either.found("not_valid") == []


def test_a_constraint_of_a_domain_that_was_never_checked_is_found(either: Outcomes) -> None:
    lay(
        either, "create domain amount as int", "alter domain amount add constraint positive check (value > 0) not valid"
    )
    result = either("not_valid")
    assert [f.about for f in result.findings] == ["domain public.amount positive"]
    lay(either, result.fix)
    assert either.found("not_valid") == []


def test_a_constraint_that_is_not_meant_to_be_enforced_is_not_found(judge: Outcomes) -> None:
    lay(judge, "create table items (v int constraint wish check (v > 0) not enforced)")
    assert judge.found("not_valid") == []


def test_a_not_null_that_was_never_checked_is_found_on_18(judge: Outcomes) -> None:
    lay(judge, "create table items (v int)", "alter table items add constraint nn not null v not valid")
    assert judge.found("not_valid") == ["table public.items nn"]


TRIGGER = (
    "create table items (id int primary key, parent int references items)",
    "create function touch() returns trigger language plpgsql as 'begin return new; end'",
    "create trigger touch before insert on items for each row execute function touch()",
)


def test_a_trigger_switched_off_is_found_and_enabling_mends_it(either: Outcomes) -> None:
    lay(either, *TRIGGER, "alter table items disable trigger touch")
    result = either("disabled_triggers")
    assert [f.about for f in result.findings] == ["public.items touch"]
    lay(either, result.fix)
    assert either.found("disabled_triggers") == []


def test_foreign_keys_switched_off_are_found_once_for_their_table(either: Outcomes) -> None:
    lay(either, *TRIGGER, "drop trigger touch on items", "alter table items disable trigger all")
    result = either("disabled_triggers")
    assert [f.about for f in result.findings] == ["public.items constraints"]
    assert "takes rows that break them" in result.summary
    lay(either, result.fix)
    assert either.found("disabled_triggers") == []


def test_triggers_for_replicas_are_not_switched_off(either: Outcomes) -> None:
    lay(either, *TRIGGER, "alter table items enable replica trigger touch")
    assert either.found("disabled_triggers") == []


def test_an_unlogged_table_is_a_note_and_a_temporary_one_is_not(
    either: Outcomes, session: Callable[[Target], Connection]
) -> None:
    session(either.target).execute("create temporary table mine (id int)")
    lay(either, "create unlogged table cache (id int)")
    result = either("unlogged")
    assert [(f.about, f.level) for f in result.findings] == [("public.cache", Level.INFO)]
    assert result.outcome is Outcome.OK
    lay(either, "alter table cache set logged")
    assert either.found("unlogged") == []
