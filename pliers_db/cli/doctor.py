"""``pliers-db doctor``."""

from __future__ import annotations

import typer

from pliers_db.cli.console import emit, emit_json, paint
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, UrlOption
from pliers_db.cli.group import COMMANDS
from pliers_db.errors import InputError

app = typer.Typer(help=COMMANDS["doctor"])

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "dim"}


@app.command(help=COMMANDS["doctor"])
def doctor(
    env: EnvOption = None, database_url: UrlOption = None, json: JsonOption = False, debug: DebugOption = False
) -> None:
    try:
        from pliers_db.health import CHECKS, diagnose
    except ImportError as error:  # what the doctor itself stands on
        raise InputError(
            f"A part of the installation is missing: {error}",
            why="The packages that pliers-db needs are not all there.",
            fix="pip install --force-reinstall pliers-db",
        ) from error
    found = diagnose(env, database_url, checks=CHECKS)
    if json:
        emit_json(found.as_dict())
    else:
        for rung in found.rungs:
            emit(f"{paint(f'{rung.outcome.value:<7}', _COLOURS[rung.outcome.value])}  {rung.name:<10}  {rung.message}")
            if rung.fix:
                emit(f"{'':<21}fix: {rung.fix}")
        emit(
            f"The first broken rung: {found.broken.name}"
            if found.broken
            else "Nothing is broken; pliers-db health tells more."
        )
    raise typer.Exit(found.exit_code)
