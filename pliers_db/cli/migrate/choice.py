"""Which migrations a command is asked for: by id, by what changed in git, by what the database does not have yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pliers_db.cli.context import open_database, resolve
from pliers_db.cli.migrate.options import folder_of

if TYPE_CHECKING:
    from pliers_db.config import Settings
    from pliers_db.migrate import Folder

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Which; default: all.", show_default=False)
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="GITREF", help="Those whose files changed since then.", show_default=False),
]
PendingOption = Annotated[bool, typer.Option("--pending", help="Those that the database does not have yet.")]
ScratchOption = Annotated[
    str | None,
    typer.Option("--scratch", help="URL of a server to use instead of a scratch server.", show_default=False),
]


def choose(
    command: str,
    ids: Sequence[str] | None,
    since: str | None,
    pending: bool,
    *,
    directory: Path | None,
    env: str | None,
    database_url: str | None,
) -> tuple[Settings, Folder, set[str]]:
    """The settings, the folder, and the ids that are asked for; the database is opened only for the pending ones.

    :param command: for the name of the session.
    """
    from pliers_db import migrate
    from pliers_db.config import drop_ambient, load_settings
    from pliers_db.log import configure_logging
    from pliers_db.migrate.changed import changed_since
    from pliers_db.migrate.plan import find_id

    if pending:
        settings = resolve(env, database_url)
    else:
        configure_logging()
        drop_ambient(os.environ)
        settings = load_settings(env=env, database_url=database_url)
    folder = folder_of(settings, directory)
    known = [m.id for m in folder.migrations]
    asked = {find_id(each, known) for each in ids or ()}
    if since is not None:
        asked.update(changed_since(folder, since))
    if pending:
        with open_database(settings, command) as database:
            asked.update(m.id for m in migrate.read_status(database, folder).pending)
    if not (ids or pending or since is not None):
        asked.update(known)
    return settings, folder, asked
