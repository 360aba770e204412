"""``pliers-db health``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pliers_db.cli.console import Console, emit, emit_json, paint
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, UrlOption
from pliers_db.cli.group import COMMANDS
from pliers_db.errors import InputError, PliersError, ServerError

if TYPE_CHECKING:
    from pliers_db.config import Settings
    from pliers_db.health import Outcome, Report

_FORMATS = ("text", "json", "junit", "github", "nagios", "prometheus")
_FAIL_ON = ("warn", "fail", "unknown")


class _NagiosGroup(TyperGroup):
    """Nagios reads exit code 2 as CRITICAL: a usage error must not wake anybody up."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        self._for_nagios = any("nagios" in word for word in args)
        rest: list[str] = self._guarded(super().parse_args, ctx, args)
        return rest

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return self._guarded(super().resolve_command, ctx, args)

    def _guarded(self, parse: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return parse(*arguments)
        except Exception as error:
            if not self._for_nagios or not hasattr(error, "format_message"):
                raise
            raise _nagios_unknown(error.format_message()) from error


app = typer.Typer(cls=_NagiosGroup, help=COMMANDS["health"], invoke_without_command=True, no_args_is_help=False)


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
    since_baseline: Annotated[
        bool, typer.Option("--since-baseline", help="Findings that the baseline has do not count.")
    ] = False,
    save_baseline: Annotated[
        bool, typer.Option("--save-baseline", help="Write the findings of this run as the baseline.")
    ] = False,
    output: Annotated[
        str, typer.Option("--format", help="text, json, junit, github, nagios or prometheus.", show_default=False)
    ] = "text",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every finding, and the notes too.")] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Judge the database: an honest report.

    Exit 0: well, perhaps with warnings. 1: not well. 3: the server cannot be reached or used.
    """
    if ctx.invoked_subcommand is not None:
        return
    wanted = "json" if json else output
    try:
        _word(wanted, _FORMATS, "--format")
        from pliers_db.health import Outcome, run_health, write_baseline

        strict = [Outcome(_word(word, _FAIL_ON, "--fail-on")) for word in _split(fail_on)]
        settings, no_server = _settings(env, database_url)
        report = run_health(
            settings, only=_split(only), skip=_split(skip), since_baseline=since_baseline, connect_error=no_server
        )
        if save_baseline:
            from pliers_db.health import CHECKS, read_rules

            file = read_rules(settings, CHECKS).baseline
            write_baseline(file, report.findings)
            Console().info(f"Wrote {len(report.findings)} findings to {file}")
    except PliersError as error:
        if wanted == "nagios":
            raise _nagios_unknown(f"{error.message}. {error.why} {error.fix}") from error
        raise
    _print(report, wanted, strict, verbose=verbose)


@app.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0: any that is free.", min=0, max=65535)] = 8090,
    every: Annotated[float, typer.Option("--every", help="Seconds between two full reports; 0: none.", min=0)] = 60.0,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Answer probes and monitors over HTTP, until a signal ends it.

    /health/live, /health/ready, /health/db (health+json) and /metrics (Prometheus).
    """
    from pliers_db.config import load_settings
    from pliers_db.health import Endpoints, HealthServer

    settings = load_settings(env=env, database_url=database_url)
    endpoints = Endpoints(settings=settings, report_every=every)
    with HealthServer(endpoints, host, port) as server:
        try:
            if json:
                emit_json({"url": server.url})
            else:
                emit(f"Listening on {server.url}")
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            Console().info("Ended.")
        finally:
            endpoints.close()


def _settings(env: str | None, database_url: str | None) -> tuple[Settings, PliersError | None]:
    """The settings; an embedded server that does not start is for the report to tell, with what works without it."""
    from pliers_db.cli.context import resolve
    from pliers_db.config import load_settings

    settings = load_settings(env=env, database_url=database_url)
    try:
        return resolve(env, database_url), None
    except ServerError as error:
        return settings, error


def _print(report: Report, wanted: str, strict: list[Outcome], *, verbose: bool) -> None:
    """Write the report in a format, and leave with its exit code."""
    from pliers_db import health

    match wanted:
        case "json":
            emit_json(report.as_dict())
        case "junit":
            emit(health.render_junit(report, strict))
        case "github":
            emit(health.render_github(report, strict))
            if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
                with open(summary, "a", encoding="utf-8") as file:
                    file.write(health.render_markdown(report))
        case "nagios":
            emit(health.render_nagios(report))
            raise typer.Exit(health.nagios_code(report))
        case "prometheus":
            sys.stdout.write(health.render_prometheus(report))
        case _:
            emit(health.render_text(report, paint, verbose=verbose))
    raise typer.Exit(report.exit_code(strict))


def _nagios_unknown(text: str) -> typer.Exit:
    """Print what is wrong as Nagios reads it; to be raised."""
    from pliers_db.health.formats.nagios import UNKNOWN, nagios_line

    emit(nagios_line(UNKNOWN, text))
    return typer.Exit(UNKNOWN)


def _split(values: list[str] | None) -> list[str]:
    """``--only a,b --only c`` as one list."""
    return [word.strip() for value in values or [] for word in value.split(",") if word.strip()]


def _word(word: str, known: tuple[str, ...], option: str) -> str:
    if word not in known:
        raise InputError(f"{option} knows no {word!r}", why=f"It takes {', '.join(known)}.", fix=f"{option} {known[0]}")
    return word
