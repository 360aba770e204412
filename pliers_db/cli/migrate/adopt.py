"""``pliers-db migrate baseline`` and ``dump-schema``: a database that is there, and its schema as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pliers_db.cli.confirm import ConfirmOption, with_confirmation
from pliers_db.cli.console import Console, emit, emit_json
from pliers_db.cli.context import (
    DebugOption,
    EnvOption,
    JsonOption,
    QuietOption,
    UrlOption,
    announce,
    open_database,
    resolve,
)
from pliers_db.cli.migrate.drift import ScratchOption, judgement_document, scratch_target, tell_judgement
from pliers_db.cli.migrate.options import DirOption, WaitOption, folder_of
from pliers_db.errors import InputError
from pliers_db.units import format_count


def baseline(
    at: Annotated[
        str | None, typer.Option("--at", metavar="ID", help="The migration at which it stands; default: the last.")
    ] = None,
    from_db: Annotated[
        bool, typer.Option("--from-db", help="Write its schema as the first migration. Only reads the database.")
    ] = False,
    scratch: ScratchOption = None,
    confirm_db: ConfirmOption = None,
    directory: DirOption = None,
    wait: WaitOption = 60.0,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Adopt an existing database: prove that it is what the migrations build, then record them as applied.

    Runs none of their SQL in it. If it is something else, the differences are listed and nothing is recorded.
    """
    from pliers_db.migrate import Options
    from pliers_db.migrate.baseline import adopt, write_first
    from pliers_db.migrate.judgement import read_ignores

    if from_db and at is not None:
        raise InputError(
            "--from-db and --at exclude each other",
            why="--from-db writes the first migration, --at names one that is there.",
            fix="pliers-db migrate baseline --from-db",
        )
    settings, console = resolve(env, database_url), Console(quiet=quiet)
    ignores, server = read_ignores(settings.project), scratch_target(scratch)
    if from_db:
        with open_database(settings, "migrate baseline") as database:
            first = write_first(
                database,
                directory or settings.project.migrations,
                ignores=ignores,
                scratch=server,
                reporter=console,
            )
        if json:
            emit_json(
                {
                    "target": str(settings.target),
                    "id": first.id,
                    "path": str(first.path),
                    "statements": first.statements,
                    **judgement_document(first.judgement, {}),
                    "server_version": first.server,
                }
            )
            return
        tell_judgement(first.judgement, {})
        emit(f"{first.path.name}: {format_count(first.statements, 'statement')}, builds the same on {first.server}.")
        emit("Read it, commit it, and record it as applied: pliers-db migrate baseline")
        return
    folder = folder_of(settings, directory)
    announce(console, settings)
    with open_database(settings, "migrate baseline") as database:
        done = with_confirmation(
            confirm_db,
            lambda confirm: adopt(
                database,
                folder,
                environment=settings.environment,
                at=at,
                ignores=ignores,
                scratch=server,
                confirm=confirm,
                options=Options(wait=wait),
                reporter=console,
            ),
        )
    if json:
        emit_json(
            {
                "target": str(settings.target),
                "environment": settings.environment,
                "marked": list(done.marked),
                **judgement_document(done.judgement, {}),
                "server_version": done.server or None,
            }
        )
        return
    tell_judgement(done.judgement, {})
    count = format_count(len(done.marked), "migration")
    emit(f"{count} recorded as applied: the database is what they build." if done.marked else "Nothing to record.")


def dump_schema(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 with a diff if the file is stale.")] = (
        False
    ),
    file: Annotated[
        Path | None, typer.Option("--file", help="Default: structure.sql in the project's root.", show_default=False)
    ] = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the schema of the database into structure.sql. Reads only; the same database gives the same file."""
    from pliers_db.migrate.structure import FILE, read_structure, write_structure

    settings = resolve(env, database_url)
    with open_database(settings, "migrate dump-schema") as database:
        found = read_structure(database, file or settings.project.root / FILE)
    if found.stale and not check:
        write_structure(found)
    diff = found.diff() if check else []
    if json:
        emit_json(
            {
                "target": str(settings.target),
                "path": str(found.path),
                "stale": found.stale,
                "written": found.stale and not check,
                "migrations": found.migrations,
                "diff": diff,
            }
        )
    elif check and found.stale:
        for line in diff:
            emit(line)
        emit(f"{found.path.name} is stale: pliers-db migrate dump-schema")
    elif not quiet:
        emit(f"{found.path.name} {'written' if found.stale else 'is as the database'}.")
    if check and found.stale:
        raise typer.Exit(1)
