"""Backups that nobody starts: what cron and systemd are given works there, and others hear how it went."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import time
from pathlib import Path

import pytest

from pliers_db.backup import Backup, Hooks, Journal, Nightly, Repository, Retention, Schedule, hooks_of, nightly_backup
from pliers_db.backup import hooks as hooks_module
from pliers_db.config import Environment, Target
from pliers_db.db import Database, connect, write_stamp
from pliers_db.errors import BackupFailed, BackupRunning, BadSetting, HookFailed
from pliers_db.progress import SILENT
from tests.fix_cli import Cli, url_of
from tests.fix_listener import Listener

SCHEDULE = Schedule(Path("/srv/50% off $HOME"), "production", time(2, 5), ("/opt/my env/bin/python", "-m", "pliers_db"))


@pytest.fixture
def little(target: Target) -> Target:
    """A database with one table."""
    with connect(target) as conn:
        conn.execute("create table a as select generate_series(1, 10) as i")
        write_stamp(conn, Environment.TEST)
    return target


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "_PAUSE", 0.01)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A crontab and a systemctl of ours; what they were given lies in this folder."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "crontab").write_text(
        f'#!/bin/sh\ncd "{folder}"\nif [ "$1" = -l ]; then cat tab 2>/dev/null || {{ echo "no crontab for me" >&2;'
        " exit 1; }; else cat > tab; fi\n"
    )
    (folder / "systemctl").write_text(
        f'#!/bin/sh\necho "$@" >> "{folder}/asked"\n[ ! -e "{folder}/broken" ] || {{ echo "no bus" >&2; exit 1; }}\n'
    )
    for file in folder.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def run(target: Target, folder: Path, hooks: Hooks) -> Nightly:
    with Database(target) as database:
        return nightly_backup(database, Repository(folder / "backups"), Retention(), hooks=hooks)


# ── cron and systemd ─────────────────────────────────────────────────────────────────────────────────────────
def test_crons_line_makes_a_backup_where_there_is_no_environment_and_says_nothing(
    little: Target, tmp_path: Path, make_cli: type[Cli], programs: Path
) -> None:
    project = tmp_path / "50% of Bob's shop"
    project.mkdir()
    (project / "pliers-db.toml").write_text('name = "shop"\n')
    (project / ".env.test").write_text(f"DATABASE_URL={url_of(little)}\n")
    cli = make_cli(project, {"PLIERS_ENV": "test", "PATH": os.environ["PATH"]})
    (programs / "tab").write_text("MAILTO=root\n5 5 * * * other job\n")
    for hour in ("2", "03"):
        made = cli("backup", "schedule", "--install", "cron", "--at", f"{hour}:10")
        assert made.code == 0, made.err
    *others, mark, line = (programs / "tab").read_text().splitlines()
    assert others == ["MAILTO=root", "5 5 * * * other job"]
    assert mark.startswith("# pliers-db")
    assert line.startswith("10 3 * * *  ")
    command = line.split("  ", 1)[1].replace("\\%", "%")  # as cron does
    bare = {"HOME": "/", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
    done = subprocess.run(["/bin/sh", "-c", command], env=bare, cwd="/", capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(Repository(project / "backups").backups()) == 1
    log = (project / "backups" / "log" / "nightly.log").read_text()
    assert "Backed up" in log
    assert "10 rows" in log


def test_a_database_that_only_this_shell_knows_is_refused(cli: Cli, programs: Path) -> None:
    refused = cli("backup", "schedule", "--install", "cron", "--json", env={"PATH": os.environ["PATH"]})
    assert refused.code == 2
    assert refused.json["error"]["code"] == "backup.not-scheduled"
    assert ".env.test" in refused.json["error"]["fix"]
    assert not (programs / "tab").exists()


def test_percent_signs_and_dollars_survive_cron_and_systemd() -> None:
    assert "cd '/srv/50\\% off $HOME' && PLIERS_ENV=production '/opt/my env/bin/python'" in SCHEDULE.cron()
    service = SCHEDULE.service()
    assert "WorkingDirectory=/srv/50%% off $HOME\n" in service
    assert 'ExecStart="/opt/my env/bin/python" -m pliers_db backup nightly\n' in service
    assert "OnCalendar=*-*-* 02:05:00\n" in SCHEDULE.timer()


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    judge = shutil.which("systemd-analyze")
    if judge is None:
        pytest.skip("no systemd-analyze here: the units were NOT checked by systemd")
    plan = Schedule(tmp_path, "test", time(23, 59), ("/bin/echo", "100% $HOME"), variables={"PGBIN": "/a b/%n"})
    for name, text in ((f"{plan.name}.service", plan.service()), (f"{plan.name}.timer", plan.timer())):
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / f"{plan.name}.{kind}") for kind in ("service", "timer")]
    done = subprocess.run([judge, "verify", "--man=no", *units], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if plan.name in line]
    assert ours == [], done.stderr


def test_systemd_takes_both_units_or_neither(programs: Path, tmp_path: Path) -> None:
    from pliers_db.backup import install_systemd
    from pliers_db.errors import ScheduleFailed

    folder = tmp_path / "units"
    (programs / "broken").touch()
    with pytest.raises(ScheduleFailed, match="as it was") as caught:
        install_systemd(SCHEDULE, folder)
    assert caught.value.why == "no bus"
    assert list(folder.iterdir()) == []
    (programs / "broken").unlink()
    install_systemd(SCHEDULE, folder)
    assert sorted(file.suffix for file in folder.iterdir()) == [".service", ".timer"]
    assert "enable --now pliers-db-50-off-home-production.timer" in (programs / "asked").read_text()


# ── hooks ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_heartbeat_hears_of_start_and_success(little: Target, tmp_path: Path, listener: Listener) -> None:
    run(little, tmp_path, Hooks(heartbeat=listener.url))
    assert listener.paths == ["/ping/secret-uuid/start", "/ping/secret-uuid"]


def test_a_heartbeat_hears_of_failure_and_why(little: Target, tmp_path: Path, listener: Listener) -> None:
    with pytest.raises(BackupFailed, match="no backup was made") as caught:
        run(little, tmp_path, Hooks(heartbeat=listener.url, before=("echo no room in the attic; exit 3",)))
    assert "ended with 3: no room in the attic" in caught.value.why
    assert listener.paths == ["/ping/secret-uuid/start", "/ping/secret-uuid/fail"]
    assert "no room in the attic" in listener.heard[1][1]
    assert Repository(tmp_path / "backups").backups() == []


def test_a_heartbeat_that_nobody_takes_fails_no_backup_and_its_url_is_not_told(
    little: Target, tmp_path: Path, listener: Listener
) -> None:
    listener.answer = 503
    journal = Journal(tmp_path / "log", SILENT)
    with Database(little) as database:
        done = nightly_backup(
            database, Repository(tmp_path), Retention(), reporter=journal, hooks=Hooks(heartbeat=listener.url)
        )
    assert done.backup.good
    assert len(listener.heard) == 6  # three tries each
    log = (tmp_path / "log").read_text()
    assert log.count("warning The heartbeat was not taken: 127.0.0.1 answered 503") == 2
    assert "secret-uuid" not in log


def test_hooks_know_what_was_made(little: Target, tmp_path: Path, listener: Listener) -> None:
    command = 'echo "$PLIERS_BACKUP_EVENT $PLIERS_BACKUP_STATUS $PLIERS_BACKUP_ID" >> told'
    done = run(little, tmp_path, Hooks(before=(command,), after=(command, listener.url), folder=tmp_path))
    assert (tmp_path / "told").read_text() == f"before running \nafter success {done.backup.id}\n"
    document = json.loads(listener.heard[0][1])
    assert (document["status"], document["id"], document["rows"]) == ("success", done.backup.id, 10)


def test_a_failed_hook_after_a_backup_says_that_the_backup_is_there(little: Target, tmp_path: Path) -> None:
    with pytest.raises(HookFailed, match="is made") as caught:
        run(little, tmp_path, Hooks(after=("exit 9",)))
    assert caught.value.exit_code == 7
    found: list[Backup] = Repository(tmp_path / "backups").backups()
    assert [backup.good for backup in found] == [True]


def test_a_second_run_at_the_same_time_tells_nobody(little: Target, tmp_path: Path, listener: Listener) -> None:
    with Repository(tmp_path / "backups").locked("the first"), pytest.raises(BackupRunning):
        run(little, tmp_path, Hooks(heartbeat=listener.url))
    assert listener.heard == []


@pytest.mark.parametrize(
    "section", [{"before": 1}, {"after": [""]}, {"after": [["a"]]}, {"heartbeat": "hc-ping.com/x"}]
)
def test_a_setting_that_is_none_is_named(section: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=next(iter(section))):
        hooks_of(section, None, tmp_path, "pliers-db.toml")


def test_the_log_is_rotated_and_its_size_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pliers_db.backup.journal._LARGEST", 100)
    for number in range(12):
        Journal(tmp_path / "nightly.log", SILENT).info(f"run {number} " + "x" * 100)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["nightly.log", *(f"nightly.log.{n}" for n in range(1, 6))]
    assert "run 11" in files[0].read_text()
    assert "run 6" in files[5].read_text()
