"""``migrate new``, ``up``, ``down``, ``redo`` and ``status`` on the everyday path."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, connect, read_stamp, write_stamp
from tests.fix_cli import Cli, url_of
from tests.fix_migrate import Write, applied_ids, tables


def test_up_applies_what_is_pending_and_a_second_up_does_nothing(cli: Cli, abc: list[str], conn: Connection) -> None:
    first = cli("migrate", "up")
    assert first.code == 0, first.err
    assert "Applied 3 migrations" in first.out
    assert applied_ids(conn) == abc
    assert tables(conn) == {"a", "b", "c"}
    second = cli("migrate", "up")
    assert second.code == 0
    assert "Nothing to do" in second.out


def test_every_write_names_its_target_first(cli: Cli, abc: list[str], target: Target) -> None:
    for words in (("up",), ("redo",), ("down",)):
        assert cli("migrate", *words).err.splitlines()[0] == f"Target: {target} (test)"


def test_up_stops_at_to(cli: Cli, abc: list[str], conn: Connection) -> None:
    assert cli("migrate", "up", "--to", "0002_b").code == 0
    assert applied_ids(conn) == ["0001_a", "0002_b"]
    assert cli("migrate", "up", "--to", "0003").code == 0  # a number is enough
    assert applied_ids(conn) == abc


def test_an_unknown_id_is_answered_with_the_nearest(cli: Cli, abc: list[str], conn: Connection) -> None:
    result = cli("migrate", "up", "--to", "0002_bb", "--json")
    assert result.code == 2
    assert result.json["error"]["code"] == "migrate.unknown-id"
    assert "0002_b" in result.json["error"]["fix"]
    assert applied_ids(conn) == []


def test_down_rolls_back_the_last(cli: Cli, abc: list[str], conn: Connection) -> None:
    cli("migrate", "up")
    result = cli("migrate", "down", "--json")
    assert result.code == 0, result.err
    assert [d["id"] for d in result.json["rolled_back"]] == ["0003_c"]
    assert applied_ids(conn) == ["0001_a", "0002_b"]
    assert tables(conn) == {"a", "b"}


def test_down_with_steps_and_to(cli: Cli, abc: list[str], conn: Connection) -> None:
    cli("migrate", "up")
    assert cli("migrate", "down", "--to", "0002_b").code == 0
    assert applied_ids(conn) == ["0001_a", "0002_b"]
    assert cli("migrate", "down", "--steps", "9").code == 0
    assert applied_ids(conn) == []
    assert tables(conn) == set()
    assert "Nothing to do" in cli("migrate", "down").out


def test_redo_rolls_back_and_applies_again(cli: Cli, abc: list[str], conn: Connection) -> None:
    cli("migrate", "up")
    conn.execute("alter table c add column by_hand int")
    result = cli("migrate", "redo", "--json")
    assert [d["id"] for d in result.json["applied"]] == [d["id"] for d in result.json["rolled_back"]] == ["0003_c"]
    columns = conn.execute("select count(*) from information_schema.columns where table_name = 'c'").fetchone()
    assert columns == (1,)


def test_redo_that_stops_between_its_halves_says_so(cli: Cli, abc: list[str], write: Write, conn: Connection) -> None:
    """Not exit 6: things are not as before."""
    assert cli("migrate", "up").code == 0
    write("0003_c", "create table c (); select no_such_function();")
    result = cli("migrate", "redo", "--json")
    assert result.code == 7, result.out
    assert result.json["error"]["message"].startswith("Rolled back 1 migration, not applied again")
    assert "migrate up" in result.json["error"]["fix"]
    assert applied_ids(conn) == ["0001_a", "0002_b"]


def test_a_rollback_without_a_file_changes_and_records_nothing(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "create table a ();")
    write("0002_b", "create table b ();", down=None)
    write("0003_c", "create table c ();")
    assert cli("migrate", "up").code == 0
    result = cli("migrate", "down", "--steps", "2", "--json")
    assert result.code == 4
    assert result.json["error"]["code"] == "migrate.no-rollback"
    assert "0002_b" in result.json["error"]["message"]
    assert applied_ids(conn) == ["0001_a", "0002_b", "0003_c"]
    assert tables(conn) == {"a", "b", "c"}
    assert conn.execute("select count(*) from _yoyo_log where operation = 'rollback'").fetchone() == (0,)


def test_an_empty_rollback_file_is_no_rollback(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "create table a ();", "-- to do\n")
    cli("migrate", "up")
    result = cli("migrate", "down")
    assert result.code == 4, result.err
    assert applied_ids(conn) == ["0001_a"]


def test_status_says_what_is_pending_and_check_makes_it_an_exit_code(cli: Cli, abc: list[str]) -> None:
    cli("migrate", "up", "--to", "0001_a")
    result = cli("migrate", "status")
    assert result.code == 0
    assert [line.split()[:2] for line in result.out.splitlines()[1:4]] == [
        ["applied", "0001_a"],
        ["pending", "0002_b"],
        ["pending", "0003_c"],
    ]
    assert result.out.splitlines()[-1] == "1 applied, 2 pending"
    assert cli("migrate", "status", "--check").code == 1
    cli("migrate", "up")
    assert cli("migrate", "status", "--check").code == 0


def test_status_as_json(cli: Cli, abc: list[str]) -> None:
    cli("migrate", "up", "--to", "0001_a")
    found = cli("migrate", "status", "--json").json
    assert (found["applied"], found["pending"]) == (1, 2)
    assert found["states"] == {"applied": 1, "pending": 2}
    assert found["environment"] == "test"
    first, second, _ = found["migrations"]
    assert first["id"] == "0001_a"
    assert re.match(r"\d{4}-.*\+00:00$", first["applied_at"])
    assert re.fullmatch(r"\S+@\S+", first["by"])
    assert first["ms"] > 0
    assert (second["state"], second["by"]) == ("pending", None)
    assert second["reversible"] is True


def test_status_and_an_up_with_nothing_to_do_load_neither_yoyo_nor_a_parser(cli: Cli, abc: list[str]) -> None:
    """Stock yoyo splits every file with sqlparse for each `list`; that takes seconds where there are many."""
    cli("migrate", "up")
    for command in ("status", "up"):
        code = (
            f"import sys; sys.argv = ['pliers-db', 'migrate', '{command}']\n"
            "from pliers_db.cli.main import main\n"
            "try: main()\n"
            "finally: print('LOADED', [m for m in ('yoyo', 'sqlparse', 'pglast') if m in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=cli.folder, env=cli.environ(), capture_output=True, text=True
        )
        assert done.stdout.endswith("LOADED []\n"), done


def test_status_writes_nothing(cli: Cli, abc: list[str], conn: Connection) -> None:
    assert cli("migrate", "status").code == 0
    assert conn.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone() == (0,)


def test_status_needs_select_alone_and_takes_no_lock(
    cli: Cli, abc: list[str], conn: Connection, target: Target
) -> None:
    cli("migrate", "up")
    conn.execute("create role reader_only login")
    conn.execute("grant select on _yoyo_migration to reader_only")
    try:
        url = url_of(target).replace(f"{target.user}@", "reader_only@", 1)
        with conn.transaction():
            conn.execute("lock table yoyo_lock, _yoyo_log in access exclusive mode")
            result = cli("migrate", "status", env={"DATABASE_URL": url, "PGOPTIONS": "-c statement_timeout=3s"})
        assert result.code == 0, result.err
        assert "3 unverified" in result.out  # our own table is not theirs to read
        refused = cli("migrate", "down", "--json", env={"DATABASE_URL": url})
        assert refused.code == 3
        assert refused.json["error"]["code"] == "migrate.privilege"
        assert "grant delete on public._yoyo_migration to reader_only" in refused.json["error"]["fix"]
    finally:
        conn.execute("drop owned by reader_only; drop role reader_only")


def test_what_a_migration_selects_or_says_does_not_reach_stdout(cli: Cli, write: Write) -> None:
    write("0001_a", "select 1 as x; do $$ begin raise notice 'hello from inside'; end $$; create table a ();")
    result = cli("migrate", "up", "--json")
    assert result.code == 0
    json.loads(result.out)
    assert "hello from inside" in result.err


def test_up_stamps_an_empty_database_with_the_environment(
    cli: Cli, abc: list[str], conn: Connection, target: Target
) -> None:
    assert read_stamp(conn) is None
    cli("migrate", "up", "--to", "0001_a")
    stamp = read_stamp(conn)
    assert stamp is not None
    assert stamp.environment is Environment.TEST


def test_up_does_not_stamp_a_database_that_has_tables(cli: Cli, abc: list[str], conn: Connection) -> None:
    conn.execute("create table somebody_elses (id int)")
    assert cli("migrate", "up").code == 0
    assert read_stamp(conn) is None
    refused = cli("migrate", "down", "--json")
    assert refused.code == 4
    assert refused.json["error"]["code"] == "db.protected"
    assert applied_ids(conn) == abc


def test_down_and_redo_ask_the_database_what_it_is(cli: Cli, abc: list[str], conn: Connection, target: Target) -> None:
    cli("migrate", "up")
    write_stamp(conn, Environment.PRODUCTION)
    for command in ("down", "redo"):
        for env in ({}, {"PLIERS_ENV": "production", "DB_SSLMODE": "disable"}):
            result = cli("migrate", command, "--json", env=env)
            assert result.code == 4, (command, result.err)
            assert result.json["error"]["code"] == "db.protected"
    assert applied_ids(conn) == abc
    production = {"PLIERS_ENV": "production", "DB_SSLMODE": "disable"}
    result = cli("migrate", "down", "--confirm-db", target.dbname, env=production)
    assert result.code == 0, result.err
    assert applied_ids(conn) == abc[:2]


def test_depends_goes_before_number(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "-- depends: 0002_b\ncreate table a as select * from b;")
    write("0002_b", "create table b (id int);")
    result = cli("migrate", "up", "--json")
    assert [d["id"] for d in result.json["applied"]] == ["0002_b", "0001_a"]
    result = cli("migrate", "down", "--steps", "2", "--json")
    assert [d["id"] for d in result.json["rolled_back"]] == ["0001_a", "0002_b"]


def test_numbers_are_compared_as_numbers_with_a_warning(cli: Cli, write: Write) -> None:
    write("9_a", "create table a (id int);")
    write("10_b", "create table b as select * from a;")
    result = cli("migrate", "up", "--json")
    assert [d["id"] for d in result.json["applied"]] == ["9_a", "10_b"]
    assert "differ in width" in result.err


def test_a_post_apply_hook_runs_after_each_up_and_is_not_recorded(
    cli: Cli, abc: list[str], write: Write, conn: Connection
) -> None:
    write("post-apply", "create table if not exists hooked (at int); insert into hooked values (1);", down=None)
    cli("migrate", "up", "--to", "0001_a")
    cli("migrate", "up")
    cli("migrate", "up")
    assert conn.execute("select count(*) from hooked").fetchone() == (2,)
    assert applied_ids(conn) == abc


def test_new_writes_both_files_in_the_folders_way_of_counting(cli: Cli, abc: list[str], project: Path) -> None:
    result = cli("migrate", "new", "Add Éclair prices!")
    assert result.code == 0
    assert result.out.split() == [
        "migrations/0004_add_eclair_prices.sql",
        "migrations/0004_add_eclair_prices.rollback.sql",
    ]
    text = (project / "migrations" / "0004_add_eclair_prices.sql").read_text()
    assert text.startswith("-- depends: 0003_c\n")
    assert cli("migrate", "new", "x", "--no-down", "--json").json["rollback_path"] is None


def test_new_in_an_empty_folder_counts_by_time(make_cli: Callable[..., Cli], tmp_path: Path) -> None:
    cli = make_cli(tmp_path, {})
    made = cli("migrate", "new", "first", "--non-transactional", "--json").json
    assert re.fullmatch(r"\d{14}_first", made["id"])
    assert Path(made["path"]).read_text().startswith("-- transactional: false\n")
    second = cli("migrate", "new", "second", "--json").json
    assert second["id"] > made["id"]
    assert f"-- depends: {made['id']}" in Path(second["path"]).read_text()
    assert cli("migrate", "new", "***").code == 2


def test_a_new_migration_that_nobody_filled_is_not_applied(cli: Cli, conn: Connection) -> None:
    cli("migrate", "new", "later")
    result = cli("migrate", "up", "--json")
    assert result.code == 2
    assert "holds no SQL" in result.json["error"]["message"]
    assert applied_ids(conn) == []


def test_statements_that_forbid_a_transaction_run_one_by_one(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "create table a (id int);")
    write(
        "0002_i",
        "-- transactional: false\n-- depends: 0001_a\n"
        "create index concurrently i on a (id); -- ';'\n/* a /* b; */ c; */ vacuum a;",
        "drop index concurrently i;",
    )
    assert cli("migrate", "up").code == 0
    assert conn.execute("select indisvalid from pg_index where indexrelid = 'i'::regclass").fetchone() == (True,)
    result = cli("migrate", "down")
    assert result.code == 0, result.err
    assert conn.execute("select to_regclass('i')").fetchone() == (None,)


@pytest.mark.pg15
def test_the_same_on_postgresql_15(cli: Cli, abc: list[str], write: Write, target15: Target) -> None:
    env = {"DATABASE_URL": url_of(target15)}
    write("0004_i", "-- transactional: false\ncreate index concurrently i on a (id);", "drop index concurrently i;")
    assert cli("migrate", "up", env=env).code == 0
    assert cli("migrate", "redo", "--steps", "2", env=env).code == 0
    assert cli("migrate", "status", "--check", env=env).code == 0
    result = cli("migrate", "down", "--steps", "4", env=env)
    assert result.code == 0, result.err
    with connect(target15) as conn:
        assert tables(conn) == set()
        assert applied_ids(conn) == []


def test_the_library_says_the_same_as_the_command(project: Path, abc: list[str], target: Target) -> None:
    from pliers_db import Database
    from pliers_db.migrate import State, down, read_folder, read_status, up

    folder = read_folder(project / "migrations")
    with Database(target) as database:
        outcome = up(database, folder, environment=Environment.TEST)
        assert [d.id for d in outcome.applied] == abc
        assert [e.state for e in read_status(database, folder).entries] == [State.APPLIED] * 3
        assert [d.id for d in down(database, folder, environment=Environment.TEST).rolled_back] == ["0003_c"]


def test_a_structure_file_follows_the_database_of_development(cli: Cli, write: Write, conn: Connection) -> None:
    structure = cli.folder / "structure.sql"
    development = {"PLIERS_ENV": "development"}
    write("0001_a", "create table a (id int);", "drop table a;")
    assert cli("migrate", "up", env=development).code == 0
    assert not structure.exists(), "nobody has asked for one"
    assert cli("migrate", "dump-schema", env=development).code == 0
    write("0002_b", "create table b (id int);", "drop table b;")
    assert cli("migrate", "up", "--no-dump", env=development).code == 0
    assert "create table public.b" not in structure.read_text().lower()
    assert cli("migrate", "redo", env=development).code == 0
    assert "create table public.b" in structure.read_text().lower()
    assert cli("migrate", "down", env=development).code == 0
    assert "create table public.b" not in structure.read_text().lower()
    structure.unlink()
    structure.mkdir()
    result = cli("migrate", "up", env=development)
    assert result.code == 0, "what has run has run"
    assert "structure.sql is not refreshed" in result.err


def test_status_can_look_for_drift_too(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "create table a (id int);", "drop table a;")
    assert cli("migrate", "up").code == 0
    assert cli("migrate", "status", "--drift").code == 0
    conn.execute("alter table a add extra text")
    result = cli("migrate", "status", "--drift", "--json")
    assert result.code == 1
    assert result.json["applied"] == 1
    assert "extra" in result.json["drift"]["differences"][0]["text"]
    assert "extra" in cli("migrate", "status", "--drift").out
