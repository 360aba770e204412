"""``pliers-db migrate plan``: what ``up`` would do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pliers_db.cli.console import Console, emit, emit_json, paint
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, UrlOption, announce, open_database, resolve
from pliers_db.cli.migrate.options import DirOption, LockTimeoutOption, StatementTimeoutOption, folder_of
from pliers_db.units import format_count

if TYPE_CHECKING:
    from pliers_db.migrate.preview import Planned, Preview


def plan(
    to: Annotated[str | None, typer.Option("--to", help="The last migration to apply.", show_default=False)] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="How many to apply at most.", show_default=False)
    ] = None,
    allow_out_of_order: Annotated[
        bool, typer.Option("--allow-out-of-order", help="As for up: with what is older than an applied migration.")
    ] = False,
    directory: DirOption = None,
    lock_timeout: LockTimeoutOption = 2.0,
    statement_timeout: StatementTimeoutOption = 0.0,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what up would run, what it would lock, and how large that is. Reads only: no lock, works on a standby.

    The text is the SQL, in order; what is known about it stands in comments. Exit code 1 if up would refuse.
    """
    from pliers_db import migrate
    from pliers_db.migrate.facts import look_ahead
    from pliers_db.migrate.lint import read_settings

    settings, console = resolve(env, database_url), Console()
    folder = folder_of(settings, directory)
    announce(console, settings)
    with open_database(settings, "migrate plan") as database:
        found = look_ahead(
            database,
            folder,
            to=to,
            steps=steps,
            options=migrate.Options(
                lock_timeout=lock_timeout, statement_timeout=statement_timeout, allow_out_of_order=allow_out_of_order
            ),
            lint_settings=read_settings(settings.project),
        )
    if json:
        emit_json({"target": str(settings.target), "environment": settings.environment, **_document(found)})
    else:
        for line in _lines(found, settings.project.root):
            emit(line)
    if found.refusal is not None:
        raise typer.Exit(1)


def _lines(found: Preview, root: Path) -> Iterator[str]:
    from pliers_db.migrate.preview import now

    for session in found.dumps:
        yield paint(
            f"-- {session.sentence(now())}: changes of its tables wait for it, and everybody behind them", "red"
        )
    for holder in found.holders:
        yield paint(f"-- {holder} holds the lock of migrations: up waits for it", "red")
    for note in found.notes:
        yield paint(f"-- {note}", "yellow")
    for migration in found.migrations:
        yield ""
        yield from _migration(migration, root)
    for hook in found.hooks:
        yield f"-- then {hook}.sql"
    if found.refusal is not None:
        yield paint(f"-- up would refuse: {found.refusal.message}", "red")
        yield f"--   fix: {found.refusal.fix}"
    yield from _summary(found)


def _migration(migration: Planned, root: Path) -> Iterator[str]:
    how = "one transaction" if migration.transactional else "statement by statement, no transaction"
    yield paint(f"-- {migration.id} ({how})", "bold")
    if migration.transactional:
        yield "begin;"
    for setting in migration.settings:
        yield f"{setting};"
    for step in migration.steps:
        yield ""
        for lock in step.locks:
            on = f" of {lock.relation.table}" if lock.relation.table else ""
            yield paint(
                f"-- {lock.mode} on {lock.relation.name}{on} ({lock.relation.size}): {lock.mode.stops} wait",
                "red" if lock.mode >= 8 else "dim",
            )
        for loss in step.destroys:
            yield paint(f"-- destructive: {loss}", "red")
        yield f"-- already done: {step.sql.splitlines()[0]} …" if step.done else f"{step.sql};"
    for finding in migration.findings:
        yield paint(f"-- lint, line {finding.line}: {finding.severity} {finding.rule} {finding.message}", "yellow")
    if migration.transactional:
        yield "\ncommit; -- with its record"


def _summary(found: Preview) -> Iterator[str]:
    yield ""
    if not found.migrations:
        yield "-- nothing is pending"
        return
    losses = sum(len(step.destroys) for m in found.migrations for step in m.steps)
    findings = sum(len(m.findings) for m in found.migrations)
    parts = [format_count(len(found.migrations), "migration")]
    parts += [format_count(losses, "destructive statement")] if losses else []
    parts += [format_count(findings, "lint finding")] if findings else []
    yield f"-- {', '.join(parts)}"
    for name, (relation, mode) in found.tables.items():
        yield f"-- {name}: {mode} ({relation.size})"


def _document(found: Preview) -> dict[str, Any]:
    refusal = found.refusal.as_dict() if found.refusal is not None else None
    return {
        "pending": len(found.migrations),
        "would_run": found.refusal is None,
        "refusal": refusal,
        "dumps": [{"pid": d.pid, "name": d.name, "since": d.since and d.since.isoformat()} for d in found.dumps],
        "lock_held_by": list(found.holders),
        "notes": list(found.notes),
        "locks": [
            {
                "relation": name,
                "mode": str(mode),
                "stops": mode.stops,
                "bytes": None if relation.rows is None else relation.bytes,
                "rows": relation.rows,
            }
            for name, (relation, mode) in found.tables.items()
        ],
        "migrations": [
            {
                "id": m.id,
                "path": str(m.path),
                "transactional": m.transactional,
                "settings": list(m.settings),
                "statements": [
                    {
                        "line": step.line,
                        "sql": step.sql,
                        "done": step.done,
                        "locks": [lock.as_dict() for lock in step.locks],
                        "destructive": list(step.destroys),
                    }
                    for step in m.steps
                ],
                "findings": [finding.as_dict() for finding in m.findings],
            }
            for m in found.migrations
        ],
        "hooks": list(found.hooks),
    }
