"""``pliers-db``: the table of commands. A group's module is imported when one of its commands is typed."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

# name -> (module, summary). The summary equals the help of the module's app; a test holds the two together.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("up", "From nothing to a migrated, seeded, healthy database."),
    "migrate": ("migrate", "Apply, roll back and inspect migrations."),
    "seed": ("seed", "Fill a database with the data of its environment."),
    "backup": ("backup", "Make and list backups."),
    "restore": ("restore", "Bring a backup back as a database."),
    "health": ("health", "Judge the database: an honest report."),
    "server": ("server", "Run the embedded PostgreSQL server."),
    "env": ("env", "Show or set which environment a database is."),
    "config": ("config", "Show where each setting comes from."),
}


class LazyGroup(TyperGroup):
    """A group whose members are stubs until one of them is called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (_, summary) in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name in COMMANDS:
            module = import_module(f"pliers_db.cli.{COMMANDS[name][0]}")
            self.commands[name] = get_command(module.app)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup,
    name="pliers-db",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Migrate, seed, back up, restore and judge a PostgreSQL database.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from pliers_db import __version__

        typer.echo(f"pliers-db {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None: ...


def main() -> None:
    """The entry point: run a command, turn every error into a message and an exit code."""
    from pliers_db.cli.console import run

    sys.exit(run(app))
