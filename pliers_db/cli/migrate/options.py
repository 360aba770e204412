"""The options that several commands of ``migrate`` take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pliers_db.config import Settings
    from pliers_db.migrate import Folder

DirOption = Annotated[
    Path | None, typer.Option("--dir", help="The migrations folder, instead of the project's.", show_default=False)
]
WaitOption = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another run's lock.")]
LockTimeoutOption = Annotated[
    float, typer.Option("--lock-timeout", min=0, help="Seconds a statement may wait for a lock; 0: for ever.")
]
StatementTimeoutOption = Annotated[
    float, typer.Option("--statement-timeout", min=0, help="Seconds a statement may take; 0: for ever.")
]
RetriesOption = Annotated[
    int, typer.Option("--retries", min=0, help="How often a migration that got no lock is tried again.")
]
DataLossOption = Annotated[bool, typer.Option("--allow-data-loss", help="Drop tables and columns that hold rows, too.")]

NoDumpOption = Annotated[
    bool, typer.Option("--no-dump", help="Leave structure.sql as it is; else development refreshes it if it is there.")
]


def folder_of(settings: Settings, directory: Path | None) -> Folder:
    """The migrations to work with: those of the project, or of another folder."""
    from pliers_db.migrate import read_folder

    return read_folder(directory or settings.project.migrations)
