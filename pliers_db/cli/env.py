"""``pliers-db env``: what a database says it is."""

from __future__ import annotations

from typing import Annotated

import typer

from pliers_db.cli.confirm import ConfirmOption, with_confirmation
from pliers_db.cli.console import Console, emit, emit_json
from pliers_db.cli.context import (
    DebugOption,
    EnvOption,
    JsonOption,
    QuietOption,
    UrlOption,
    announce,
    open_database,
    resolve,
)

app = typer.Typer(help="Show or set which environment a database is.", no_args_is_help=True)


@app.command()
def show(
    env: EnvOption = None, database_url: UrlOption = None, json: JsonOption = False, debug: DebugOption = False
) -> None:
    """What this run believes, and what the database says it is."""
    from pliers_db.db import has_tables, read_stamp

    settings = resolve(env, database_url)
    with open_database(settings, "env") as database, database.connection() as conn:
        stamp, tables = read_stamp(conn), has_tables(conn)
    believed = stamp is not None and not stamp.foreign
    protected = (stamp.environment.protected or stamp.foreign) if stamp else tables
    if json:
        emit_json(
            {
                "environment": settings.environment,
                "source": settings.sources.get("PLIERS_ENV"),
                "database": str(settings.target),
                "stamp": stamp
                and {
                    "environment": stamp.environment,
                    "system_identifier": stamp.system_identifier,
                    "foreign": stamp.foreign,
                },
                "has_tables": tables,
                "protected": protected,
                "agree": stamp is not None and believed and stamp.environment is settings.environment,
            }
        )
        return
    emit(f"run:       {settings.environment}, by {settings.sources.get('PLIERS_ENV')}")
    emit(f"database:  {settings.target}")
    if stamp is None:
        emit(f"stamp:     none{', but it has tables' if tables else '; it is empty'}")
    else:
        emit(f"stamp:     {stamp.environment}{', made on another cluster: not believed' if stamp.foreign else ''}")
    emit(f"protected: {'yes' if protected else 'no'}")
    if (stamp is None and tables) or (stamp is not None and stamp.foreign):
        Console().info(f"Say what it is, for example: pliers-db env set {settings.environment}")
    elif stamp is not None and stamp.environment is not settings.environment:
        Console().warn(f"this run is for {settings.environment}, the database is {stamp.environment}")


@app.command(name="set")
def set_(
    name: Annotated[str, typer.Argument(help="development, test, staging or production.")],
    *,
    confirm_db: ConfirmOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Stamp the database: say what it is. Leaving a protected environment needs the typed name."""
    from pliers_db.config import check_restamp, parse_environment
    from pliers_db.db import read_stamp, write_stamp

    new = parse_environment(name, "NAME")
    settings = resolve(env, database_url)
    assert settings.target is not None
    dbname = settings.target.dbname
    announce(Console(quiet=quiet), settings)
    with open_database(settings, "env") as database, database.connection(autocommit=True) as conn:
        old = read_stamp(conn)

        def act(confirm: str | None) -> None:
            check_restamp(old, new, dbname=dbname, environment=settings.environment, confirm=confirm)
            write_stamp(conn, new)

        with_confirmation(confirm_db, act)
    before = old.environment if old and not old.foreign else None
    if json:
        emit_json({"database": str(settings.target), "before": before, "environment": new})
    else:
        emit(f"{dbname} is {new}" + (f" (was {before})" if before and before is not new else ""))
