"""`pliers-db seed` as people type it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fix_cli import Cli, url_of
from tests.fix_seed import Seeds, digest


@pytest.fixture
def seed_cli(shop_seeds: Seeds) -> Cli:
    return Cli(shop_seeds.root, {"DATABASE_URL": url_of(shop_seeds.target)})


def test_the_everyday_line_fills_the_database_and_says_what_it_did(seed_cli: Cli, shop_seeds: Seeds) -> None:
    result = seed_cli("seed", "--env", "dev")
    assert result.code == 0, result.err
    assert f"/{shop_seeds.target.dbname} (development)" in result.err
    lines = result.out.splitlines()
    assert lines[0].split() == ["TABLE", "PLANNED", "PRESENT", "ADDED", "CHANGED", "KEPT"]
    assert ["orders", "21", "0", "21", "0", "0"] in [line.split() for line in lines]
    assert lines[-1].startswith("Added 31 rows, changed 0 (")
    assert "\x1b" not in result.out + result.err
    again = seed_cli("seed", "--env", "dev")
    assert again.out.splitlines()[-1].startswith("Nothing to do: all 31 rows are there (")


def test_it_works_from_a_folder_below_the_projects_root(seed_cli: Cli, shop_seeds: Seeds) -> None:
    below = shop_seeds.root / "src" / "deep"
    below.mkdir(parents=True)
    assert Cli(below, seed_cli.env)("seed", "--env", "dev").code == 0


def test_run_is_the_same_and_json_is_one_document(seed_cli: Cli) -> None:
    first = seed_cli("seed", "run", "--env", "dev", "--json")
    assert first.code == 0, first.err
    assert first.err == ""
    assert {name: first.json[name] for name in ("environment", "planned", "added", "kept", "seed", "as_of")} == {
        "environment": "development",
        "planned": 31,
        "added": 31,
        "kept": 0,
        "seed": 7,
        "as_of": "2026-03-01T12:00:00+00:00",
    }
    second = seed_cli("seed", "--env", "dev", "--json").json
    assert (second["present"], second["added"], second["changed"]) == (31, 0, 0)
    assert {table["table"] for table in second["tables"]} >= {"shops", "orders"}


def test_a_plan_says_what_a_run_would_do(seed_cli: Cli, shop_seeds: Seeds) -> None:
    result = seed_cli("seed", "plan", "--env", "dev")
    assert result.code == 0, result.err
    assert "TO ADD" in result.out.splitlines()[0]
    assert result.out.splitlines()[-1].startswith("Plan: 31 rows to add of 31; nothing was written")
    assert set(digest(shop_seeds.conn).values()) == {"empty"}


def test_options_before_the_subcommand_hold_for_it(seed_cli: Cli, shop_seeds: Seeds) -> None:
    result = seed_cli("seed", "--env", "dev", "--json", "plan", env={"PLIERS_ENV": "production"})
    assert result.code == 0, result.out
    assert result.json["environment"] == "development"
    assert result.json["dry_run"] is True
    assert set(digest(shop_seeds.conn).values()) == {"empty"}


def test_what_differs_is_listed_and_update_brings_it_back(seed_cli: Cli, shop_seeds: Seeds) -> None:
    shop_seeds.run()
    shop_seeds.conn.execute("update shops set name = 'Mine' where code = 'corner'")
    kept = seed_cli("seed", "--env", "dev")
    assert kept.code == 0
    assert "differs: shops/corner: name" in kept.out
    assert "1 row differs from the seeds and was kept (--update brings it back)" in kept.out
    updated = seed_cli("seed", "--env", "dev", "--update")
    assert "Added 0 rows, changed 1" in updated.out
    assert "differs" not in updated.out
    assert shop_seeds.conn.execute("select name from shops where code = 'corner'").fetchone() == ("The Corner Shop",)


def test_quiet_says_nothing_when_all_is_well(seed_cli: Cli) -> None:
    result = seed_cli("seed", "--env", "dev", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_an_error_names_the_place_and_the_way_on(seed_cli: Cli, shop_seeds: Seeds) -> None:
    shop_seeds.write("dev/99.toml", "[rows.shops.bad]\ncode = 'bad'")
    result = seed_cli("seed", "--env", "dev")
    assert result.code == 2
    assert result.err.splitlines()[1:] == [
        "error: 99.toml: rows.shops.bad: shops.name has no value",
        "  why: The column is NOT NULL and has no default.",
        "  fix: Give name a value there, or for all rows under [tables.shops.columns].",
    ]
    body = seed_cli("seed", "--env", "dev", "--json").json["error"]
    assert body["code"] == "seed.missing-value"
    assert body["details"] == {"at": "99.toml: rows.shops.bad", "table": "shops", "column": "name"}


def test_a_small_seed_imports_neither_faker_nor_numpy(seed_cli: Cli) -> None:
    code = (
        "import sys; sys.argv = ['pliers-db', 'seed', '--env', 'dev', '--quiet']\n"
        "from pliers_db.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as leave: assert not leave.code, leave.code\n"
        "print([m for m in ('faker', 'numpy', 'yoyo', 'pglast', 'rich', 'pgvector', 'hypothesis') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=seed_cli.folder, env=seed_cli.environ(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
