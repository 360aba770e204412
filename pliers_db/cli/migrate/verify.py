"""``pliers-db migrate verify``: whether migrations can be undone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pliers_db.cli.console import Console, emit, emit_json, paint
from pliers_db.cli.context import (
    DebugOption,
    EnvOption,
    JsonOption,
    QuietOption,
    UrlOption,
    open_database,
    resolve,
)
from pliers_db.cli.migrate.options import DirOption, folder_of
from pliers_db.units import format_count, format_duration

if TYPE_CHECKING:
    from pliers_db.migrate import Folder
    from pliers_db.migrate.roundtrip import Verdict, Verification


def verify(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which; default: all.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="GITREF", help="Those whose files changed since then.", show_default=False),
    ] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Those that the database does not have yet.")] = False,
    rows: Annotated[
        bool, typer.Option("--rows", help="With rows in the tables: a rollback that loses or changes data is found.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1, too, if one has no rollback file, or rows could not be tried.")
    ] = False,
    scratch: Annotated[
        str | None,
        typer.Option("--scratch", help="URL of a server to use instead of a scratch server.", show_default=False),
    ] = None,
    directory: DirOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Prove the rollbacks: take each migration up, down and up again on a scratch server, and compare.

    The database of the project is not touched; with --pending it is read. Exit code 1 if a rollback leaves, loses or
    changes anything, or if a migration cannot be tried.
    """
    from pliers_db import migrate
    from pliers_db.config import drop_ambient, load_settings, parse_url
    from pliers_db.log import configure_logging
    from pliers_db.migrate.changed import changed_since
    from pliers_db.migrate.plan import find_id
    from pliers_db.migrate.verify import verify as prove

    if pending:
        settings = resolve(env, database_url)
    else:
        configure_logging()
        drop_ambient(os.environ)
        settings = load_settings(env=env, database_url=database_url)
    folder, console = folder_of(settings, directory), Console(quiet=quiet)
    server = parse_url(scratch, "--scratch") if scratch is not None else None
    known = [m.id for m in folder.migrations]
    asked = {find_id(each, known) for each in ids or ()}
    if since is not None:
        asked.update(changed_since(folder, since))
    if pending:
        with open_database(settings, "migrate verify") as database:
            asked.update(m.id for m in migrate.read_status(database, folder).pending)
    if not (ids or pending or since is not None):
        asked.update(known)
    found = prove(
        folder,
        asked,
        database=settings.target.dbname if settings.target else settings.embedded_database,
        rows=rows,
        scratch=server,
        reporter=console,
    )
    passed = found.passed(strict=strict)
    if json:
        emit_json(_document(found, folder, passed))
    else:
        _tell(found, strict)
    if not passed:
        raise typer.Exit(1)


def _tell(found: Verification, strict: bool) -> None:
    from pliers_db.migrate.roundtrip import Result

    bad = {Result.FINDINGS, Result.CANNOT_VERIFY} | ({Result.NO_WAY_BACK} if strict else set())
    width = max((len(v.result) for v in found.verdicts), default=0)
    for each in found.verdicts:
        colour = "red" if each.result in bad else "green" if each.result is Result.VERIFIED else "yellow"
        reason = f": {each.reason}" if each.reason else ""
        emit(f"{paint(each.result.ljust(width), colour)}  {each.id}{reason}")
        for finding in each.findings:
            emit(_indented(finding.text))
        for warning in each.warnings:
            emit(_indented(f"warning: {warning.text}"))
        if each.without_rows:
            emit(_indented(f"tried without rows, for with them it does not run: {each.without_rows}"))
    counts = [(result, len(found.of(result))) for result in Result]
    parts = [f"{count} {_COUNTED[result]}" for result, count in counts if count]
    if not parts:
        emit("Nothing to verify.")
        return
    took = format_duration(found.seconds)
    total = format_count(len(found.verdicts), "migration")
    emit(f"{total}: {', '.join(parts)} (PostgreSQL {found.server}, {took})")
    if found.rows:
        emit(f"Rows: {format_count(found.rows.rows, 'row')} in {format_count(found.rows.tables, 'table')}")
        for table, why in found.rows.not_looked_at.items():
            emit(_indented(f"not looked at: {table}, which could be given no rows ({why})"))


_COUNTED = {
    "verified": "verified",
    "findings": "with findings",
    "no way back": "without a way back",
    "cannot verify": "could not be verified",
}


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _document(found: Verification, folder: Folder, passed: bool) -> dict[str, Any]:
    files = folder.by_id()

    def row(each: Verdict) -> dict[str, Any]:
        return {
            "id": each.id,
            "path": str(files[each.id].path),
            "transactional": files[each.id].transactional,
            "result": each.result,
            "reason": each.reason or None,
            "findings": [finding.as_dict() for finding in each.findings],
            "warnings": [warning.as_dict() for warning in each.warnings],
            "without_rows": each.without_rows or None,
            "ms": round(each.seconds * 1000, 1),
        }

    return {
        "passed": passed,
        "server_version": found.server or None,
        "seconds": round(found.seconds, 3),
        "rows": found.rows
        and {
            "tables": found.rows.tables,
            "rows": found.rows.rows,
            "not_looked_at": [{"table": table, "why": why} for table, why in found.rows.not_looked_at.items()],
        },
        "migrations": [row(each) for each in found.verdicts],
    }
