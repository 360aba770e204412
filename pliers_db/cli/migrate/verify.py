"""``pliers-db migrate verify``: whether migrations can be undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pliers_db.cli.console import Console, emit, emit_json, paint
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, QuietOption, UrlOption
from pliers_db.cli.migrate.choice import IdsArgument, PendingOption, ScratchOption, SinceOption, choose
from pliers_db.cli.migrate.options import DirOption
from pliers_db.units import format_count, format_duration

if TYPE_CHECKING:
    from pliers_db.migrate import Folder
    from pliers_db.migrate.roundtrip import Verdict, Verification


def verify(
    ids: IdsArgument = None,
    since: SinceOption = None,
    pending: PendingOption = False,
    rows: Annotated[
        bool, typer.Option("--rows", help="With rows in the tables: a rollback that loses or changes data is found.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1, too, if one has no rollback file, or rows could not be tried.")
    ] = False,
    scratch: ScratchOption = None,
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
    from pliers_db.config import parse_url
    from pliers_db.migrate.verify import verify as prove

    settings, folder, asked = choose(
        "migrate verify", ids, since, pending, directory=directory, env=env, database_url=database_url
    )
    server = parse_url(scratch, "--scratch") if scratch is not None else None
    found = prove(
        folder,
        asked,
        database=settings.target.dbname if settings.target else settings.embedded_database,
        rows=rows,
        scratch=server,
        reporter=Console(quiet=quiet),
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
            emit(_indented(f"not looked at: {table} ({why})"))


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
