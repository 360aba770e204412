"""How a command ends: every error becomes a message and an exit code (DESIGN.md, "Exit codes")."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import time
import traceback
from io import TextIOWrapper
from shlex import quote
from typing import Any

import typer
from typer.main import get_command

from pliers_db.cli.console import emit_json
from pliers_db.errors import InputError, InterruptedByUser, PliersError, RefusedError, ServerError

INTERRUPTED = InterruptedByUser.exit_code


def run(app: typer.Typer) -> int:
    """Run the command line.

    :returns: the process's exit code.
    """
    for number in _REQUESTS:
        signal.signal(number, _interrupt)
    try:
        return _run(app)
    finally:
        for number in _REQUESTS:  # it is ending; what Python does from here on must not end in another code
            if signal.getsignal(number) is _interrupt:
                signal.signal(number, signal.SIG_IGN)


def _run(app: typer.Typer) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that is not UTF-8 must not turn a name into an error
            stream.reconfigure(errors="backslashreplace")
    try:
        # Not standalone: Typer would turn errors into exit codes of its own.
        answer = get_command(app).main(prog_name="pliers-db", standalone_mode=False)
    except PliersError as error:
        return _fail(error)
    except typer.Abort:
        return _fail(RefusedError("Not confirmed; nothing was done"))
    except KeyboardInterrupt:
        return _fail(InterruptedByUser())
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 1
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback reaches a user
        return _unforeseen(error)
    if answer == INTERRUPTED:  # Typer hides the KeyboardInterrupt behind this code
        return _fail(InterruptedByUser())
    return answer if isinstance(answer, int) else 0


_REQUESTS = (signal.SIGTERM, signal.SIGHUP)
_asked: list[float] = []
"""When the first request to end came."""


def _interrupt(number: int, frame: object) -> None:
    """Treat a request to end like Ctrl-C, once; a second one, a while later, ends at once."""
    if not _asked:
        _asked.append(time.monotonic())
        raise KeyboardInterrupt
    if time.monotonic() - _asked[0] > 1:  # timeout(1) asks the process and then its group: that is one request
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _unforeseen(error: Exception) -> int:
    """Errors that are not ours: bad usage, the driver's, and bugs."""
    if hasattr(error, "format_message") and hasattr(error, "show"):  # a usage error of Typer
        if not _json_wanted():
            error.show()
            return 2
        usage = InputError(error.format_message(), fix=f"{_command_path(error)} --help")
        return _fail(usage, code="usage")
    if type(error).__module__.startswith("psycopg"):
        return _fail(_from_driver(error), cause=error)
    if isinstance(error, OSError):
        return _fail(_from_system(error), cause=error)
    return _fail(
        PliersError(
            f"A bug in pliers-db: {type(error).__name__}: {error}",
            why=f"The traceback is in {_save_traceback(error)}.",
            fix="Please report it with that file.",
        ),
        cause=error,
    )


def _from_driver(error: Any) -> PliersError:
    """An error of the server that the core let through."""
    lines = " ".join(str(error).split())
    state = error.sqlstate or ""
    if state == "42501":
        return ServerError("The database role lacks a privilege", why=lines, fix="Grant it, or use another DB_USER.")
    if state == "57014" and "statement timeout" in lines:
        return ServerError("A statement took too long", why=lines, fix="Raise DB_STATEMENT_TIMEOUT.")
    if state in ("", "57P01", "57P02", "57P03") or state.startswith("08"):
        return ServerError(
            "The connection to the server was lost", why=lines, fix="Check the server, then run it again."
        )
    return ServerError("The server refused a statement", why=f"{lines} (SQLSTATE {state})")


def _from_system(error: OSError) -> PliersError:
    """A file, a folder or a disk that cannot be used, where the core did not foresee it."""
    where = str(error.filename or "")
    fixes = {
        errno.EACCES: f"Run as its owner, or correct owner and mode: ls -ld {quote(where)}",
        errno.EROFS: "Mount it writable, or set another folder in pliers-db.toml.",
        errno.ENOSPC: "Make room there: df -h",
        errno.EDQUOT: "Make room there: quota",
        errno.ENOTDIR: "Move away the file that stands where a folder should.",
        errno.EMFILE: "Raise the limit of open files: ulimit -n 4096",
    }
    fixes[errno.EPERM] = fixes[errno.EACCES]
    message = f"{where} cannot be used" if where else "The system refused something"
    return ServerError(
        message, why=f"{error.strerror or error}.", fix=fixes.get(error.errno or 0, "Run it again with --debug.")
    )


def _command_path(error: Any) -> str:
    return error.ctx.command_path if getattr(error, "ctx", None) else "pliers-db"


def _json_wanted() -> bool:
    return "--json" in sys.argv


def _fail(error: PliersError, *, code: str = "", cause: BaseException | None = None) -> int:
    from pliers_db.log import redact

    if _json_wanted():
        body = error.as_dict()
        body["code"] = code or body["code"]
        emit_json({"error": {key: redact(v) if isinstance(v, str) else v for key, v in body.items()}})
    else:
        lines = [f"error: {error.message}"]
        for label, text in (("why", error.why), ("fix", error.fix)):
            if text:
                lines.append(f"  {label}: " + text.strip().replace("\n", "\n       "))
        print(redact("\n".join(lines)), file=sys.stderr)  # noqa: T201
    if os.environ.get("PLIERS_DEBUG") or "--debug" in sys.argv:
        print(redact("".join(traceback.format_exception(cause or error))), file=sys.stderr)  # noqa: T201
    return error.exit_code


def _save_traceback(error: Exception) -> str:
    from pliers_db.log import redact

    text = redact("".join(traceback.format_exception(error)))
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    handle, path = tempfile.mkstemp(prefix=f"pliers-db-{stamp}-", suffix=".log")  # mkstemp: mode 0600
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return path
