"""``pliers-db health``."""

from __future__ import annotations

from typing import Annotated

import typer

from pliers_db.cli.console import emit, emit_json, paint
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, UrlOption
from pliers_db.cli.group import COMMANDS

app = typer.Typer(help=COMMANDS["health"], invoke_without_command=True, no_args_is_help=False)

_FAIL_ON = ("warn", "fail", "unknown")


@app.callback()
def health(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this check; may be given again.")] = None,
    skip: Annotated[list[str] | None, typer.Option("--skip", help="Not this check; may be given again.")] = None,
    fail_on: Annotated[
        list[str] | None, typer.Option("--fail-on", help="What makes exit 1: fail (always), warn, unknown.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every finding, and the notes too.")] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Judge the database: an honest report.

    Exit 0: well, perhaps with warnings. 1: not well. 3: the server cannot be reached or used.
    """
    if ctx.invoked_subcommand is not None:
        return
    from pliers_db.cli.context import resolve
    from pliers_db.config import load_settings
    from pliers_db.errors import PliersError, ServerError
    from pliers_db.health import Outcome, render_text, run_health

    strict = [Outcome(word) for word in _words(fail_on, _FAIL_ON)]
    settings = load_settings(env=env, database_url=database_url)
    no_server: PliersError | None = None
    try:
        settings = resolve(env, database_url)
    except ServerError as error:  # the embedded server did not start: the report says so, and what works without it
        no_server = error
    report = run_health(settings, only=_split(only), skip=_split(skip), connect_error=no_server)
    if json:
        emit_json(report.as_dict())
    else:
        emit(render_text(report, paint, verbose=verbose))
    raise typer.Exit(report.exit_code(strict))


def _split(values: list[str] | None) -> list[str]:
    """``--only a,b --only c`` as one list."""
    return [word.strip() for value in values or [] for word in value.split(",") if word.strip()]


def _words(values: list[str] | None, known: tuple[str, ...]) -> list[str]:
    from pliers_db.errors import InputError

    words = _split(values)
    for word in words:
        if word not in known:
            raise InputError(f"--fail-on knows no {word!r}", why=f"It takes {', '.join(known)}.", fix="--fail-on warn")
    return words
