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


def candidates(ages: list[float]) -> list[Candidate]:
    return [Candidate(f"b{i}", NOW - timedelta(days=age)) for i, age in enumerate(ages)]


simple = st.builds(Retention, keep_last=st.integers(0, 20), keep_days=st.integers(0, 400))
small = st.integers(0, 15)
rules = st.builds(Retention, small, small, small, small, small, small)


@given(days, simple)
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


@given(days, rules)
def test_grandfathers_keep_the_newest_of_each_of_their_periods(ages: list[float], retention: Retention) -> None:
    verdicts = decide(candidates(ages), retention)
    kept = [v.id for v in verdicts if v.keep]
    at = {c.id: c.taken_at for c in candidates(ages)}
    for count, form in (
        (retention.keep_daily, "%Y-%m-%d"),
        (retention.keep_weekly, "%G-%V"),
        (retention.keep_monthly, "%Y-%m"),
        (retention.keep_yearly, "%Y"),
    ):
        periods = list(dict.fromkeys(at[v.id].strftime(form) for v in verdicts))
        assert {at[each].strftime(form) for each in kept} >= set(periods[:count])


def test_a_year_of_nights_leaves_days_weeks_and_months() -> None:
    nights = [Candidate(f"b{i}", NOW - timedelta(days=i)) for i in range(365)]
    verdicts = decide(nights, Retention(0, 0, keep_daily=7, keep_weekly=4, keep_monthly=12))
    kept = [v for v in verdicts if v.keep]
    assert 7 + 4 + 12 - 5 <= len(kept) <= 7 + 4 + 12
    assert "the newest of its month" in {v.reason for v in kept}


def test_the_newest_proved_one_stays() -> None:
    old = [Candidate(f"b{i}", NOW - timedelta(days=i * 100), proved=i == 3) for i in range(5)]
    assert [v.keep for v in decide(old, Retention(keep_last=1, keep_days=0))] == [True, False, False, True, False]


def test_while_new_backups_fail_nothing_old_is_removed() -> None:
    old = [Candidate(f"b{i}", NOW - timedelta(days=400 + i)) for i in range(10)]
    assert all(v.keep for v in decide(old, Retention(keep_last=1, keep_days=14)))


def test_rules_are_read_from_the_project_and_nonsense_is_refused() -> None:
    assert retention_of({}, "x") == Retention(3, 14)
    assert retention_of({"keep_last": 7, "keep_yearly": 2}, "x") == Retention(7, 14, keep_yearly=2)
    for wrong in ({"keep_last": -1}, {"keep_days": "many"}, {"keep_weekly": True}, {"keep_last": 0, "keep_days": 0}):
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


def test_prune_says_first_what_it_would_do(shop: Shop) -> None:
    made = [shop.back_up() for _ in range(3)]
    (shop.folder / "pliers-db.toml").write_text('name = "shop"\n[backup]\nkeep_last = 1\nkeep_days = 0\n')
    offline = {"DATABASE_URL": f"postgresql://nobody@127.0.0.1:1/{shop.target.dbname}"}
    planned = shop.cli("backup", "prune", "--dry-run", "--json", env=offline)
    assert planned.code == 0, planned.err
    assert [b["keep"] for b in planned.json["backups"]] == [True, False, False]
    assert shop.published() == sorted(made)
    done = shop.cli("backup", "prune", "--json", env=offline)
    assert sorted(done.json["removed"]) == sorted(made[:2])
    assert shop.published() == made[2:]


def test_a_backup_that_is_much_smaller_than_usual_warns(big: Shop) -> None:
    assert big.cli("backup", "nightly").err == ""
    big.execute("truncate bulk")
    result = big.cli("backup", "nightly")
    assert result.code == 0
    assert "Has something been deleted?" in result.err
    assert len(result.err.splitlines()) == 1


def test_roles_are_in_the_backup_and_their_passwords_only_on_request(shop: Shop) -> None:
    role = f"{shop.target.dbname}_keeper"
    shop.execute(f"create role {role} password 'geheim'")
    try:
        globals_sql = (shop.path_of(shop.back_up()) / "globals.sql").read_text()
        assert f"CREATE ROLE {role}" in globals_sql
        assert "SCRAM" not in globals_sql
        made = shop.cli("backup", "create", "--role-passwords", "--json").json["id"]
        assert "SCRAM-SHA-256$" in (shop.path_of(made) / "globals.sql").read_text()
    finally:
        shop.execute(f"drop role {role}")
