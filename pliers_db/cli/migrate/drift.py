"""``pliers-db migrate drift``: whether the database still is what its migrations made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pliers_db.cli.console import Console, emit, emit_json, paint
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, QuietOption, UrlOption, open_database, resolve
from pliers_db.cli.migrate.options import DirOption, folder_of
from pliers_db.units import format_count, format_duration

if TYPE_CHECKING:
    from pliers_db.config import Settings, Target
    from pliers_db.db import Database
    from pliers_db.migrate import Folder
    from pliers_db.migrate.drift import Drift
    from pliers_db.migrate.judgement import Judgement

ScratchOption = Annotated[
    str | None,
    typer.Option("--scratch", help="URL of a server to use instead of a scratch server.", show_default=False),
]


def drift(
    scratch: ScratchOption = None,
    directory: DirOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare the database with what its applied migrations build. Reads only: no lock, works on a standby.

    Exit code 1 if anything differs that drift.ignore does not accept. What could not be compared is told.
    """
    settings, console = resolve(env, database_url), Console(quiet=quiet)
    folder = folder_of(settings, directory)
    with open_database(settings, "migrate drift") as database:
        found = find_drift(database, folder, settings, console, scratch)
    if json:
        emit_json(drift_document(found, settings))
    else:
        tell_drift(found)
    if found.found:
        raise typer.Exit(1)


def find_drift(
    database: Database, folder: Folder, settings: Settings, console: Console, scratch: str | None = None
) -> Drift:
    """Compare the database with what its migrations build, as the project's settings have it."""
    from pliers_db.migrate.drift import drift as compare
    from pliers_db.migrate.judgement import read_ignores

    ignores = read_ignores(settings.project)
    return compare(database, folder, ignores=ignores, scratch=scratch_target(scratch), reporter=console)


def scratch_target(url: str | None) -> Target | None:
    """The server that ``--scratch`` names."""
    from pliers_db.config import parse_url

    return parse_url(url, "--scratch") if url is not None else None


def tell_judgement(judged: Judgement, unfinished: dict[str, str]) -> None:
    """Write what differs, what is accepted, and what could not be compared."""
    from pliers_db.migrate.judgement import sentence

    lines = [
        *(("differs", "red", sentence(d, unfinished)) for d in judged.differences),
        *(("ignored", "dim", f"{sentence(i.difference)} ({i.reason})") for i in judged.ignored),
        *(("remark", "yellow", text) for text in judged.remarks),
        *(("not compared", "yellow", text) for text in judged.not_compared),
    ]
    width = max((len(word) for word, _, _ in lines), default=0)
    for word, colour, text in lines:
        emit(f"{paint(word.ljust(width), colour)}  {text.replace(chr(10), chr(10) + ' ' * (width + 2))}")


def judgement_document(judged: Judgement, unfinished: dict[str, str]) -> dict[str, Any]:
    """The same for ``--json``."""
    from pliers_db.migrate.judgement import sentence

    return {
        "differences": [{**d.as_dict(), "text": sentence(d, unfinished)} for d in judged.differences],
        "ignored": [
            {**i.difference.as_dict(), "text": sentence(i.difference), "reason": i.reason} for i in judged.ignored
        ],
        "remarks": list(judged.remarks),
        "not_compared": list(judged.not_compared),
    }


def tell_drift(found: Drift) -> None:
    """Write what was found, and how it was looked for."""
    tell_judgement(found.judgement, found.unfinished)
    for note in found.notes:
        emit(f"note: {note}")
    count = len(found.judgement.differences)
    what = f"{format_count(found.migrations, 'applied migration')}"
    how = f"(PostgreSQL {found.server}, {format_duration(found.seconds)})"
    emit(f"{format_count(count, 'difference') if count else 'No difference'} from what {what} build {how}")


def drift_document(found: Drift, settings: Settings) -> dict[str, Any]:
    """The same for ``--json``."""
    return {
        "target": str(settings.target),
        "environment": settings.environment,
        "drift": found.found,
        **judgement_document(found.judgement, found.unfinished),
        "notes": list(found.notes),
        "migrations": found.migrations,
        "server_version": found.server,
        "seconds": round(found.seconds, 3),
    }
