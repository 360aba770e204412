"""``pliers-db migrate diff``: a draft of what would turn one database into another."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pliers_db.cli.console import Console, emit, emit_json
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, QuietOption, UrlOption, open_database, resolve
from pliers_db.cli.migrate.drift import ScratchOption, scratch_target
from pliers_db.cli.migrate.options import DirOption, folder_of
from pliers_db.errors import InputError
from pliers_db.units import format_count

if TYPE_CHECKING:
    from pliers_db.config import Settings
    from pliers_db.migrate.create import NewMigration
    from pliers_db.migrate.draft import Draft, Side

_SIDES = "live (the database), migrations (what the files build), or a URL."


def diff(
    start: Annotated[str, typer.Option("--from", help=_SIDES)] = "migrations",
    goal: Annotated[str, typer.Option("--to", help="The same.")] = "live",
    write: Annotated[bool, typer.Option("--write", help="Write it as a new migration, with its rollback.")] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the new migration: add_users.", show_default=False)
    ] = None,
    scratch: ScratchOption = None,
    directory: DirOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Draft the migration that turns one schema into another, tried on a scratch server. Only reads the databases.

    Exit code 1 if something is left to be written by hand; each such thing is listed, and stands in the draft.
    """
    from pliers_db.migrate.draft import make_draft

    if write != (name is not None):
        raise InputError(
            "--write and --name belong together",
            why="A migration needs a name, and a name is for nothing else.",
            fix="pliers-db migrate diff --write --name what_it_does",
        )
    if start == goal:
        raise InputError(f"--from and --to are both {start}", why="There is nothing to compare.", fix=f"Use {_SIDES}")
    settings, console = resolve(env, database_url), Console(quiet=quiet)
    folder = folder_of(settings, directory) if "migrations" in (start, goal) else None
    with ExitStack() as stack:
        draft = make_draft(
            _side(start, "--from", settings, stack),
            _side(goal, "--to", settings, stack),
            folder,
            scratch=scratch_target(scratch),
            reporter=console,
        )
    made = None
    if name is not None and (draft.up.statements or draft.up.by_hand):
        from pliers_db.migrate import create

        made = create(
            directory or settings.project.migrations, name, sql=draft.text(), rollback_sql=draft.rollback_text()
        )
    if json:
        emit_json(_document(draft, made))
    else:
        _tell(draft, made, console)
    if not draft.proved:
        raise typer.Exit(1)


def _side(word: str, option: str, settings: Settings, stack: ExitStack) -> Side:
    from pliers_db.config import parse_url
    from pliers_db.migrate.draft import Side

    if word == "migrations":
        return Side("the migrations", None)
    if word == "live":
        return Side(str(settings.target), stack.enter_context(open_database(settings, "migrate diff")))
    if "://" not in word and "=" not in word:
        raise InputError(f"{option} {word}: there is no such side", why=f"Known are {_SIDES}", fix=f"{option} live")
    other = settings.with_target(parse_url(word, option))
    return Side(str(other.target), stack.enter_context(open_database(other, "migrate diff")))


def _tell(draft: Draft, made: NewMigration | None, console: Console) -> None:
    if not draft.differences:
        emit(f"{draft.start} and {draft.goal} do not differ: nothing to draft.")
        return
    if made is None:
        emit(draft.text().rstrip())
        console.info("The draft was not written; with its rollback: --write --name NAME")
    else:
        for path in filter(None, (made.path, made.rollback_path)):
            emit(_relative(path))
    count = format_count(len(draft.differences), "difference")
    if draft.proved:
        console.info(f"{count}; tried on PostgreSQL {draft.server}: the draft makes the first equal to the second")
        return
    console.warn(f"{count}; {format_count(len(draft.up.by_hand), 'thing')} to be written by hand")
    if made is not None:
        for line in draft.up.by_hand:
            emit(f"by hand: {line.partition(chr(10))[0]}")


def _relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _document(draft: Draft, made: NewMigration | None) -> dict[str, Any]:
    return {
        "from": draft.start,
        "to": draft.goal,
        "differences": [{**d.as_dict(), "text": str(d)} for d in draft.differences],
        "proved": draft.proved,
        "sql": draft.text() if draft.differences else "",
        "rollback_sql": draft.rollback_text() if draft.differences else "",
        "by_hand": list(draft.up.by_hand),
        "rollback_by_hand": list(draft.down.by_hand),
        "path": str(made.path) if made else None,
        "rollback_path": str(made.rollback_path) if made else None,
        "server_version": draft.server,
    }
