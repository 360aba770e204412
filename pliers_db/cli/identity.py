"""The option that names the secret key of encrypted backups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

IdentityOption = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        "-i",
        help="File with the secret key of an encrypted backup, of age or SSH.",
        envvar="PLIERS_IDENTITY",
        show_default=False,
    ),
]
