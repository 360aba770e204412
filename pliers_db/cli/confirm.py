"""The typed database name that lets a protected database be changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from pliers_db.errors import ProtectedDatabase

_T = TypeVar("_T")

ConfirmOption = Annotated[
    str | None,
    typer.Option("--confirm-db", metavar="NAME", help="The database's name, typed: for protected environments."),
]


def with_confirmation(confirm: str | None, action: Callable[[str | None], _T]) -> _T:
    """Do what the guard may refuse; if only the typed name is missing and a person is there, ask for it.

    :param confirm: what ``--confirm-db`` said.
    :param action: takes the confirmed name.
    :raises ProtectedDatabase: refused, or another name was typed.
    """
    try:
        return action(confirm)
    except ProtectedDatabase as refusal:
        if confirm is not None or refusal.details.get("reason") != "protected" or not _somebody_there():
            raise
        typer.echo(f"{refusal.message}: {refusal.why}", err=True)
        typed = typer.prompt("Type the database's name to go on", err=True, default="", show_default=False)
        return action(typed)


def _somebody_there() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")
