"""``pliers-db backup push`` and ``pull``, and what else reaches an object store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pliers_db.cli.backup_view import row
from pliers_db.cli.console import Console, emit, emit_json
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, QuietOption, UrlOption
from pliers_db.errors import BadSetting
from pliers_db.units import format_size

if TYPE_CHECKING:
    from pliers_db.backup import Backup, Remote
    from pliers_db.config import Settings

RemoteOption = Annotated[bool, typer.Option("--remote", help="Those in the object store of backup.remote.")]
_VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")


def open_remote(settings: Settings, url: str | None = None) -> Remote:
    """The object store of ``url``, else of ``remote`` in ``[tool.pliers-db.backup]``.

    :raises BadSetting: neither says where it is.
    """
    from pliers_db.backup import Remote, Store
    from pliers_db.config import read_variables

    url = url or settings.project.section("backup").get("remote")
    if not isinstance(url, str) or not url:
        raise BadSetting(
            "No object store is configured",
            why="backup.remote is not set.",
            fix='Write remote = "s3://bucket/folder" into [tool.pliers-db.backup], or name one: --to, --from.',
        )
    return Remote(Store(url, read_variables(settings, _VARIABLES)))


def fetch(settings: Settings, url: str, database: str, console: Console) -> Backup:
    """Bring the backup of a URL into the local folder: ``s3://bucket/folder/ID`` or ``…/latest``."""
    from pliers_db.backup import Repository

    place, _, name = url.rstrip("/").rpartition("/")
    remote = open_remote(settings, place)
    return remote.pull(Repository(settings.project.backups), remote.find(name, database), console)


def push(
    backup: Annotated[str, typer.Argument(help="latest, an id or its beginning.")] = "latest",
    to: Annotated[str | None, typer.Option("--to", help="URL, instead of backup.remote.", show_default=False)] = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Copy a backup into an object store; its manifest goes last, so that it is there whole or not at all."""
    from pliers_db.backup import Repository
    from pliers_db.config import load_settings

    settings = load_settings(env=env, database_url=database_url)
    repository = Repository(settings.project.backups)
    chosen = repository.find(backup, _database(settings))
    remote = open_remote(settings, to)
    sent = remote.push(repository, chosen, Console(quiet=quiet))
    if json:
        emit_json({"backup": row(chosen), "to": remote.store.url, "sent": sent})
    elif not quiet:
        assert chosen.manifest is not None
        size = format_size(chosen.manifest.size_bytes)
        emit(f"{chosen.id} {'is now' if sent else 'was already'} in {remote.store.url} ({size})")


def pull(
    backup: Annotated[str, typer.Argument(help="latest, an id or its beginning.")] = "latest",
    source: Annotated[
        str | None, typer.Option("--from", help="URL, instead of backup.remote.", show_default=False)
    ] = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring a backup from an object store into the local folder; every byte is compared with its manifest."""
    from pliers_db.backup import Repository
    from pliers_db.config import load_settings

    settings = load_settings(env=env, database_url=database_url)
    remote = open_remote(settings, source)
    chosen = remote.find(backup, _database(settings))
    made = remote.pull(Repository(settings.project.backups), chosen, Console(quiet=quiet))
    if json:
        emit_json({"backup": row(made), "from": remote.store.url})
    elif not quiet:
        emit(f"{made.id} is in {made.path}")


def _database(settings: Settings) -> str:
    return settings.target.dbname if settings.target else settings.embedded_database
