"""``pliers-db seed``: fill a database with the data of its environment."""

from __future__ import annotations

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
from pliers_db.units import format_count, format_duration

if TYPE_CHECKING:
    from pliers_db.seed import Outcome

app = typer.Typer(help="Fill a database with the data of its environment.")

UpdateOption = Annotated[bool, typer.Option("--update", help="Bring rows that were changed since back to the seeds.")]


@app.callback(invoke_without_command=True)
def _seed(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    update: UpdateOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Fill a database with the data of its environment.

    Without a subcommand: the same as `run`.
    """
    if ctx.invoked_subcommand is None:
        _run(ctx, dry_run=False)


@app.command()
def run(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    update: UpdateOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Add the rows that are missing, all or none; run again, it changes nothing."""
    _run(ctx, dry_run=False)


@app.command()
def plan(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare the seeds with the database and say what `run` would do; write nothing."""
    _run(ctx, dry_run=True)


def _run(ctx: typer.Context, *, dry_run: bool) -> None:
    from pliers_db import seed

    def given(name: str) -> Any:
        """An option may stand before the subcommand, too: ``seed --env test plan``."""
        return ctx.params.get(name) or (ctx.parent.params.get(name) if ctx.parent else None)

    console = Console(quiet=bool(given("quiet") or given("as_json")))
    settings = resolve(given("env"), given("database_url"))
    if not dry_run:
        announce(console, settings)
    with open_database(settings, "seed") as database:
        outcome = seed.run(database, settings, update=bool(given("update")), dry_run=dry_run, reporter=console)
    if given("as_json"):
        emit_json(outcome.as_dict())
    elif not given("quiet"):
        _show(outcome)


def _show(outcome: Outcome) -> None:
    """What each table got, what differs, and what it comes to."""
    added = "to add" if outcome.dry_run else "added"
    columns = ("table", "planned", "present", added, "changed", "kept")
    rows = [(t.table, t.planned, t.present, t.added, t.changed, t.kept) for t in outcome.tables]
    emit_table([column.upper() for column in columns], rows, right=range(1, len(columns)))
    for script in outcome.scripts:
        written = ", ".join(f"{table} {count}" for table, count in script.written.items())
        emit(f"{script.file}: {written or 'nothing written'}")
    for table in outcome.tables:
        for difference in table.differing if table.kept else ():
            emit(f"differs: {table.table}/{difference.row}: {', '.join(difference.columns)}")
    emit(_summary(outcome))


def _summary(outcome: Outcome) -> str:
    took = format_duration(outcome.seconds)
    if outcome.dry_run:
        return f"Plan: {format_count(outcome.added, 'row')} to add of {outcome.planned:,}; nothing was written ({took})"
    if not outcome.written:
        text = f"Nothing to do: all {format_count(outcome.planned, 'row')} are there ({took})"
    else:
        text = f"Added {format_count(outcome.added, 'row')}, changed {outcome.changed:,} ({took})"
    if outcome.kept == 1:
        text += "; 1 row differs from the seeds and was kept (--update brings it back)"
    elif outcome.kept:
        text += f"; {outcome.kept:,} rows differ from the seeds and were kept (--update brings them back)"
    return text
