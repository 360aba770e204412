"""What every command needs first: its settings and its database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pliers_db.cli.console import Console

if TYPE_CHECKING:  # psycopg only when a command runs, not for its --help
    from pliers_db.config import Settings
    from pliers_db.db import Database

EnvOption = Annotated[str | None, typer.Option("--env", help="development, test, staging or production.")]
UrlOption = Annotated[str | None, typer.Option("--database-url", help="Instead of DATABASE_URL.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def resolve(env: str | None = None, database_url: str | None = None) -> Settings:
    """The settings, with a target: without a URL the embedded server is started.

    Commands need sessions (locks, snapshots, settings), so they go past a pooler if DIRECT_DATABASE_URL says how.
    """
    from pliers_db.config import drop_ambient, load_settings
    from pliers_db.log import configure_logging

    configure_logging()
    drop_ambient(os.environ)
    settings = load_settings(env=env, database_url=database_url)
    if settings.direct is not None:
        settings = settings.with_target(settings.direct)
    if settings.target is None:
        from pliers_db.postgres import ensure_embedded

        settings = settings.with_target(ensure_embedded(settings))
    return settings


@contextmanager
def open_database(settings: Settings, command: str) -> Iterator[Database]:
    """The pool of one command."""
    from pliers_db.db import Database

    assert settings.target is not None
    with Database(settings.target, settings.pool, application_name=f"pliers-db/{command}", one_shot=True) as database:
        yield database


def announce(console: Console, settings: Settings) -> None:
    """Say where a command is about to write."""
    console.info(f"Target: {settings.target} ({settings.environment})")
