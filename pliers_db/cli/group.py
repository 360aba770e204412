"""The table of commands, and the group that imports a command's module only when it is typed."""

from __future__ import annotations

from copy import copy
from importlib import import_module
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_command_name, get_group
from typer.models import CommandInfo

COMMANDS: dict[str, str] = {
    "up": "From nothing to a migrated, seeded, healthy database.",
    "migrate": "Apply, roll back and inspect migrations.",
    "seed": "Fill a database with the data of its environment.",
    "backup": "Make and list backups.",
    "restore": "Bring a backup back as a database.",
    "health": "Judge the database: an honest report.",
    "doctor": "Find what keeps everything else from working.",
    "pool": "Look at the connection pool and measure it.",
    "server": "Run the embedded PostgreSQL server.",
    "env": "Show or set which environment a database is.",
    "config": "Show where each setting comes from.",
}
"""Each name is a module of this package with an ``app``, whose help is the text here (a test holds both together)."""


class LazyGroup(TyperGroup):
    """A group whose members are stubs until one of them is called.

    ``--help``, completion and "did you mean" read the stubs; only a call pays for the imports.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, summary in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=summary, rich_markup_mode=None)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            self.commands[args[0]] = load_command(*args[:2])
        return super().resolve_command(ctx, args)


def load_command(name: str, called: str | None = None) -> Any:
    """Import one command's module and build the command.

    :param called: the word after it. If that is one of a group's commands, only this one is built: reading the options
        of all of them takes longer than the imports.
    """
    app = copy(import_module(f"pliers_db.cli.{name}").app)
    app._add_completion = False  # --install-completion belongs to the program, not to each group
    app.rich_markup_mode = None  # plain help: rich alone would double the time that --help takes
    wanted = [each for each in app.registered_commands if called is not None and _name(each) == called]
    if wanted and len(app.registered_commands) > 1:
        app.registered_commands, app.registered_groups = wanted, []
        command: Any = get_group(app)
    else:
        command = get_command(app)
    command.name = name
    return command


def _name(command: CommandInfo) -> str:
    return command.name or get_command_name(command.callback.__name__ if command.callback else "")
