"""``pliers-db backup schedule``."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pliers_db.cli.console import emit, emit_json
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption

if TYPE_CHECKING:
    from pliers_db.config import Settings

_NEEDED = ("PGBIN", "PLIERS_IDENTITY")  # paths, no secrets


class Kind(StrEnum):
    """What runs programs by the clock."""

    cron = "cron"
    systemd = "systemd"


def schedule(
    kind: Annotated[Kind, typer.Argument(help="cron or systemd.")] = Kind.systemd,
    install: Annotated[
        bool, typer.Option("--install/--print", help="Install it for this account, or only print it.")
    ] = False,
    at: Annotated[str, typer.Option("--at", help="When, each day, by the machine's clock.")] = "02:10",
    verify: Annotated[bool, typer.Option("--verify", help="With backup nightly --verify.")] = False,
    env: EnvOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print or install what runs "backup nightly" each day: a crontab line, or a systemd timer.

    It holds absolute paths and the environment's name, so it works where there is no environment. Secrets stay in the
    project's .env files: what is only set in this shell is not there at night, and is refused here.
    """
    from pliers_db.backup import Schedule, install_cron, install_systemd, parse_time
    from pliers_db.config import load_settings

    settings = load_settings(env=env)
    _check_bare(settings)
    plan = Schedule(
        root=settings.project.root,
        environment=settings.environment.value,
        at=parse_time(at),
        program=(sys.executable, "-P", "-m", "pliers_db"),
        arguments=("--verify",) if verify else (),
        variables={name: os.path.abspath(os.environ[name]) for name in _NEEDED if os.environ.get(name)},
    )
    texts = (
        {"crontab": plan.cron()}
        if kind is Kind.cron
        else {f"{plan.name}.service": plan.service(), f"{plan.name}.timer": plan.timer()}
    )
    seen = (install_cron(plan) if kind is Kind.cron else install_systemd(plan)) if install else None
    if json:
        emit_json({"kind": kind.value, "installed": install, "texts": texts})
    elif seen is not None:
        emit(f"Installed {' and '.join(texts)}: each day at {at}. See it: {seen}")
    elif kind is Kind.cron:
        emit(texts["crontab"].rstrip())
    else:
        for name, text in texts.items():
            emit(f"# {name}")
            emit(text)


def _check_bare(settings: Settings) -> None:
    """Refuse a database that is only known to this shell.

    :raises NotScheduled: says where to write it.
    """
    from pliers_db.config import load_settings
    from pliers_db.errors import NotScheduled, PliersError

    bare = {name: os.environ[name] for name in ("HOME", "USER", "LOGNAME") if name in os.environ}
    why = ""
    try:
        found = load_settings(env=settings.environment.value, start=settings.project.root, environ=bare)
    except PliersError as error:
        why = error.message
    else:
        if (found.target, found.direct) != (settings.target, settings.direct):
            why = f"There it would be {found.target or 'the embedded server'}, here it is {settings.target}"
    if why:
        raise NotScheduled(
            "The database is only known to this shell, not to what runs at night",
            why=f"{why}.",
            fix=f"Write DATABASE_URL into {settings.project.root / f'.env.{settings.environment.value}'}.",
        )
