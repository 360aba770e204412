"""Giving the schedule to cron or systemd; all or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pliers_db.backup.files import write_atomic
from pliers_db.backup.schedule import Schedule
from pliers_db.errors import ScheduleFailed

_PATIENCE = 60  # seconds for crontab or systemctl


def install_cron(schedule: Schedule) -> str:
    """Put our lines into the account's crontab, in place of older ones of ours.

    :returns: where they stand.
    :raises ScheduleFailed: there is no cron, or it refuses; the crontab is as it was.
    """
    before = _run(["crontab", "-l"])
    if before.returncode and "no crontab" not in before.stderr:
        raise _failed("cron does not show the crontab", before)
    written = _run(["crontab", "-"], schedule.crontab(before.stdout if before.returncode == 0 else ""))
    if written.returncode:
        raise _failed("cron does not take the line", written)
    return "crontab -l shows it"


def install_systemd(schedule: Schedule, folder: Path | None = None) -> str:
    """Write the units and start the timer: root's for the machine, others' for their account.

    :param folder: where the units are written; default: where systemd looks.
    :returns: what to type to see it.
    :raises ScheduleFailed: there is no systemd, or it refuses; the units are as they were.
    """
    user = [] if os.geteuid() == 0 else ["--user"]
    place = folder or _unit_folder()
    texts = {place / f"{schedule.name}.service": schedule.service(), place / f"{schedule.name}.timer": schedule.timer()}
    before = {file: file.read_text(encoding="utf-8") if file.is_file() else None for file in texts}
    place.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        write_atomic(file, text, 0o644)
    for command in (["daemon-reload"], ["enable", "--now", f"{schedule.name}.timer"]):
        done = _run(["systemctl", *user, *command])
        if done.returncode:
            for file, old in before.items():
                if old is None:
                    file.unlink(missing_ok=True)
                else:
                    write_atomic(file, old, 0o644)
            raise _failed("systemd does not take the timer", done)
    return f"systemctl {'--user ' if user else ''}list-timers {schedule.name}.timer"


def _unit_folder() -> Path:
    if os.geteuid() == 0:
        return Path("/etc/systemd/system")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _run(command: Sequence[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command[0])
    if program is None:
        raise ScheduleFailed(
            f"There is no {command[0]} here",
            why="Nothing was installed.",
            fix="Print it, and give it to what runs programs on this machine: pliers-db backup schedule --print cron",
        )
    return subprocess.run(
        [program, *command[1:]],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
        env={**os.environ, "LC_ALL": "C"},
    )


def _failed(what: str, done: subprocess.CompletedProcess[str]) -> ScheduleFailed:
    return ScheduleFailed(
        f"{what}; it is as it was",
        why=done.stderr.strip() or f"It ended with {done.returncode}.",
        fix="pliers-db backup schedule --print shows what would have been installed.",
    )
