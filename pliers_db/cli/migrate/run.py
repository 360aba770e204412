"""``pliers-db migrate new``, ``status``, ``up``, ``down`` and ``redo``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pliers_db.cli.confirm import ConfirmOption, with_confirmation
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
from pliers_db.cli.migrate.drift import drift_document, find_drift, tell_drift
from pliers_db.cli.migrate.options import (
    DataLossOption,
    DirOption,
    LockTimeoutOption,
    NoDumpOption,
    RetriesOption,
    StatementTimeoutOption,
    WaitOption,
    folder_of,
)
from pliers_db.errors import PliersError
from pliers_db.units import format_count, format_duration

if TYPE_CHECKING:
    from pliers_db.config import Settings
    from pliers_db.db import Database
    from pliers_db.migrate import Entry, Outcome


def new(
    name: Annotated[str, typer.Argument(help="What it does, in a few words: add_users.")],
    non_transactional: Annotated[
        bool, typer.Option("--non-transactional", help="For CREATE INDEX CONCURRENTLY and the like.")
    ] = False,
    no_down: Annotated[bool, typer.Option("--no-down", help="Without a rollback file.")] = False,
    directory: DirOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the files of a new migration. Needs no database."""
    from pliers_db.config import find_project
    from pliers_db.migrate.create import create

    folder = directory or find_project(Path.cwd()).migrations
    made = create(folder, name, transactional=not non_transactional, with_rollback=not no_down)
    if json:
        emit_json({"id": made.id, "path": str(made.path), "rollback_path": made.rollback_path})
        return
    for path in (made.path, made.rollback_path):
        if path:
            emit(_relative(path))


def status(
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if anything is pending, edited or missing.")] = False,
    drift: Annotated[
        bool, typer.Option("--drift", help="Compare the schema, too, as migrate drift does; exit 1 if it differs.")
    ] = False,
    directory: DirOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show which migrations are applied. Reads only: no lock, works on a standby."""
    from pliers_db.migrate import State, read_status

    settings = resolve(env, database_url)
    folder = folder_of(settings, directory)
    with open_database(settings, "migrate status") as database:
        found = read_status(database, folder)
        drifted = find_drift(database, folder, settings, Console()) if drift else None
    counts = {state: len(found.of(state)) for state in State}
    if json:
        emit_json(
            {
                "target": str(settings.target),
                "environment": settings.environment,
                "applied": len(found.applied),
                "pending": len(found.pending),
                "states": {state: count for state, count in counts.items() if count},
                "migrations": [_entry(e) for e in found.entries],
                **({"drift": drift_document(drifted, settings)} if drifted else {}),
            }
        )
    else:
        rows = [
            (
                e.state,
                e.id,
                f"{e.applied_at:%Y-%m-%d %H:%M:%S}Z" if e.applied_at else "",
                _took(e),
                e.by or "",
                _remark(e),
            )
            for e in found.entries
        ]
        emit_table(("STATE", "MIGRATION", "APPLIED AT", "TOOK", "BY", ""), rows, right=[3])
        always = (State.APPLIED, State.PENDING)
        emit(", ".join(f"{count} {state}" for state, count in counts.items() if count or state in always))
        if drifted:
            tell_drift(drifted)
    for warning in folder.warnings:
        Console().warn(warning)
    if (check and not found.clean) or (drifted and drifted.found):
        raise typer.Exit(1)


def up(
    to: Annotated[str | None, typer.Option("--to", help="The last migration to apply.", show_default=False)] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="How many to apply at most.", show_default=False)
    ] = None,
    single_transaction: Annotated[
        bool, typer.Option("--single-transaction", help="All in one transaction: all or none.")
    ] = False,
    allow_out_of_order: Annotated[
        bool, typer.Option("--allow-out-of-order", help="Apply what is older than an applied migration.")
    ] = False,
    directory: DirOption = None,
    wait: WaitOption = 60.0,
    lock_timeout: LockTimeoutOption = 2.0,
    statement_timeout: StatementTimeoutOption = 0.0,
    retries: RetriesOption = 10,
    no_dump: NoDumpOption = False,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Apply the pending migrations."""
    from pliers_db import migrate

    settings, console = resolve(env, database_url), Console(quiet=quiet)
    folder = folder_of(settings, directory)
    announce(console, settings)
    with open_database(settings, "migrate up") as database:
        outcome = migrate.up(
            database,
            folder,
            environment=settings.environment,
            to=to,
            steps=steps,
            options=migrate.Options(
                wait, lock_timeout, statement_timeout, retries, allow_out_of_order, single_transaction
            ),
            reporter=console,
        )
        if not no_dump:
            _refresh_structure(database, outcome, settings, console)
    _report(outcome, settings, json=json, quiet=quiet)


def down(
    steps: Annotated[int, typer.Option("--steps", min=1, help="How many to roll back.")] = 1,
    to: Annotated[
        str | None, typer.Option("--to", help="Roll back everything after this one, which stays.", show_default=False)
    ] = None,
    allow_data_loss: DataLossOption = False,
    confirm_db: ConfirmOption = None,
    directory: DirOption = None,
    wait: WaitOption = 60.0,
    lock_timeout: LockTimeoutOption = 2.0,
    statement_timeout: StatementTimeoutOption = 0.0,
    retries: RetriesOption = 10,
    no_dump: NoDumpOption = False,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Roll the last migration back, or several."""
    _down(
        "migrate down",
        (wait, lock_timeout, statement_timeout, retries),
        (env, database_url, directory),
        confirm_db,
        quiet,
        json,
        no_dump,
        steps=steps,
        to=to,
        allow_data_loss=allow_data_loss,
    )


def redo(
    steps: Annotated[int, typer.Option("--steps", min=1, help="How many.")] = 1,
    allow_data_loss: DataLossOption = False,
    confirm_db: ConfirmOption = None,
    directory: DirOption = None,
    wait: WaitOption = 60.0,
    lock_timeout: LockTimeoutOption = 2.0,
    statement_timeout: StatementTimeoutOption = 0.0,
    retries: RetriesOption = 10,
    no_dump: NoDumpOption = False,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Roll the last migration back and apply it again."""
    _down(
        "migrate redo",
        (wait, lock_timeout, statement_timeout, retries),
        (env, database_url, directory),
        confirm_db,
        quiet,
        json,
        no_dump,
        steps=steps,
        again=True,
        allow_data_loss=allow_data_loss,
    )


def _down(
    command: str,
    limits: tuple[float, float, float, int],
    where: tuple[str | None, str | None, Path | None],
    confirm_db: str | None,
    quiet: bool,
    json: bool,
    no_dump: bool,
    **arguments: Any,
) -> None:
    from pliers_db import migrate

    env, database_url, directory = where
    settings, console = resolve(env, database_url), Console(quiet=quiet)
    folder = folder_of(settings, directory)
    announce(console, settings)
    with open_database(settings, command) as database:
        outcome = with_confirmation(
            confirm_db,
            lambda confirm: migrate.down(
                database,
                folder,
                environment=settings.environment,
                confirm=confirm,
                options=migrate.Options(*limits),
                reporter=console,
                **arguments,
            ),
        )
        if not no_dump:
            _refresh_structure(database, outcome, settings, console)
    _report(outcome, settings, json=json, quiet=quiet)


def _refresh_structure(database: Database, outcome: Outcome, settings: Settings, console: Console) -> None:
    """A project that keeps a structure.sql has it follow the database of development."""
    if settings.environment != "development" or not (outcome.applied or outcome.rolled_back):
        return
    from pliers_db.migrate.structure import FILE, read_structure, write_structure

    path = settings.project.root / FILE
    if not path.exists():
        return
    try:
        found = read_structure(database, path)
        if found.stale:
            write_structure(found)
            console.info(f"{FILE} written")
    except (PliersError, OSError) as error:  # the migrations have run: that stays the answer
        console.warn(f"{FILE} is not refreshed: {error}")


def _report(outcome: Outcome, settings: Settings, *, json: bool, quiet: bool) -> None:
    pending = len(outcome.status.pending)
    if json:
        emit_json(
            {
                "target": str(settings.target),
                "environment": settings.environment,
                "rolled_back": [{"id": d.id, "ms": round(d.ms, 1)} for d in outcome.rolled_back],
                "applied": [{"id": d.id, "ms": round(d.ms, 1)} for d in outcome.applied],
                "recorded": list(outcome.recorded),
                "pending": pending,
            }
        )
        return
    if quiet:
        return
    for word, done in (("Rolled back", outcome.rolled_back), ("Applied", outcome.applied)):
        if done:
            took = format_duration(sum(d.ms for d in done) / 1000)
            emit(f"{word} {format_count(len(done), 'migration')} in {took}.")
    if not outcome.applied and not outcome.rolled_back:
        emit(f"Nothing to do: {format_count(len(outcome.status.applied), 'migration')} applied.")
    if pending:
        emit(f"{format_count(pending, 'migration')} pending.")


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "state": entry.state,
        "applied_at": entry.applied_at.isoformat() if entry.applied_at else None,
        "by": entry.by,
        "path": str(entry.file.path) if entry.file else None,
        "transactional": entry.file.transactional if entry.file else None,
        "reversible": entry.reversible,
        "ms": entry.record.duration_ms if entry.record else None,
        "cosmetic_edit": entry.cosmetic,
        "progress": entry.progress
        and {
            "operation": entry.progress.operation,
            "finished": entry.progress.finished,
            "statements": entry.progress.statements,
            "running": entry.progress.running,
            "error": entry.progress.error,
        },
    }


def _took(entry: Entry) -> str:
    ms = entry.record.duration_ms if entry.record else None
    return "" if ms is None else format_duration(ms / 1000)


def _remark(entry: Entry) -> str:
    at = entry.progress
    remarks: Sequence[tuple[bool, str]] = (
        (at is not None, f"{at.finished} of {at.statements} statements done" if at else ""),
        (at is not None and at.error is not None, str(at and at.error)),
        (entry.file is None, "its file is gone"),
        (entry.state == "squashed", "all that it replaces is applied: up records it"),
        (entry.state == "split", "only a part of what it replaces is applied"),
        (entry.cosmetic, "comments or layout changed since"),
        (not entry.reversible, "no rollback"),
        (entry.file is not None and not entry.file.transactional, "not transactional"),
    )
    return ", ".join(text for true, text in remarks if true)


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
