"""Having the machine run ``backup nightly``: lines for cron, units for systemd. Pure; `install` writes them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path

from pliers_db.errors import BadSetting

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_SPREAD = 300  # seconds; so that all machines of a company do not begin at once


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is to be run, where, and when."""

    root: Path
    """The project's folder."""
    environment: str
    at: time
    """Each day, in the machine's time zone."""
    program: Sequence[str]
    """The absolute path of the interpreter, and what makes it run us."""
    arguments: Sequence[str] = ()
    """Further ones for ``backup nightly``."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the environment: cron's is nearly empty. No secrets: others may read these texts."""

    @property
    def name(self) -> str:
        """The name of the units: ``pliers-db-shop-production``."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.root.name.lower()).strip("-") or "project"
        return f"pliers-db-{slug}-{self.environment}"

    @property
    def mark(self) -> str:
        """The comment that stands before cron's line, by which it is known again."""
        return f"# pliers-db backup nightly: {self.root} ({self.environment})"

    def _command(self) -> list[str]:
        return [*self.program, "backup", "nightly", *self.arguments]

    def _variables(self) -> dict[str, str]:
        return {"PLIERS_ENV": self.environment, **self.variables}

    def cron(self) -> str:
        """Two lines of a crontab."""
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in self._variables().items())
        line = f"cd {shlex.quote(str(self.root))} && {variables} {shlex.join(self._command())}"
        # cron makes a line end of %.
        return f"{self.mark}\n{self.at.minute} {self.at.hour} * * *  {line.replace('%', chr(92) + '%')}\n"

    def crontab(self, before: str) -> str:
        """A whole crontab with our lines in it, in place of those that stand there already."""
        lines = before.splitlines()
        while self.mark in lines:
            place = lines.index(self.mark)
            del lines[place : place + 2]
        return "".join(f"{line}\n" for line in lines) + self.cron()

    def service(self) -> str:
        """``<name>.service`` of systemd."""
        variables = "".join(f"Environment={_systemd(f'{name}={value}')}\n" for name, value in self._variables().items())
        return (
            "[Unit]\n"
            f"Description=Back up {_specifiers(str(self.root))} ({self.environment})\n"
            "After=network-online.target\n"
            "Wants=network-online.target\n"
            "\n"
            "[Service]\n"
            "Type=oneshot\n"
            f"WorkingDirectory={_specifiers(str(self.root))}\n"
            f"{variables}"
            f"ExecStart={' '.join(map(_systemd, self._command()))}\n"
            "UMask=0077\n"
            "Nice=10\n"
        )

    def timer(self) -> str:
        """``<name>.timer`` of systemd; a run that was missed is caught up on."""
        return (
            "[Unit]\n"
            f"Description=Back up {_specifiers(str(self.root))} ({self.environment}) each day\n"
            "\n"
            "[Timer]\n"
            f"OnCalendar=*-*-* {self.at:%H:%M}:00\n"
            f"RandomizedDelaySec={_SPREAD}\n"
            "Persistent=true\n"
            "\n"
            "[Install]\n"
            "WantedBy=timers.target\n"
        )


def parse_time(text: str) -> time:
    """Read ``02:10``.

    :raises BadSetting: it is none.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise BadSetting(f"The time is {text!r}", why="Hours and minutes are expected.", fix="Write --at 02:10.")
    return time(int(found[1]), int(found[2]))


def _systemd(text: str) -> str:
    """One word of a systemd unit: quoted, and nothing in it expanded."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_specifiers(escaped)}"' if re.search(r"""[\s"'\\;$%]""", text) else text


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")
