"""``pliers-db backup``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from pliers_db.cli.group import COMMANDS
from pliers_db.errors import PliersError
from pliers_db.units import format_count, format_duration, format_size

if TYPE_CHECKING:
    from pliers_db.backup import Backup

app = typer.Typer(help=COMMANDS["backup"], no_args_is_help=True)

LabelOption = Annotated[str, typer.Option("--label", help="A word of yours, shown in the list.", show_default=False)]
WaitOption = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for a running migration or a locked table.", min=0)
]


@app.command()
def nightly(
    label: LabelOption = "",
    wait: WaitOption = 60.0,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a backup, then remove old ones by the retention rules; for cron.

    Without a terminal it is silent on success and writes one line on failure.
    """
    from pliers_db.backup import Repository, nightly_backup, retention_of

    cron = not sys.stderr.isatty()
    try:
        settings = resolve(env, database_url)
        console = Console(quiet=quiet or cron)
        announce(console, settings)
        project = settings.project
        rules = retention_of(project.section("backup"), str(project.config_file or "the defaults"))
        with open_database(settings, "backup nightly") as database:
            done = nightly_backup(
                database, Repository(project.backups), rules, label=label, wait=wait, reporter=console
            )
    except PliersError as error:
        if cron and not json:
            _fold(error)
        raise
    if json:
        emit_json(
            {
                "backup": _row(done.backup),
                "removed": [{"id": verdict.id, "reason": verdict.reason} for verdict in done.removed],
                "broken": [{"id": backup.id, "problem": backup.problem} for backup in done.broken],
            }
        )
    elif not console.quiet:
        emit(_told(done.backup))
    for backup in done.broken:
        console.warn(f"Backup {backup.id} is damaged: {backup.problem} ({backup.path})")


@app.command()
def create(
    label: LabelOption = "",
    wait: WaitOption = 60.0,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a backup; nothing is removed."""
    from pliers_db.backup import Repository, create_backup

    settings = resolve(env, database_url)
    console = Console(quiet=quiet)
    announce(console, settings)
    with open_database(settings, "backup create") as database:
        made = create_backup(database, Repository(settings.project.backups), label=label, wait=wait, reporter=console)
    if json:
        emit_json(_row(made))
    else:
        emit(_told(made))


@app.command("list")
def list_backups(
    every: Annotated[bool, typer.Option("--all", help="Of every database, not only of the configured one.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Read every byte and compare its SHA-256.")] = False,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the backups, newest first; no server is needed.

    A backup is good when its manifest fits its own checksum and every file has its recorded size; with --check, its
    recorded SHA-256. Exit code 1 if one is broken.
    """
    from pliers_db.backup import Repository
    from pliers_db.config import load_settings

    settings = load_settings(env=env, database_url=database_url)
    name = None if every else settings.target.dbname if settings.target else settings.embedded_database
    repository = Repository(settings.project.backups)
    found = repository.backups(name)
    if check:
        found = [repository.checked(backup, Console(quiet=quiet)) for backup in found]
    if json:
        emit_json({"folder": str(repository.root), "database": name, "backups": [_row(backup) for backup in found]})
    elif not found:
        others = sorted({backup.database for backup in repository.backups()})
        emit(f"No backup of {name or 'any database'} in {repository.root}.")
        if others:
            emit(f"It has backups of {', '.join(others)}: pliers-db backup list --all")
    else:
        emit_table(
            ("ID", "DATABASE", "STATE", "AGE", "SIZE", "ROWS", "SERVER", "LABEL"),
            [_cells(backup) for backup in found],
            right=(3, 4, 5),
        )
        for backup in found:
            if not backup.good:
                emit(f"{backup.id} is broken: {backup.problem}")
    if not all(backup.good for backup in found):
        raise typer.Exit(1)


def _fold(error: PliersError) -> None:
    """One line for cron's mail."""
    parts = [error.message, " ".join(error.why.split()), error.fix]
    error.message = "backup nightly: " + ". ".join(part.rstrip(".") for part in parts if part) + "."
    error.why = error.fix = ""


def _told(backup: Backup) -> str:
    manifest = backup.manifest
    assert manifest is not None
    contents = manifest.contents
    took = (manifest.finished_at - manifest.started_at).total_seconds()
    return (
        f"Backed up {backup.database} as {backup.id}: {format_count(len(contents.tables), 'table')}, "
        f"{format_count(contents.rows, 'row')}, {format_size(manifest.size_bytes)} in {format_duration(took)}"
    )


def _age(backup: Backup) -> float:
    return (datetime.now(UTC) - backup.taken_at).total_seconds()


def _cells(backup: Backup) -> tuple[str, ...]:
    manifest = backup.manifest
    state = "good" if backup.good else "broken"
    if manifest is None:
        return (backup.id, backup.database, state, format_duration(_age(backup)), "", "", "", "")
    return (
        backup.id,
        backup.database,
        state,
        format_duration(_age(backup)),
        format_size(manifest.size_bytes),
        f"{manifest.contents.rows:,}",
        manifest.source.server_version.split()[0],
        manifest.label,
    )


def _row(backup: Backup) -> dict[str, Any]:
    manifest = backup.manifest
    row: dict[str, Any] = {
        "id": backup.id,
        "database": backup.database,
        "state": "good" if backup.good else "broken",
        "problem": backup.problem or None,
        "taken_at": backup.taken_at,
        "age_seconds": round(_age(backup)),
        "path": str(backup.path),
    }
    if manifest is not None:
        row |= {
            "finished_at": manifest.finished_at,
            "size_bytes": manifest.size_bytes,
            "tables": len(manifest.contents.tables),
            "rows": manifest.contents.rows,
            "server_version": manifest.source.server_version,
            "environment": manifest.source.environment,
            "migrations": len(manifest.source.migrations),
            "compression": manifest.client.compression,
            "label": manifest.label,
        }
    return row
