"""``pliers-db up``: everything at once, for a fresh clone."""

from __future__ import annotations

from contextlib import suppress

import typer

from pliers_db.cli.console import Console, emit, emit_json, paint
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
from pliers_db.units import format_count

app = typer.Typer(help=COMMANDS["up"])


@app.command()
def up(
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """From nothing to a migrated, seeded, healthy database.

    Starts the embedded server if no database is configured, applies the pending migrations, loads the seeds (in
    development and test only), and prints the health report. Run again, it changes nothing. Exits as health does.
    """
    from pliers_db import health, migrate, seed
    from pliers_db.errors import NoSeeds

    console = Console(quiet=quiet or json)
    settings = resolve(env, database_url)
    announce(console, settings)
    folder = migrate.read_folder(settings.project.migrations)
    with open_database(settings, "up") as database:
        migrated = migrate.up(database, folder, environment=settings.environment, reporter=console)
        seeded: seed.Outcome | None = None
        if not settings.environment.protected:
            with suppress(NoSeeds):  # a project need not have any
                seeded = seed.run(database, settings, reporter=console)
    report = health.run_health(settings)
    if json:
        emit_json(
            {
                "target": str(settings.target),
                "environment": settings.environment,
                "applied": [done.id for done in migrated.applied],
                "seed": seeded and seeded.as_dict(),
                "health": report.as_dict(),
            }
        )
    elif not quiet or report.exit_code():
        emit(f"Migrations: {_done(len(migrated.applied), 'applied now', 'all were applied before')}")
        if seeded is None:
            why = (
                f"not loaded into {settings.environment}"
                if settings.environment.protected
                else f"there are none for {settings.environment}"
            )
            emit(f"Seeds: {why}")
        else:
            there = f"all {format_count(seeded.planned, 'row')} were there before"
            emit(f"Seeds: {_done(seeded.added, 'rows added', there)}")
        emit()
        emit(health.render_text(report, paint))
        if not quiet:
            _next(embedded=settings.project.data.joinpath("embedded").exists() and database_url is None)
    raise typer.Exit(report.exit_code())


def _done(count: int, now: str, before: str) -> str:
    return f"{count:,} {now}" if count else before


def _next(*, embedded: bool) -> None:
    steps = [
        ("pliers-db migrate new NAME", "write the next migration"),
        ("pliers-db backup nightly", "back it up; this line also goes into cron"),
        ("pliers-db restore latest", "bring that backup back"),
        ("pliers-db health", "the report above, for CI"),
    ]
    if embedded:
        steps += [("pliers-db server psql", "look inside"), ("pliers-db server stop", "stop the embedded server")]
    width = max(len(command) for command, _ in steps)
    emit()
    emit("Next:")
    for command, what in steps:
        emit(f"  {command:<{width}}  {what}")
