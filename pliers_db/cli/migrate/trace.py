"""``pliers-db migrate trace``: what migrations do to the tables that are there."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pliers_db.cli.console import Console, emit, emit_json, paint
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, QuietOption, UrlOption
from pliers_db.cli.migrate.choice import IdsArgument, PendingOption, ScratchOption, SinceOption, choose
from pliers_db.cli.migrate.options import DirOption
from pliers_db.units import format_count, format_duration

if TYPE_CHECKING:
    from pliers_db.migrate.trace import Step, Traced, Tracing

_WIDTH = 96
_VICTIMS = 10


class FailOn(StrEnum):
    """What a migration must not do."""

    rewrite = "rewrite"
    scan = "scan"
    access_exclusive = "access-exclusive"


def trace(
    ids: IdsArgument = None,
    since: SinceOption = None,
    pending: PendingOption = False,
    sizes_from: Annotated[
        str | None,
        typer.Option("--sizes-from", metavar="URL", help="Read the sizes of the tables there.", show_default=False),
    ] = None,
    fail_on: Annotated[
        list[FailOn] | None, typer.Option("--fail-on", help="Exit 1 if one does that; repeatable.", show_default=False)
    ] = None,
    scratch: ScratchOption = None,
    directory: DirOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what each statement does to the tables that are there: locks, rewrites, full scans, CASCADE.

    The migrations run on a scratch server. The database of the project is not touched; with --pending and --sizes-from
    a database is read. Exit code 1 if a migration cannot be traced, or does what --fail-on names.
    """
    from pliers_db.config import parse_url
    from pliers_db.migrate.impact import fails
    from pliers_db.migrate.trace import read_sizes
    from pliers_db.migrate.trace import trace as watch

    settings, folder, asked = choose(
        "migrate trace", ids, since, pending, directory=directory, env=env, database_url=database_url
    )
    server = parse_url(scratch, "--scratch") if scratch is not None else None
    measured = parse_url(sizes_from, "--sizes-from") if sizes_from is not None else None
    found = watch(
        folder,
        asked,
        database=settings.target.dbname if settings.target else settings.embedded_database,
        sizes=read_sizes(measured) if measured is not None else None,
        scratch=server,
        reporter=Console(quiet=quiet),
    )
    failing = [m.id for m in found.migrations if fails(m.effects, {f.value for f in fail_on or ()})]
    if json:
        emit_json(_document(found, failing))
    else:
        _tell(found, failing)
    if failing or not found.complete:
        raise typer.Exit(1)


def _tell(found: Tracing, failing: list[str]) -> None:
    for each in found.migrations:
        _tell_migration(each, failing=each.id in failing)
    if not found.migrations:
        emit("Nothing to trace.")
        return
    total = format_count(len(found.migrations), "migration")
    harmless = sum(not m.effects and not m.reason for m in found.migrations)
    emit(f"{total}, {harmless} of them do nothing to what was there (PostgreSQL {found.server}, {_took(found)})")


def _tell_migration(each: Traced, *, failing: bool) -> None:
    if each.reason:
        emit(f"{paint('cannot trace', 'red')}  {each.id}: {each.reason}")
        return
    said = each.headline or ("nothing that anybody waits for" if each.effects else "nothing to what was there")
    emit(f"{paint(each.id, 'red' if failing else 'bold')}: {said}")
    for step in each.steps:
        if step.effects or step.note:
            _tell_step(step)


def _tell_step(step: Step) -> None:
    text = " ".join(step.sql.split())
    emit(f"  line {step.line}: {text if len(text) <= _WIDTH else text[: _WIDTH - 1] + '…'}")
    victims = [e for e in step.effects if e.kind == "cascade"]
    for effect in step.effects:
        if effect not in victims[_VICTIMS:]:
            emit(f"      {effect.text}")
    if len(victims) > _VICTIMS:
        emit(f"      and {len(victims) - _VICTIMS} more (--json lists them)")
    if step.note:
        emit(f"      not watched: {step.note}")


def _took(found: Tracing) -> str:
    return format_duration(found.seconds)


def _document(found: Tracing, failing: list[str]) -> dict[str, Any]:
    def row(each: Traced) -> dict[str, Any]:
        return {
            "id": each.id,
            "transactional": each.transactional,
            "reason": each.reason or None,
            "headline": each.headline or None,
            "fails": each.id in failing,
            "statements": [
                {
                    "line": step.line,
                    "sql": step.sql,
                    "note": step.note or None,
                    "effects": [effect.as_dict() for effect in step.effects],
                }
                for step in each.steps
            ],
        }

    return {
        "complete": found.complete,
        "server_version": found.server or None,
        "seconds": round(found.seconds, 3),
        "migrations": [row(each) for each in found.migrations],
    }
