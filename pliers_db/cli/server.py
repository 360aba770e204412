"""``pliers-db server``: the embedded PostgreSQL server by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pliers_db.cli.console import Console, emit, emit_json
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, QuietOption
from pliers_db.cli.group import COMMANDS

if TYPE_CHECKING:
    from pliers_db.config import Settings
    from pliers_db.postgres import ServerStatus

app = typer.Typer(help=COMMANDS["server"], no_args_is_help=True)


def _settings(env: str | None, console: Console) -> Settings:
    """The settings with the embedded server as target, whatever DATABASE_URL says."""
    from dataclasses import replace

    from pliers_db.config import load_settings
    from pliers_db.log import configure_logging

    configure_logging()
    settings = load_settings(env=env)
    if settings.target is not None:
        source = settings.sources.get("DATABASE_URL") or settings.sources.get("DB_HOST") or "DB_ settings"
        console.info(f"Other commands do not use the embedded server: {settings.target} is configured ({source})")
    return replace(settings, target=None)


@app.command()
def start(
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Listen on this port of 127.0.0.1 too, with a password."),
    ] = None,
    env: EnvOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Start the embedded server, with the database of the environment.

    Every command starts it by itself; this one is for starting it with a port. It runs until ``server stop``.
    """
    from pliers_db.postgres import start_embedded

    console = Console(quiet=quiet or json)
    found = start_embedded(_settings(env, console), port, console)
    if json or not quiet:
        _show(found, json=json)


@app.command()
def stop(
    env: EnvOption = None, quiet: QuietOption = False, json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Stop the embedded server; its sessions are ended, the data stays."""
    from pliers_db.postgres import stop_embedded

    console = Console(quiet=quiet or json)
    ran = stop_embedded(_settings(env, console), console)
    if json:
        emit_json({"stopped": ran})
    elif not quiet:
        emit("stopped" if ran else "was not running")


@app.command()
def status(env: EnvOption = None, json: JsonOption = False, debug: DebugOption = False) -> None:
    """Whether the embedded server runs, and where. Exit code 1: it does not."""
    from pliers_db.postgres import embedded_status

    found = embedded_status(_settings(env, Console(quiet=json)))
    _show(found, json=json)
    if not found.running:
        raise typer.Exit(1)


@app.command()
def url(
    env: EnvOption = None, quiet: QuietOption = False, json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Print a URL for the environment's database, for other programs.

    Over the socket; over TCP, with the password, if the server was started with --port. Starts it if it does not run.
    """
    from pliers_db.postgres import embedded_url

    console = Console(quiet=quiet or json)
    found = embedded_url(_settings(env, console), console)
    if json:
        emit_json({"url": found})
    else:
        emit(found)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, env: EnvOption = None, json: JsonOption = False, debug: DebugOption = False) -> None:
    """Open psql on the environment's database; what follows goes to psql: server psql -c 'select 1'.

    With --json it prints how psql would be called instead.
    """
    from pliers_db.postgres import ensure_embedded, exec_program, find_binaries

    console = Console(quiet=json)
    target = ensure_embedded(_settings(env, console), console)
    binaries = find_binaries()
    if json:
        command = [str(binaries.program("psql")), *context.args]
        emit_json({"command": command, "environment": target.environment()})
    else:
        exec_program(binaries, "psql", context.args, target=target)


@app.command()
def logs(
    count: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many lines from the end.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    env: EnvOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the last lines of the server's log."""
    from pliers_db.postgres import embedded_log
    from pliers_db.postgres.server_log import follow as follow_log
    from pliers_db.postgres.server_log import last_lines

    if json and follow:
        raise typer.BadParameter("a log that goes on is no JSON document: leave out --follow or --json")
    path = embedded_log(_settings(env, Console(quiet=True)))
    lines = last_lines(path, count)
    if json:
        emit_json({"log": str(path), "lines": lines})
        return
    for line in lines:
        emit(line)
    if follow:
        try:
            for line in follow_log(path):
                emit(line)
        except KeyboardInterrupt:  # the usual way to end it
            return


def _show(found: ServerStatus, *, json: bool) -> None:
    since = datetime.fromtimestamp(found.started, UTC).isoformat() if found.started else None
    if json:
        emit_json(
            {
                "state": found.state,
                "running": found.running,
                "major": found.major,
                "pid": found.pid,
                "since": since,
                "data": str(found.data),
                "socket": found.socket_dir,
                "port": found.port,
                "tcp": found.tcp,
            }
        )
        return
    rows: list[tuple[str, object]] = [
        ("state", found.state),
        ("version", f"PostgreSQL {found.major}" if found.major else "no cluster yet"),
        ("data", found.data),
    ]
    if found.pid is not None:
        rows += [("process", f"{found.pid}, since {since}"), ("socket", f"{found.socket_dir} port {found.port}")]
        rows += [("TCP", f"127.0.0.1:{found.port}, with a password" if found.tcp else "off (server start --port N)")]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        emit(f"{name:<{width}}  {value}")
