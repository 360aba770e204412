"""``pliers-db config``: what the settings are, where they come from, and what is wrong with them."""

from __future__ import annotations

from dataclasses import asdict

import typer

from pliers_db.cli.console import emit, emit_json, emit_table, paint
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, UrlOption

app = typer.Typer(help="Show where each setting comes from.", no_args_is_help=True)


@app.command()
def show(
    env: EnvOption = None, database_url: UrlOption = None, json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Each setting with its value and its source, secrets masked. Needs no database."""
    from pliers_db.config import load_settings
    from pliers_db.config.describe import describe

    settings = load_settings(env=env, database_url=database_url)
    described = describe(settings)
    if json:
        emit_json(
            {
                "environment": settings.environment,
                "target": str(settings.target) if settings.target else None,
                "embedded": settings.embedded,
                "settings": [asdict(setting) for setting in described],
            }
        )
        return
    emit_table(("SETTING", "VALUE", "SOURCE"), [(s.name, s.value or "-", s.source) for s in described])


@app.command()
def check(
    env: EnvOption = None, database_url: UrlOption = None, json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Look for contradictions and mistakes, without a database. Exit 1: findings; 2: errors."""
    from pliers_db.config.check import Level, check_settings

    report = check_settings(env=env, database_url=database_url)
    errors, warnings = report.count(Level.ERROR), report.count(Level.WARNING)
    if json:
        emit_json(
            {
                "environment": report.environment,
                "ok": not errors and not warnings,
                "errors": errors,
                "warnings": warnings,
                "findings": [asdict(finding) for finding in report.findings],
            }
        )
    else:
        colours = {Level.ERROR: "red", Level.WARNING: "yellow", Level.NOTE: "blue"}
        for finding in report.findings:
            emit(f"{paint(f'{finding.level}:', colours[finding.level])} {finding.message}")
            for label, text in (("why", finding.why), ("fix", finding.fix)):
                if text:
                    emit(f"  {label}: {text}")
        if not errors and not warnings:
            emit(f"The settings for {report.environment} are in order.")
    if errors or warnings:
        raise typer.Exit(2 if errors else 1)
