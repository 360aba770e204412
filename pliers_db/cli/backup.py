"""``pliers-db backup``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pliers_db.cli.backup_remote import RemoteOption, open_remote, pull, push
from pliers_db.cli.backup_schedule import schedule
from pliers_db.cli.backup_view import cells, row, tell_proof, told
from pliers_db.cli.console import Console, emit, emit_json, emit_table
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
from pliers_db.cli.group import COMMANDS
from pliers_db.cli.identity import IdentityOption
from pliers_db.cli.jobs import JOBS, JobsOption
from pliers_db.errors import PliersError
from pliers_db.units import format_count

if TYPE_CHECKING:
    from pliers_db.backup import Options
    from pliers_db.config import Settings

app = typer.Typer(help=COMMANDS["backup"], no_args_is_help=True)

LabelOption = Annotated[str, typer.Option("--label", help="A word of yours, shown in the list.", show_default=False)]
WaitOption = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for a running migration or a locked table.", min=0)
]

DigestsOption = Annotated[
    bool,
    typer.Option("--digests/--no-digests", help="Hash all rows, so that a restore can be compared row for row."),
]
CompressOption = Annotated[
    str | None,
    typer.Option("--compress", help="zstd:1 (default) to zstd:19, gzip:1 to gzip:9, lz4 or none.", show_default=False),
]
EncryptOption = Annotated[
    list[str] | None,
    typer.Option("--encrypt-to", help="Public key of age or SSH; may be given several times.", show_default=False),
]
PasswordsOption = Annotated[
    bool, typer.Option("--role-passwords", help="Keep the hashes of the roles' passwords in globals.sql, too.")
]


@app.command()
def nightly(
    label: LabelOption = "",
    wait: WaitOption = 60.0,
    digests: DigestsOption = True,
    compress: CompressOption = None,
    encrypt_to: EncryptOption = None,
    role_passwords: PasswordsOption = False,
    jobs: JobsOption = JOBS,
    verify: Annotated[bool, typer.Option("--verify", help="Prove the backup at once, as backup verify does.")] = False,
    identity: IdentityOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a backup, then remove old ones by the retention rules; for cron.

    Without a terminal it is silent on success and writes one line on failure.
    """
    from pliers_db.backup import Journal, Repository, hooks_of, nightly_backup, read_identities, retention_of
    from pliers_db.config import find_variable
    from pliers_db.restore import verify as prove

    cron = not sys.stderr.isatty()
    journal: Journal | None = None
    try:
        settings = resolve(env, database_url)
        console = Console(quiet=quiet or cron)
        announce(console, settings)
        project = settings.project
        section, where = project.section("backup"), str(project.config_file or "the defaults")
        rules = retention_of(section, where)
        heartbeat = find_variable(settings, "PLIERS_HEARTBEAT")
        hooks = hooks_of(section, heartbeat and heartbeat[0], project.root, where)
        identities = read_identities(identity) if identity is not None else []
        with open_database(settings, "backup nightly") as database:
            options = _options(
                settings,
                compress,
                encrypt_to,
                label=label,
                wait=wait,
                hashes=digests,
                jobs=jobs,
                role_passwords=role_passwords,
            )
            repository = Repository(project.backups)
            journal = reporter = Journal(repository.log, console)
            done = nightly_backup(
                database,
                repository,
                rules,
                options,
                reporter,
                prove=(lambda made: prove(made, repository, identities=identities, reporter=reporter))
                if verify
                else None,
                hooks=hooks,
                remote=open_remote(settings) if section.get("remote") else None,
            )
            journal.result(told(done.backup))
    except PliersError as error:
        if journal is not None:
            journal.result(". ".join(filter(None, [error.message, error.why])), failed=True)
        if cron and not json:
            _fold(error)
        raise
    if json:
        emit_json(
            {
                "backup": row(done.backup),
                "removed": [{"id": verdict.id, "reason": verdict.reason} for verdict in done.removed],
                "broken": [{"id": backup.id, "problem": backup.problem} for backup in done.broken],
            }
        )
    elif not console.quiet:
        emit(told(done.backup))
    for backup in done.broken:
        reporter.warn(f"Backup {backup.id} is {backup.state}: {backup.problem} ({backup.path})")
    if not done.backup.good:
        raise typer.Exit(1)


for command in (schedule, push, pull):
    app.command()(command)


@app.command()
def create(
    label: LabelOption = "",
    wait: WaitOption = 60.0,
    digests: DigestsOption = True,
    compress: CompressOption = None,
    encrypt_to: EncryptOption = None,
    role_passwords: PasswordsOption = False,
    jobs: JobsOption = JOBS,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a backup; nothing is removed."""
    from pliers_db.backup import Repository, create_backup

    settings = resolve(env, database_url)
    console = Console(quiet=quiet)
    announce(console, settings)
    with open_database(settings, "backup create") as database:
        options = _options(
            settings,
            compress,
            encrypt_to,
            label=label,
            wait=wait,
            hashes=digests,
            jobs=jobs,
            role_passwords=role_passwords,
        )
        made = create_backup(database, Repository(settings.project.backups), options, console)
    if json:
        emit_json(row(made))
    elif not quiet:
        emit(told(made))


@app.command()
def verify(
    backup: Annotated[str, typer.Argument(help="latest, an id or its beginning, or all.")] = "latest",
    into: Annotated[
        str | None,
        typer.Option("--into", help="URL of a server to use instead of a scratch server.", show_default=False),
    ] = None,
    identity: IdentityOption = None,
    jobs: JobsOption = JOBS,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Prove a backup: restore it into a scratch server and compare every object and every row.

    The result is written into the manifest. Exit code 1 if a backup is broken.
    """
    from pliers_db.backup import Repository, read_identities
    from pliers_db.config import load_settings, parse_url
    from pliers_db.restore import verify as prove

    settings = load_settings(env=env, database_url=database_url)
    database = settings.target.dbname if settings.target else settings.embedded_database
    repository = Repository(settings.project.backups)
    console = Console(quiet=quiet)
    server = parse_url(into, "--into") if into is not None else None
    identities = read_identities(identity) if identity is not None else []
    chosen = repository.backups(database) if backup == "all" else [repository.find(backup, database)]
    done = []
    for each in chosen:
        console.info(f"Proving {each.id}")
        done.append(prove(each, repository, into=server, jobs=jobs, identities=identities, reporter=console))
        if not json:
            tell_proof(done[-1])
    if json:
        emit_json({"backups": [row(each) for each in done]})
    if not all(each.proved for each in done):
        raise typer.Exit(1)


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would stay and what would go.")] = False,
    remote: RemoteOption = False,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Remove the backups that no retention rule keeps; no server is needed.

    The newest good backup stays whatever the rules say, and so does the newest proved one.
    """
    from pliers_db.backup import Repository, plan_prune, prune, retention_of
    from pliers_db.config import load_settings

    settings = load_settings(env=env, database_url=database_url)
    database = settings.target.dbname if settings.target else settings.embedded_database
    repository = Repository(settings.project.backups)
    rules = retention_of(settings.project.section("backup"), str(settings.project.config_file or "the defaults"))
    console = Console(quiet=quiet)
    if remote:
        store = open_remote(settings)
        verdicts = store.plan_prune(rules, database)
        gone = [] if dry_run else store.prune(rules, database, console)
    else:
        verdicts = plan_prune(repository, rules, database)
        gone = [] if dry_run else prune(repository, rules, database, console)
    if json:
        emit_json(
            {
                "backups": [{"id": v.id, "keep": v.keep, "reason": v.reason} for v in verdicts],
                "removed": [verdict.id for verdict in gone],
            }
        )
    elif dry_run:
        emit_table(("ID", "", "BECAUSE"), [(v.id, "stays" if v.keep else "goes", v.reason) for v in verdicts])
    else:
        emit(f"Removed {format_count(len(gone), 'backup')} of {database}, {len(verdicts) - len(gone)} stay")


@app.command("list")
def list_backups(
    every: Annotated[bool, typer.Option("--all", help="Of every database, not only of the configured one.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Read every byte and compare its SHA-256.")] = False,
    remote: RemoteOption = False,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the backups, newest first; no server is needed.

    Broken: the manifest does not fit its own checksum, a file has not its recorded size (with --check: its recorded
    SHA-256), or "backup verify" has found a difference. Proved: it found none. Exit code 1 if one is broken.
    """
    from pliers_db.backup import Repository
    from pliers_db.config import load_settings

    settings = load_settings(env=env, database_url=database_url)
    name = None if every else settings.target.dbname if settings.target else settings.embedded_database
    place = open_remote(settings) if remote else Repository(settings.project.backups)
    found = place.backups(name)
    if check:
        found = [place.checked(backup, Console(quiet=quiet)) for backup in found]
    if json:
        emit_json({"folder": place.name, "database": name, "backups": [row(backup) for backup in found]})
    elif not found:
        others = sorted({backup.database for backup in place.backups()})
        emit(f"No backup of {name or 'any database'} in {place.name}.")
        if others:
            emit(f"It has backups of {', '.join(others)}: pliers-db backup list --all")
    else:
        emit_table(
            ("ID", "DATABASE", "STATE", "AGE", "SIZE", "ROWS", "SERVER", "LABEL"),
            [cells(backup) for backup in found],
            right=(3, 4, 5),
        )
        for backup in found:
            if not backup.good:
                emit(f"{backup.id} is {backup.state}: {backup.problem}")
    if not all(backup.good for backup in found):
        raise typer.Exit(1)


def _options(settings: Settings, compress: str | None, encrypt_to: list[str] | None, **further: Any) -> Options:
    """What the flags say, else ``[tool.pliers-db.backup]``."""
    from pliers_db.backup import Options, parse_compression
    from pliers_db.errors import BadSetting

    section, file = settings.project.section("backup"), settings.project.config_file
    where = "--compress"
    if compress is None and (set_one := section.get("compress")) is not None:
        compress, where = str(set_one), f"backup.compress in {file}"
    recipients = encrypt_to or section.get("encrypt_to", [])
    if not isinstance(recipients, list) or not all(isinstance(each, str) for each in recipients):
        raise BadSetting(f"backup.encrypt_to in {file} is no list of texts", fix='Write encrypt_to = ["age1…"].')
    return Options(
        compression=None if compress is None else parse_compression(compress, where),
        encrypt_to=tuple(recipients),
        **further,
    )


def _fold(error: PliersError) -> None:
    """One line for cron's mail."""
    parts = [error.message, " ".join(error.why.split()), error.fix]
    error.message = "backup nightly: " + ". ".join(part.rstrip(".") for part in parts if part) + "."
    error.why = error.fix = ""
