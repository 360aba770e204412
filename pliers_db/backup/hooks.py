"""Telling others how a nightly run goes: a heartbeat, and commands or webhooks before and after it.

The heartbeat is that of healthchecks.io and its likes: ``URL/start``, then ``URL``, or ``URL/fail`` with the reason as
the body. It never makes a backup fail.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from pliers_db.backup.repository import Backup
from pliers_db.errors import BackupFailed, BadSetting, HookFailed, PliersError
from pliers_db.log import redact
from pliers_db.progress import SILENT, Reporter

_TRIES = 3
_REQUEST = 10.0  # seconds for one request
_PAUSE = 1.0  # seconds before the second try; twice as many before the third
_COMMAND = 600.0  # seconds that a command may take
_SHOWN = 300  # letters of what a command has said


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who is told. A hook is a command for ``sh``, or a URL that gets a JSON document by POST."""

    heartbeat: str | None = None
    before: tuple[str, ...] = ()
    """If one fails, no backup is made."""
    after: tuple[str, ...] = ()
    """After success and failure alike."""
    folder: Path = Path("/")
    """Where commands run: the project's."""


NONE = Hooks()


@dataclass(slots=True)
class Outcome:
    """What there is to tell at the end."""

    database: str
    backup: Backup | None = None
    failure: str = ""
    """Empty: it went well."""

    def as_dict(self, event: str) -> dict[str, Any]:
        """The document of a webhook."""
        manifest = self.backup.manifest if self.backup else None
        return {
            "event": event,
            "status": "failure" if self.failure else "running" if event == "before" else "success",
            "database": self.database,
            "id": self.backup.id if self.backup else None,
            "path": str(self.backup.path) if self.backup else None,
            "size_bytes": manifest.size_bytes if manifest else None,
            "rows": manifest.contents.rows if manifest else None,
            "proved": self.backup.proved if self.backup else None,
            "failure": self.failure or None,
        }


def hooks_of(section: Mapping[str, Any], heartbeat: str | None, folder: Path, where: str) -> Hooks:
    """Read ``before``, ``after`` and ``heartbeat`` of ``[tool.pliers-db.backup]``.

    :param heartbeat: the environment's, which goes first.
    :param where: the settings file, for errors.
    :raises BadSetting: a value is not what it should be.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in ("before", "after"):
        value = section.get(name, [])
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(each, str) and each for each in texts):
            raise BadSetting(
                f"backup.{name} is {value!r} ({where})",
                why="A command, a URL, or a list of these is expected.",
                fix=f'Write {name} = "logger backup".',
            )
        found[name] = tuple(texts)
    url = heartbeat or section.get("heartbeat")
    if url is not None and not (isinstance(url, str) and _is_url(url)):
        raise BadSetting(
            "The heartbeat is no URL" if heartbeat else f"backup.heartbeat is no URL ({where})",
            why="https://… is expected.",
            fix="Write it into PLIERS_HEARTBEAT, in .env.production for example.",
        )
    return Hooks(url, found["before"], found["after"], folder)


@contextmanager
def announced(hooks: Hooks, database: str, reporter: Reporter = SILENT) -> Iterator[Outcome]:
    """Tell that the block begins, and how it has ended.

    :raises BackupFailed: a hook before it failed; the block was not entered.
    :raises HookFailed: a hook after it failed, though the block went well.
    """
    outcome, run = Outcome(database), uuid4().hex
    _beat(hooks, "/start", run, "", reporter)
    try:
        for hook in hooks.before:
            if problem := _call(hook, hooks.folder, outcome.as_dict("before")):
                raise BackupFailed("A hook failed, so no backup was made", why=problem, fix="Mend it: backup.before.")
        yield outcome
    except BaseException as error:
        outcome.failure = redact(_words(error))
        _beat(hooks, "/fail", run, outcome.failure, reporter)
        for hook in hooks.after:
            if problem := _call(hook, hooks.folder, outcome.as_dict("after")):
                reporter.warn(problem)
        raise
    _beat(hooks, "/fail" if outcome.failure else "", run, outcome.failure, reporter)
    problems = [_call(hook, hooks.folder, outcome.as_dict("after")) for hook in hooks.after]
    if any(problems):
        made = outcome.backup.id if outcome.backup else "The backup"
        raise HookFailed(
            f"{made} is made, but a hook after it failed", why="\n".join(filter(None, problems)), fix="backup.after"
        )


def _words(error: BaseException) -> str:
    if isinstance(error, PliersError):
        return ". ".join(filter(None, [error.message, error.why]))
    return "Interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


def _beat(hooks: Hooks, end: str, run: str, body: str, reporter: Reporter) -> None:
    if hooks.heartbeat is None:
        return
    parts = urlsplit(hooks.heartbeat)
    query = f"{parts.query}&rid={run}" if parts.query else f"rid={run}"
    url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + end, query=query))
    if problem := _post(url, body.encode()[:10_000], "text/plain; charset=utf-8"):
        reporter.warn(f"The heartbeat was not taken: {problem}")


def _call(hook: str, folder: Path, document: dict[str, Any]) -> str:
    """:returns: what went wrong; empty if nothing did."""
    if _is_url(hook):
        problem = _post(hook, json.dumps(document).encode(), "application/json")
        return f"The webhook {_host(hook)} failed: {problem}" if problem else ""
    values = {f"PLIERS_BACKUP_{name.upper()}": str(value) for name, value in document.items() if value is not None}
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", hook],
            cwd=folder,
            env={**os.environ, **values},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_COMMAND,
        )
    except subprocess.TimeoutExpired:
        return f"The hook {redact(hook)!r} did not end within {_COMMAND:g} s"
    if done.returncode == 0:
        return ""
    said = redact(" ".join(done.stdout.decode(errors="replace").split())[-_SHOWN:])
    return f"The hook {redact(hook)!r} ended with {done.returncode}{': ' if said else ''}{said}"


def _post(url: str, body: bytes, kind: str) -> str:
    """:returns: what went wrong, without the URL (it may be a secret); empty if nothing did."""
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE * attempt)
        request = urllib.request.Request(url, data=body, headers={"Content-Type": kind, "User-Agent": "pliers-db"})
        try:
            with urllib.request.urlopen(request, timeout=_REQUEST) as answer:
                answer.read(1024)
            return ""
        except urllib.error.HTTPError as error:
            error.close()
            problem = f"{_host(url)} answered {error.code}"
            if error.code < 500 and error.code != 429:
                break  # asking again would not help
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            problem = f"{_host(url)}: {reason}"
    return problem


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://")) and bool(urlsplit(text).hostname)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "?"
