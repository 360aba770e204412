"""``pliers-db migrate history``, ``repair`` and ``unlock``: the record of what was applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pliers_db.cli.confirm import ConfirmOption, with_confirmation
from pliers_db.cli.console import Console, emit, emit_json, emit_table
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
from pliers_db.cli.migrate.options import DirOption, WaitOption, folder_of
from pliers_db.errors import InputError

if TYPE_CHECKING:
    from pliers_db.migrate import Repair


def history(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many lines, the latest first.")] = 50,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what was done to this database, when and by whom. Reads only."""
    from pliers_db.migrate import read_log

    settings = resolve(env, database_url)
    with open_database(settings, "migrate history") as database:
        lines = read_log(database, limit)
    if json:
        emit_json(
            {
                "target": str(settings.target),
                "history": [
                    {
                        "id": line.id,
                        "operation": line.operation,
                        "at": line.at.isoformat() if line.at else None,
                        "username": line.username,
                        "hostname": line.hostname,
                        "ms": line.ms,
                    }
                    for line in lines
                ],
            }
        )
        return
    rows = [
        (
            f"{line.at:%Y-%m-%d %H:%M:%S}Z" if line.at else "",
            line.operation,
            line.id,
            f"{line.username}@{line.hostname}",
            "" if line.ms is None else f"{line.ms:.0f} ms",
        )
        for line in lines
    ]
    emit_table(("AT", "OPERATION", "MIGRATION", "BY", "TOOK"), rows, right=[4])


def repair(
    mark_applied: Annotated[
        str | None, typer.Option("--mark-applied", metavar="ID", help="Record it as applied, without running it.")
    ] = None,
    mark_pending: Annotated[
        str | None, typer.Option("--mark-pending", metavar="ID", help="Record it as not applied, undoing nothing.")
    ] = None,
    accept_edit: Annotated[
        str | None, typer.Option("--accept-edit", metavar="ID", help="Let its present text count as what was applied.")
    ] = None,
    forget: Annotated[
        str | None, typer.Option("--forget", metavar="ID", help="Drop the record of one whose file is gone.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="ID", help="Say at which statement a partial one goes on.")
    ] = None,
    statement: Annotated[
        int | None, typer.Option("--statement", min=1, help="For --resume: the statement's number, from 1.")
    ] = None,
    confirm_db: ConfirmOption = None,
    directory: DirOption = None,
    wait: WaitOption = 60.0,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Correct the record of one migration. Runs none of its SQL."""
    from pliers_db import migrate

    action, migration_id = _chosen(
        {
            migrate.Repair.MARK_APPLIED: mark_applied,
            migrate.Repair.MARK_PENDING: mark_pending,
            migrate.Repair.ACCEPT_EDIT: accept_edit,
            migrate.Repair.FORGET: forget,
            migrate.Repair.RESUME: resume,
        }
    )
    settings, console = resolve(env, database_url), Console(quiet=quiet)
    folder = folder_of(settings, directory)
    announce(console, settings)
    with open_database(settings, "migrate repair") as database:
        entry = with_confirmation(
            confirm_db,
            lambda confirm: migrate.repair(
                database,
                folder,
                action,
                migration_id,
                environment=settings.environment,
                statement=statement,
                confirm=confirm,
                options=migrate.Options(wait=wait),
                reporter=console,
            ),
        )
    if json:
        emit_json({"target": str(settings.target), "repair": action, "id": entry.id, "state": entry.state})
    else:
        emit(f"{entry.id}: {action}; it is {'forgotten' if action is migrate.Repair.FORGET else entry.state} now.")


def _chosen(given: dict[Repair, str | None]) -> tuple[Repair, str]:
    chosen = [(action, value) for action, value in given.items() if value]
    if len(chosen) != 1:
        raise InputError(
            "repair does one thing at a time" if chosen else "repair needs to know what to do",
            why=f"It takes one of {', '.join(f'--{action} ID' for action in given)}.",
            fix="pliers-db migrate status",
        )
    return chosen[0]


def unlock(
    terminate: Annotated[bool, typer.Option("--terminate", help="End the session that holds the lock.")] = False,
    confirm_db: ConfirmOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show who holds the lock of migrations, and remove it if its holder is dead."""
    from pliers_db import migrate

    settings, console = resolve(env, database_url), Console(quiet=quiet)
    announce(console, settings)
    with open_database(settings, "migrate unlock") as database:
        found = with_confirmation(
            confirm_db,
            lambda confirm: migrate.unlock(
                database, environment=settings.environment, terminate=terminate, confirm=confirm, reporter=console
            ),
        )
    if json:
        emit_json({"target": str(settings.target), "holder": found.holder, "removed": found.removed})
    else:
        emit(found.sentence)
