"""Retention removes what no rule keeps, and never the last good backup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliers_db.backup import Repository, Retention, retention_of
from pliers_db.backup.retention import Candidate, decide
from pliers_db.errors import BadSetting
from tests.fix_backup import Shop

NOW = datetime(2026, 11, 22, tzinfo=UTC)
days = st.lists(st.floats(min_value=0, max_value=4000), max_size=60)
rules = st.builds(Retention, keep_last=st.integers(0, 20), keep_days=st.integers(0, 400))


def candidates(ages: list[float]) -> list[Candidate]:
    return [Candidate(f"b{i}", NOW - timedelta(days=age)) for i, age in enumerate(ages)]


@given(days, rules)
def test_the_newest_always_stays_and_every_rule_is_obeyed(ages: list[float], retention: Retention) -> None:
    verdicts = decide(candidates(ages), retention)
    assert len(verdicts) == len(ages)
    if not ages:
        return
    assert verdicts[0].keep
    assert sum(v.keep for v in verdicts) >= min(len(ages), max(1, retention.keep_last))
    age = {f"b{i}": each - min(ages) for i, each in enumerate(ages)}
    for verdict in verdicts:
        if not verdict.keep:
            assert age[verdict.id] > retention.keep_days
    kept = [v.keep for v in verdicts]
    assert kept == sorted(kept, reverse=True)  # nothing older stays while something newer goes


@given(days.filter(bool), rules, st.data())
def test_what_was_just_made_stays_even_with_a_clock_that_jumped(
    ages: list[float], retention: Retention, data: st.DataObject
) -> None:
    made = data.draw(st.sampled_from([f"b{i}" for i in range(len(ages))]))
    verdicts = {v.id: v for v in decide(candidates(ages), retention, protect={made})}
    assert verdicts[made].keep


def test_while_new_backups_fail_nothing_old_is_removed() -> None:
    old = [Candidate(f"b{i}", NOW - timedelta(days=400 + i)) for i in range(10)]
    assert all(v.keep for v in decide(old, Retention(keep_last=1, keep_days=14)))


def test_rules_are_read_from_the_project_and_nonsense_is_refused() -> None:
    assert retention_of({}, "x") == Retention(3, 14)
    assert retention_of({"keep_last": 7}, "x") == Retention(7, 14)
    for wrong in ({"keep_last": -1}, {"keep_days": "many"}, {"keep_last": True}, {"keep_last": 0, "keep_days": 0}):
        with pytest.raises(BadSetting):
            retention_of(wrong, "x")


def test_nightly_removes_what_no_rule_keeps(shop: Shop) -> None:
    (shop.folder / "pliers-db.toml").write_text('name = "shop"\n[backup]\nkeep_last = 2\nkeep_days = 0\n')
    made = [shop.cli("backup", "nightly", "--json").json for _ in range(4)]
    assert [len(each["removed"]) for each in made] == [0, 0, 1, 1]
    assert shop.published() == sorted(each["backup"]["id"] for each in made[2:])
    assert list(shop.backups.glob(".trash/*")) == []


def test_create_removes_nothing(shop: Shop) -> None:
    (shop.folder / "pliers-db.toml").write_text('name = "shop"\n[backup]\nkeep_last = 1\nkeep_days = 0\n')
    for _ in range(3):
        shop.back_up()
    assert len(shop.published()) == 3


def test_a_broken_backup_neither_counts_nor_goes_and_nightly_says_so(shop: Shop) -> None:
    (shop.folder / "pliers-db.toml").write_text('name = "shop"\n[backup]\nkeep_last = 2\nkeep_days = 0\n')
    good, broken = shop.back_up(), shop.back_up()
    dump = shop.path_of(broken) / "dump.pgc.zst"
    dump.write_bytes(dump.read_bytes()[:100])
    result = shop.cli("backup", "nightly")
    assert result.code == 0
    assert f"Backup {broken} is broken" in result.err
    assert len(result.err.splitlines()) == 1
    assert {good, broken} < set(shop.published())


def test_a_failed_backup_removes_nothing(shop: Shop) -> None:
    (shop.folder / "pliers-db.toml").write_text('name = "shop"\n[backup]\nkeep_last = 1\nkeep_days = 0\n')
    kept = [shop.back_up(), shop.back_up()]
    wrong = shop.cli.env["DATABASE_URL"].replace(shop.target.dbname, "no_such_database")
    assert shop.cli("backup", "nightly", env={"DATABASE_URL": wrong}).code == 3
    assert shop.published() == sorted(kept)


def test_a_backup_that_is_being_read_is_not_removed(shop: Shop) -> None:
    (shop.folder / "pliers-db.toml").write_text('name = "shop"\n[backup]\nkeep_last = 1\nkeep_days = 0\n')
    old = shop.back_up()
    repository = Repository(shop.backups)
    with repository.reading(repository.find(old)):
        assert shop.cli("backup", "nightly").code == 0
        assert old in shop.published()
    assert shop.cli("backup", "nightly").code == 0
    assert old not in shop.published()


def test_the_backups_of_another_database_are_not_touched(shop: Shop, tmp_path: Path) -> None:
    (shop.folder / "pliers-db.toml").write_text('name = "shop"\n[backup]\nkeep_last = 1\nkeep_days = 0\n')
    mine = shop.back_up()
    other = shop.cli.env["DATABASE_URL"].replace(shop.target.dbname, "postgres")
    assert shop.cli("backup", "nightly", env={"DATABASE_URL": other}).code == 0
    assert mine in shop.published()
