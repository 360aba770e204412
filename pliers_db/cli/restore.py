"""``pliers-db restore``."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pliers_db.cli.backup_remote import fetch
from pliers_db.cli.confirm import ConfirmOption, with_confirmation
from pliers_db.cli.console import Console, emit, emit_json
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, QuietOption, UrlOption, announce, resolve
from pliers_db.cli.group import COMMANDS
from pliers_db.cli.identity import IdentityOption
from pliers_db.cli.jobs import JOBS, JobsOption
from pliers_db.errors import InputError
from pliers_db.units import format_count, format_duration, format_size

if TYPE_CHECKING:
    from pliers_db.config import Settings

_DEFAULT = "from"


class RestoreGroup(TyperGroup):
    """``restore latest`` is short for ``restore from latest``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=RestoreGroup, help=COMMANDS["restore"], no_args_is_help=True)

ToOption = Annotated[
    str | None, typer.Option("--to", help="Restore as this database instead of the configured one.", show_default=False)
]
RestoredToOption = Annotated[
    str | None, typer.Option("--to", help="What was restored --to this database.", show_default=False)
]
TerminateOption = Annotated[bool, typer.Option("--terminate", help="End the sessions of others at the database.")]


def _renamed(settings: Settings, to: str | None) -> Settings:
    """The same server, another database."""
    if to is None:
        return settings
    assert settings.target is not None
    return settings.with_target(settings.target.with_database(to))


@app.command(_DEFAULT)
def restore_from(
    backup: Annotated[
        str, typer.Argument(help="latest, an id or its beginning, a dump, or s3://…/ID.", show_default=False)
    ],
    to: ToOption = None,
    terminate: TerminateOption = False,
    no_owner: Annotated[bool, typer.Option("--no-owner", help="Everything is to belong to our role.")] = False,
    identity: IdentityOption = None,
    jobs: JobsOption = JOBS,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Rows of this table only; may be given several times.", show_default=False),
    ] = None,
    schema_only: Annotated[bool, typer.Option("--schema-only", help="Definitions without rows.")] = False,
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Rows of the backup in the definitions of the database as it is now.")
    ] = False,
    compare_rows: Annotated[
        bool, typer.Option("--compare-rows", help="Hash every restored row and compare; otherwise rows are counted.")
    ] = False,
    confirm_db: ConfirmOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring a backup back as the database; "restore latest" is short for "restore from latest".

    It is built as a new database, compared with the manifest, and swapped in by name; the old one is kept.
    """
    from pliers_db.backup import Repository, is_remote, read_identities
    from pliers_db.restore import Scope, Wishes, find_material, restore

    if sum((bool(only), schema_only, data_only)) > 1:
        raise InputError(
            "--only, --schema-only and --data-only exclude each other",
            fix="Give one of them: pliers-db restore from --help",
        )
    scope = Scope(tuple(only or ()), schema_only=schema_only, data_only=data_only)
    wishes = Wishes(terminate=terminate, no_owner=no_owner, jobs=jobs, compare_rows=compare_rows, scope=scope)
    settings = resolve(env, database_url)
    assert settings.target is not None
    repository = Repository(settings.project.backups)
    identities = read_identities(identity) if identity is not None else []
    console = Console(quiet=quiet)
    if is_remote(backup):
        backup = fetch(settings, backup, settings.target.dbname, console).id
    material = find_material(repository, backup, settings.target.dbname, identities)
    settings = _renamed(settings, to)
    target = settings.target
    assert target is not None
    announce(console, settings)
    console.info(f"Restoring {material.name}")
    done = with_confirmation(
        confirm_db,
        lambda confirm: restore(
            target,
            material,
            repository,
            environment=settings.environment,
            wishes=wishes,
            pool=settings.pool,
            confirm=confirm,
            reporter=console,
        ),
    )
    if json:
        emit_json(
            {
                "database": done.database,
                "from": done.origin,
                "tables": len(done.contents.tables),
                "rows": done.contents.rows,
                "compared": done.compared,
                "kept_as": done.kept_as,
                "put_aside": [{"name": m.name, "at": m.at.isoformat(), "size_bytes": m.size} for m in done.put_aside],
                "seconds": round(done.seconds, 3),
            }
        )
        return
    if quiet:
        return
    compared = "equal to the manifest" if done.compared else "not compared: there is no manifest"
    emit(
        f"Restored {done.database} from {done.origin}: {format_count(len(done.contents.tables), 'table')}, "
        f"{format_count(done.contents.rows, 'row')}, {compared}, in {format_duration(done.seconds)}"
    )
    if done.kept_as:
        emit(f"The database before it is kept as {done.kept_as}")
        same = "" if to is None else f" --to {quote(to)}"
        emit(f"  back to it: pliers-db restore undo{same}")
        kept = format_size(sum(m.size or 0 for m in done.put_aside))
        emit(f"  drop what restores have kept ({len(done.put_aside)}, {kept}): pliers-db restore clean{same}")


@app.command()
def undo(
    to: RestoredToOption = None,
    terminate: TerminateOption = False,
    confirm_db: ConfirmOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Swap back the database that the last restore has put aside; a second undo swaps again."""
    from pliers_db.restore import undo

    settings = _renamed(resolve(env, database_url), to)
    target = settings.target
    assert target is not None
    announce(Console(quiet=quiet), settings)
    done = with_confirmation(
        confirm_db,
        lambda confirm: undo(
            target, environment=settings.environment, terminate=terminate, pool=settings.pool, confirm=confirm
        ),
    )
    if json:
        emit_json({"database": done.database, "brought_back": done.brought_back.name, "kept_as": done.kept_as})
    elif not quiet:
        emit(f"{done.brought_back.name} is {done.database} again")
        if done.kept_as:
            emit(f"What stood there until now is kept as {done.kept_as}")


@app.command()
def clean(
    to: RestoredToOption = None,
    confirm_db: ConfirmOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Drop the databases that restores have put aside."""
    from pliers_db.restore import clean

    settings = _renamed(resolve(env, database_url), to)
    target = settings.target
    assert target is not None
    console = Console(quiet=quiet)
    announce(console, settings)
    gone = with_confirmation(
        confirm_db,
        lambda confirm: clean(
            target, environment=settings.environment, pool=settings.pool, confirm=confirm, reporter=console
        ),
    )
    if json:
        emit_json({"dropped": [{"name": each.name, "size_bytes": each.size} for each in gone]})
    elif not quiet:
        freed = format_size(sum(each.size or 0 for each in gone))
        emit(f"Dropped {format_count(len(gone), 'database')} ({freed})" if gone else "Nothing was put aside.")
