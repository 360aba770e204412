"""``pliers-db``: the entry point."""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import typer

from pliers_db.cli.group import LazyGroup

app = typer.Typer(
    cls=LazyGroup,
    name="pliers-db",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every command takes --json and --help. Start with: pliers-db up",
)


def _version(wanted: bool) -> None:
    if wanted:
        from pliers_db import __version__

        typer.echo(f"pliers-db {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Migrate, seed, back up, restore and judge a PostgreSQL database."""


def main() -> None:
    """Run a command; every error becomes a message and an exit code."""
    # Imports make objects by the hundred thousand, nearly all for good: looking through them again and again for
    # garbage takes a tenth of a short command's time.
    gc.set_threshold(100_000, 20, 20)
    from pliers_db.cli.run import run

    code = run(app)
    gc.freeze()  # the end of the process frees it all; Python would first look through it twice more
    sys.exit(code)
