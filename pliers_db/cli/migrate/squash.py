"""``pliers-db migrate squash``: many migrations as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pliers_db.cli.console import Console, emit, emit_json
from pliers_db.cli.context import DebugOption, JsonOption, QuietOption
from pliers_db.cli.migrate.drift import ScratchOption, scratch_target
from pliers_db.cli.migrate.options import DirOption
from pliers_db.units import format_count


def squash(
    to: Annotated[str, typer.Option("--to", metavar="ID", help="The last migration that goes into the one file.")],
    scratch: ScratchOption = None,
    directory: DirOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make one migration of the first ones, proved to leave the same schema, roles and rows. Touches no database.

    The old files go into migrations/squashed. A database that has them all gets a record of the new one by `up`.
    """
    import os

    from pliers_db.config import drop_ambient, find_project
    from pliers_db.log import configure_logging
    from pliers_db.migrate import read_folder
    from pliers_db.migrate.squash import make_squash, write_squash

    configure_logging()
    drop_ambient(os.environ)
    folder = read_folder(directory or find_project(Path.cwd()).migrations)
    made = make_squash(folder, to, scratch=scratch_target(scratch), reporter=Console(quiet=quiet))
    archive = write_squash(folder, made)
    if json:
        emit_json(
            {
                "id": made.file.id,
                "path": str(made.file.path),
                "replaces": list(made.file.replaces),
                "rows": made.rows,
                "archive": str(archive),
                "server_version": made.server,
            }
        )
        return
    count = format_count(len(made.members), "migration")
    emit(f"{made.file.path.name} replaces {count}: same schema, roles and {format_count(made.rows, 'row')}.")
    emit(f"The old files are in {archive.relative_to(folder.path)}.")
