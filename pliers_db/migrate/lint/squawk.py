"""squawk, asked as a program: which of its rules a file breaks.

It is run in a folder of its own on numbered copies: a migrations folder with ``[`` in its name would be a pattern to
it, and a ``.squawk.toml`` of the project would change what it looks for without a word.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pliers_db.errors import LintToolFailed
from pliers_db.migrate.lint.rules import NOT_HERE
from pliers_db.migrate.lint.source import Source

_PATIENCE = 120  # seconds; it takes some milliseconds a file
_INSTALL = "pip install 'squawk-cli>=2.70'"


@dataclass(frozen=True, slots=True)
class Remark:
    """One finding as squawk tells it."""

    rule: str
    offset: int
    """In characters."""
    message: str
    help: str


def find_squawk() -> str:
    """The program: beside this Python, else on PATH.

    :raises LintToolFailed: it is not there.
    """
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = shutil.which("squawk", path=path)
    if found is None:
        raise LintToolFailed(
            "squawk is not installed: nothing was examined",
            why="lint asks squawk for most of what can lock a table; without it, silence would look like a pass.",
            fix=_INSTALL,
        )
    return found


@cache
def version(program: str) -> str:
    """``2.70.0``."""
    return _run([program, "--version"], Path.cwd()).stdout.strip().rpartition(" ")[2]


def ask(
    program: str, sources: Sequence[Source], *, postgres: int, include: Collection[str] = ()
) -> list[tuple[Source, Remark]]:
    """What squawk says of files.

    :param postgres: the major version to judge for.
    :param include: rules that are silent unless asked for.
    :raises LintToolFailed: it crashed, or gave an answer that is none.
    """
    found: list[tuple[Source, Remark]] = []
    for transactional in (True, False):
        chosen = [s for s in sources if s.transactional is transactional]
        if chosen:
            found += _ask(program, chosen, transactional, postgres, include)
    return found


def _ask(
    program: str, sources: Sequence[Source], transactional: bool, postgres: int, include: Collection[str]
) -> Iterator[tuple[Source, Remark]]:
    with tempfile.TemporaryDirectory(prefix="pliers-lint-") as name:
        folder = Path(name)
        config = folder / "none.toml"
        config.touch()
        for number, source in enumerate(sources):
            (folder / f"{number}.sql").write_text(source.text, encoding="utf-8", newline="")
        command = [program, "--reporter", "json", "--config", str(config), "--pg-version", f"{postgres}.0"]
        command += ["--exclude", ",".join(n for n in NOT_HERE if n != "unused-ignore")]
        if include:
            command += ["--include", ",".join(sorted(include))]
        if transactional:
            command.append("--assume-in-transaction")
        answer = _run([*command, "*.sql"], folder)
    for item in _read(answer):
        if item["rule_name"] == "unused-ignore":  # squawk has no switch for it
            continue
        source = sources[int(Path(item["file"]).stem)]
        offset = source.offset(int(item["line"]), int(item["column"]))
        yield source, Remark(item["rule_name"], offset, item["message"], item["help"] or "")


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LintToolFailed("squawk cannot be run: nothing was examined", why=str(error), fix=_INSTALL) from error


def _read(answer: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """:raises LintToolFailed: no list of findings, or one that its exit code contradicts (1: findings, 0: none)."""
    try:
        found = json.loads(answer.stdout)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, list) or answer.returncode != (1 if found else 0):
        said = " ".join((answer.stderr or answer.stdout).split())[:500]
        raise LintToolFailed(
            "squawk has failed: nothing was examined",
            why=f"It ended with exit code {answer.returncode}: {said or 'no message'}",
            fix=f"{_INSTALL} (2.70 is the version that pliers-db was tried with)",
        )
    return found
