"""``pliers-db migrate import``: coming from another tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from pliers_db.cli.migrate.options import DirOption, WaitOption
from pliers_db.units import format_count

if TYPE_CHECKING:
    from pliers_db.migrate.importing import ImportPlan

# The names of pliers_db.migrate.importing.Tool, which would import psycopg.
From = Literal["dbmate", "golang-migrate", "flyway", "diesel", "goose", "sqitch", "supabase"]


def import_(
    folder: Annotated[Path, typer.Argument(help="The other tool's migrations; for sqitch the project's folder.")],
    source: Annotated[
        From | None, typer.Option("--from", help="Whose they are; default: as the files show.", show_default=False)
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table", metavar="[SCHEMA.]NAME", help="Its history, if it is in another place.", show_default=False
        ),
    ] = None,
    forget_missing: Annotated[
        bool, typer.Option("--forget-missing", help="Go on without versions that are applied and have no file.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    directory: DirOption = None,
    wait: WaitOption = 60.0,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take over another tool's migrations: its folder becomes ours, and what it applied is on record here.

    Reads dbmate, golang-migrate, Flyway, diesel, goose, sqitch and Supabase. Their folder and table stay as they are.
    """
    from pliers_db.migrate import Options
    from pliers_db.migrate.importing import Tool, import_folder

    settings, console = resolve(env, database_url), Console(quiet=quiet)
    if not dry_run:
        announce(console, settings)
    with open_database(settings, "migrate import") as database:
        plan = import_folder(
            database,
            folder,
            directory or settings.project.migrations,
            tool=Tool(source) if source else None,
            table=table,
            forget_missing=forget_missing,
            dry_run=dry_run,
            options=Options(wait=wait),
            reporter=console,
        )
    for note in plan.notes:
        console.warn(note)
    if json:
        emit_json({"target": str(settings.target), "dry_run": dry_run, **_document(plan)})
    else:
        _tell(plan, dry_run)


def _tell(plan: ImportPlan, dry_run: bool) -> None:
    from pliers_db.migrate.importing import Fate

    rows = [
        (
            item.migration.id,
            "new" if item.new else "there",
            item.fate,
            f"{item.at:%Y-%m-%d %H:%M:%S}Z" if item.at else "",
        )
        for item in plan.items
    ]
    emit_table(("MIGRATION", "FILE", "DATABASE", "APPLIED AT"), rows)
    counts = ", ".join(f"{len(found)} {fate}" for fate in Fate if (found := plan.of(fate)))
    history = f"as {plan.table} says" if plan.table else "this database has no history of it"
    emit(f"{plan.tool}: {format_count(len(plan.items), 'migration')}, {counts} ({history})")
    if plan.empty:
        emit("Nothing to do.")
    else:
        verb = "Would write" if dry_run else "Wrote"
        emit(f"{verb} {format_count(len(plan.files), 'file')} and {format_count(len(plan.marks), 'record')}.")


def _document(plan: ImportPlan) -> dict[str, Any]:
    return {
        "from": plan.tool,
        "folder": str(plan.target),
        "history": plan.table,
        "files": list(plan.files),
        "records": len(plan.marks),
        "migrations": [
            {
                "id": item.migration.id,
                "version": item.migration.version,
                "source": str(item.migration.path),
                "new": item.new,
                "database": item.fate,
                "applied_at": item.at.isoformat() if item.at else None,
            }
            for item in plan.items
        ],
        "notes": list(plan.notes),
    }
