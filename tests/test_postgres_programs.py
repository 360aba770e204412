"""PostgreSQL's programs are run in one way: known environment, no secrets shown, none left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pliers_db.config import Secret, Target
from pliers_db.db import Connection, connect
from pliers_db.errors import BinariesMissing, ProgramFailed, ProgramTimeout
from pliers_db.postgres import Binaries, Server, read_program, run_program, start_program
from pliers_db.postgres.programs import PIPE


@pytest.fixture
def tools(tmp_path: Path) -> Binaries:
    """A folder of programs that show what they were given."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, text in {
        "show": 'echo "argv:$*"; env',
        "cat": "exec cat",
        "fail": "for i in $(seq 30); do echo line $i >&2; done; exit 3",
        "leak": 'echo "password=$PGPASSWORD and $PGPASSWORD" >&2; exit 1',
        "deaf": "trap '' INT TERM; echo $$; while :; do sleep 1; done",
        "sleep": "echo $$; exec sleep 60",
        "ask": "read -r answer </dev/tty && echo got $answer",
        "early": "echo I have enough >&2; exit 4",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return Binaries(folder, 18)


def gone(pid: int, patience: float = 10) -> bool:
    """Whether a process has ended (a zombie has)."""
    for _ in range(int(patience / 0.05)):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_the_target_travels_in_the_environment_and_not_in_the_arguments(
    tools: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGSERVICE", "PGOPTIONS", "PGDATABASE", "PGPASSWORD"):
        monkeypatch.setenv(name, "elsewhere")
    target = Target("shop", host="db.example", user="ann", password=Secret("s3cret-of-ann"))
    shown = read_program(tools, "show", ["-x", "1"], target=target).splitlines()
    assert shown[0] == "argv:-x 1"
    given = dict(line.split("=", 1) for line in shown[1:] if "=" in line)
    assert given["PGHOST"] == "db.example"
    assert given["PGDATABASE"] == "shop"
    assert given["PGUSER"] == "ann"
    assert given["PGPASSWORD"] == "s3cret-of-ann"
    assert given["LC_ALL"] == "C"
    assert "elsewhere" not in given.values()


def test_session_settings_reach_the_server(server: Server, target: Target) -> None:
    with start_program(
        server.binaries,
        "psql",
        ["-XAtc", "show work_mem", "-c", "show application_name", "-c", "show datestyle"],
        target=target,
        settings={"work_mem": "7MB", "datestyle": "ISO, YMD"},
        application_name="pliers-db/probe",
        stdout=PIPE,
    ) as program:
        assert program.stdout.read().split(b"\n")[:3] == [b"7MB", b"pliers-db/probe", b"ISO, YMD"]
        program.wait().check()


def test_a_failure_carries_the_programs_last_words_and_what_to_do(server: Server, target: Target) -> None:
    with pytest.raises(ProgramFailed) as caught:
        run_program(server.binaries, "pg_dump", ["--file=/dev/full"], target=target).check()
    assert caught.value.message == "pg_dump failed (exit 1)"
    assert "No space left on device" in caught.value.why
    assert caught.value.fix == "Make room on that file system; run it again."
    assert caught.value.exit_code == 3


def test_a_failure_is_told_by_its_last_lines_only(tools: Binaries) -> None:
    finished = run_program(tools, "fail", [])
    assert finished.returncode == 3
    assert finished.stderr.splitlines()[0] == "line 1"
    with pytest.raises(ProgramFailed) as caught:
        finished.check()
    assert caught.value.why.splitlines()[-1] == "line 30"
    assert len(caught.value.why.splitlines()) < 20


def test_a_password_that_a_program_repeats_is_not_shown(tools: Binaries) -> None:
    heard: list[str] = []
    target = Target("shop", password=Secret("s3cret-of-ann"))
    finished = run_program(tools, "leak", [], target=target, on_line=heard.append)
    assert "s3cret-of-ann" not in finished.stderr
    assert "s3cret-of-ann" not in "".join(heard)
    assert "********" in finished.stderr


def test_progress_lines_come_while_it_runs(server: Server, target: Target) -> None:
    heard: list[str] = []
    run_program(server.binaries, "pg_dump", ["--verbose", "--file=/dev/null"], target=target, on_line=heard.append)
    assert any("reading schemas" in line for line in heard)


def test_an_error_in_a_progress_callback_is_the_callers(tools: Binaries) -> None:
    def stumble(line: str) -> None:
        raise ZeroDivisionError(line)

    with pytest.raises(ZeroDivisionError, match=r"line 1$"):
        run_program(tools, "fail", [], on_line=stumble)


def test_a_missing_program_is_an_error_with_a_fix(tools: Binaries) -> None:
    with pytest.raises(BinariesMissing, match="pg_dump"):
        run_program(tools, "pg_dump", [])


@pytest.mark.parametrize("size", [0, 10, 5_000_000])
def test_bytes_go_through_whole(size: int, tools: Binaries) -> None:
    data = os.urandom(size // 2) + b"x" * (size - size // 2)
    with start_program(tools, "cat", [], stdin=data, stdout=PIPE) as program:
        assert program.stdout.read() == data
        program.wait().check()


def test_a_pipeline_can_be_fed_while_it_is_read(tools: Binaries) -> None:
    data = os.urandom(3_000_000)
    with start_program(tools, "cat", [], stdin=PIPE, stdout=PIPE) as program:

        def feed() -> None:
            program.stdin.write(data)
            program.stdin.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        assert program.stdout.read() == data
        feeder.join()
        program.wait().check()


def test_a_reader_that_dies_is_told_by_its_own_words(tools: Binaries) -> None:
    with pytest.raises(ProgramFailed, match=r"early failed \(exit 4\)") as caught:
        with start_program(tools, "early", [], stdin=PIPE) as program:
            for _ in range(100):
                program.stdin.write(b"x" * 100_000)
    assert caught.value.why == "I have enough"


def test_leaving_the_block_early_stops_the_program(tools: Binaries) -> None:
    with start_program(tools, "sleep", [], stdout=PIPE) as program:
        pid = int(program.stdout.readline())
    assert gone(pid)


def test_a_timeout_stops_the_program_and_says_so(tools: Binaries) -> None:
    with pytest.raises(ProgramTimeout, match=r"did not end within 0\.3 s"):
        run_program(tools, "sleep", [], timeout=0.3)


def test_a_timeout_ends_a_read(tools: Binaries) -> None:
    with pytest.raises(ProgramTimeout):
        read_program(tools, "sleep", [], timeout=0.3)


@pytest.mark.slow
def test_a_program_that_ignores_signals_is_killed(tools: Binaries) -> None:
    with start_program(tools, "deaf", [], stdout=PIPE) as program:
        pid = int(program.stdout.readline())
    assert gone(pid)


def test_what_tick_raises_ends_the_program(tools: Binaries) -> None:
    pids: list[int] = []

    def tick() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with start_program(tools, "sleep", [], stdout=PIPE) as program:
            pids.append(int(program.stdout.readline()))
            program.wait(tick)
    assert gone(pids[0])


def test_no_program_can_wait_for_a_password(server: Server, tools: Binaries) -> None:
    assert run_program(tools, "ask", []).returncode != 0


def test_no_descriptor_of_ours_is_inherited(tools: Binaries, tmp_path: Path) -> None:
    (tools.bin / "fds").write_text("#!/bin/sh\nls -l /proc/self/fd\n")
    (tools.bin / "fds").chmod(0o755)
    with (tmp_path / "our.lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        assert "our.lock" not in read_program(tools, "fds", [])


_DUMP = """
import sys
from pathlib import Path
from pliers_db.config import parse_url
from pliers_db.postgres import Binaries, start_program
with start_program(Binaries(Path(sys.argv[1]), 18), "pg_dump", ["--file=" + sys.argv[3]],
                   target=parse_url(sys.argv[2]), application_name="pliers-db/killed") as program:
    print(program.process.pid, flush=True)
    program.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_dump_ends_when_we_are_killed(
    number: int, server: Server, target: Target, conn: Connection, tmp_path: Path
) -> None:
    conn.execute("create table held (id int)")
    with connect(target, autocommit=False) as blocker:
        blocker.execute("lock table held in access exclusive mode")  # pg_dump waits here
        url = f"postgresql://{target.user}@:{target.port}/{target.dbname}?host={target.host}"
        ours = subprocess.Popen(
            [sys.executable, "-c", _DUMP, server.binaries.bin, url, tmp_path / "dump.sql"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert ours.stdout is not None
        pid = int(ours.stdout.readline())
        _wait_for(conn, "select 1 from pg_locks where not granted and relation = 'held'::regclass")
        assert not gone(pid, 0.2)
        ours.send_signal(number)
        ours.wait(20)
        ours.stdout.close()
        assert gone(pid), "pg_dump goes on without us"
    _wait_for(
        conn,
        "select 1 where not exists (select from pg_stat_activity where application_name = 'pliers-db/killed'"
        " and datname = current_database())",
    )


def _wait_for(conn: Connection, query: str) -> None:
    for _ in range(200):
        if conn.execute(query.encode()).fetchone():
            return
        time.sleep(0.05)
    pytest.fail(f"never came true: {query}")


def test_parameters_of_the_target_that_libpq_knows_no_variable_for_do_no_harm(server: Server, target: Target) -> None:
    odd = replace(target, params={"keepalives_idle": "30"}, connect_timeout=4.0)
    assert read_program(server.binaries, "psql", ["-XAtc", "select 1"], target=odd).strip() == "1"


def test_a_dump_can_be_streamed(server: Server, target: Target, conn: Connection) -> None:
    conn.execute("create table t as select generate_series(1, 20000) as id")
    taken = io.BytesIO()
    with start_program(server.binaries, "pg_dump", ["--format=custom"], target=target, stdout=PIPE) as program:
        while piece := program.stdout.read(8192):
            taken.write(piece)
        program.wait().check()
    listing = read_program(server.binaries, "pg_restore", ["--list"], stdin=taken.getvalue())
    assert "TABLE DATA public t" in listing


def test_a_folder_of_path_that_may_not_be_entered_is_passed_over(tmp_path: Path) -> None:
    """After su, PATH still holds folders of root's; looking into one must not end in PermissionError."""
    closed = tmp_path / "closed" / "bin"
    closed.mkdir(parents=True)
    code = (
        "import os, sys\n"
        "from pliers_db.postgres import find_binaries\n"
        "from pliers_db.errors import BinariesMissing\n"
        "os.environ['PATH'] = sys.argv[1]\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "try: find_binaries(9)\n"
        "except BinariesMissing: print('told')\n"
    )
    (tmp_path / "closed").chmod(0o000)
    try:
        done = subprocess.run([sys.executable, "-c", code, str(closed)], capture_output=True, text=True, cwd="/")
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert done.stdout == "told\n", done.stderr
