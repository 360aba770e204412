"""What a failed migration is told as: file, line, column, a caret, and what to do."""

from __future__ import annotations

from pathlib import Path

import psycopg

from pliers_db.errors import ConnectionLost, MigrationFailed, MigrationPartial, MissingPrivilege, PliersError
from pliers_db.migrate.blockers import BlockerWatch
from pliers_db.migrate.parser import place_of
from pliers_db.migrate.script import Script, locate
from pliers_db.units import format_count

# Duplicate table, column, object, schema, function: it exists already.
_THERE_ALREADY = ("42P07", "42701", "42710", "42P06", "42723")


def connection_lost(migration_id: str, error: psycopg.Error) -> ConnectionLost:
    """The connection is gone, and whether the COMMIT came through is not known."""
    return ConnectionLost(
        f"The connection was lost while {migration_id} ran",
        why=" ".join(str(error).split()),
        fix="Run the same command again: a migration and its record are committed together or not at all.",
    )


def rolled_back(
    migration_id: str, script: Script, error: psycopg.Error, *, completed: int, operation: str
) -> PliersError:
    """A transaction was refused and is rolled back.

    :param completed: how many statements of the script had ended well.
    :param operation: apply or rollback.
    """
    place, text = locate(script, error.diag, completed)
    if place is None:
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return MissingPrivilege(
                f"{migration_id} could not be recorded: {text}",
                why="The migration was rolled back with it.",
                fix="Grant this role insert and delete on yoyo's tables.",
            )
        return MigrationFailed(
            f"{script.path}: {text}",
            why=f"It failed at the end of the transaction ({error.sqlstate}).{_details(error)}",
            fix="Correct it and run the same command again: nothing of this migration was kept.",
            id=migration_id,
        )
    fix = "Correct it and run the same command again: nothing of this migration was kept."
    if isinstance(error, psycopg.errors.ActiveSqlTransaction):
        fix = "Put it into a migration of its own that begins with the line: -- transactional: false"
    elif isinstance(error, psycopg.errors.LockNotAvailable):
        fix = "Another session holds a lock on that object. Run the same command again later, or give more --retries."
    elif operation == "apply" and error.sqlstate in _THERE_ALREADY:
        fix = (
            "If it is there because stock yoyo was killed before it recorded it: "
            f"pliers-db migrate repair --mark-applied {migration_id}. Else correct the file."
        )
    return MigrationFailed(
        f"{script.path}:{place.line}:{place.column}: {text}",
        why=f"The server refused this statement ({error.sqlstate}).\n{place.caret()}{_details(error)}",
        fix=fix,
        id=migration_id,
        line=place.line,
        column=place.column,
        sqlstate=error.sqlstate,
        operation=operation,
    )


def part_way(
    migration_id: str, path: Path, text: str, error: psycopg.Error, *, start: int, number: int, total: int
) -> PliersError:
    """One statement of a file without a transaction was refused.

    :param start: where the statement begins in the text.
    :param number: which one it is, from 1.
    """
    place = place_of(text, start + int(error.diag.statement_position or 1) - 1)
    message = f"{path}:{place.line}:{place.column}: {error.diag.message_primary or error}"
    why = f"Statement {number} of {total} failed ({error.sqlstate}).\n{place.caret()}{_details(error)}"
    if number == 1:
        return MigrationFailed(message, why=why, fix="Correct it and run the same command again.", id=migration_id)
    return MigrationPartial(
        message,
        why=f"{why}\n{format_count(number - 1, 'statement')} before it {'is' if number == 2 else 'are'} committed.",
        fix="Correct this statement or what stands in its way, and run the same command again: it goes on here.",
        id=migration_id,
        statement=number,
        statements=total,
    )


def say_who(failure: PliersError, watch: BlockerWatch | None, attempts: int) -> PliersError:
    """Add to a failure who was in the way, and how often it was tried."""
    if watch and watch.seen:
        failure.why += f"\nblocked by: {watch.seen}"
    failure.why += f"\nTried {format_count(attempts, 'time')}."
    return failure


def _details(error: psycopg.Error) -> str:
    diag = error.diag
    parts = {"detail": diag.message_detail, "hint": diag.message_hint, "context": diag.context}
    inner = f"\nin: {diag.internal_query}" if diag.internal_query else ""
    return inner + "".join(f"\n{name}: {text}" for name, text in parts.items() if text)
