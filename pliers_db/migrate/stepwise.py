"""Running a file without a transaction: statement by statement, with its progress on record.

Nothing is ever undone behind anybody's back. (Stock yoyo would run the rollback's statements in pairs with those that
went well.) What can run in a transaction does so together with its progress; of the rest the catalog is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from pliers_db.errors import MigrationPartial
from pliers_db.migrate.failures import connection_lost, part_way
from pliers_db.migrate.history import PROGRESS_TABLE, QUERIES
from pliers_db.migrate.script import RESTORE, Script
from pliers_db.migrate.steps import Kind, Step, plan_steps, resume_at

if TYPE_CHECKING:
    from pliers_db.migrate.backend import PooledBackend, SqlMigration

# A file may have set a role that may not write here; it keeps that role for its next statement.
_AS_OURSELVES = "set local session authorization default; set local role none;\n"


def run_stepwise(backend: PooledBackend, migration: SqlMigration, text: str, path: Path, operation: str) -> None:
    """Run a file's statements one by one, from the first that has not run yet.

    :param operation: apply or rollback.
    :raises PartlyDone: where to go on is not known.
    :raises MigrationFailed: the first statement was refused; everything is as before.
    :raises MigrationPartial: a later one was.
    """
    steps = plan_steps(text)
    progress = backend.progress.get(migration.id)
    if progress is not None and progress.operation != operation:
        progress = None  # it went the other way since
    first = resume_at(steps, progress, path)
    if progress is not None:
        backend.tell(f"{migration.id} goes on at statement {first + 1} of {len(steps)}")
    for setting in backend.settings:
        backend.send(setting.replace("set local", "set"), path)
    # A timeout would leave an INVALID index behind CREATE INDEX CONCURRENTLY.
    backend.send("set lock_timeout = 0; set statement_timeout = 0", path)
    begin = _begin(backend, migration, text, operation, first, len(steps))
    for number, step in enumerate(steps, 1):
        if number <= first:
            if step.kind is Kind.SETTING:
                backend.send(step.sql, path)
            continue
        done_before = bool(progress and progress.running and number == first + 1) and _index_is_there(backend, step)
        if number == first + 1:
            _note(backend, begin, path)
        try:
            if not done_before:
                _run(backend, migration, step, path, _advance(backend, migration, number, len(steps)))
        except psycopg.DatabaseError as error:
            if backend.connection.closed:
                raise connection_lost(migration.id, error) from error
            _after_failure(backend, migration, step, path, error, first_of_all=number == 1)
            raise part_way(
                migration.id, path, text, error, start=step.start, number=number, total=len(steps)
            ) from error
        if done_before or step.kind is not Kind.ATOMIC:
            _note(backend, _advance(backend, migration, number, len(steps)), path)
    backend.send(RESTORE, path)


def _run(backend: PooledBackend, migration: SqlMigration, step: Step, path: Path, advance: str) -> None:
    if step.kind is Kind.ATOMIC:
        backend.attempt(migration, Script(path, "begin;\n", step.sql, f"\n;\n{_AS_OURSELVES}{advance};\ncommit", 1))
        return
    if step.relation is not None:
        _drop_invalid(backend, step, path)
    before = set(_invalid(backend, step))
    backend.attempt(migration, Script(path, "", step.sql, ""))
    if step.kind is Kind.CREATE_INDEX and (left := set(_invalid(backend, step)) - before):
        raise MigrationPartial(
            f"{path}: {', '.join(left)} is INVALID after its statement ended well",
            why="PostgreSQL does not use an invalid index, and keeps it up to date all the same.",
            fix="pliers-db migrate up drops it and builds it again.",
            id=migration.id,
        )


# ── indexes that CONCURRENTLY left behind ───────────────────────────────────────────────────────────────────
def _invalid(backend: PooledBackend, step: Step) -> list[str]:
    """The INVALID indexes of the step's table; of the one name if the statement gives it."""
    if step.relation is None:
        return []
    parameters = {"relation": step.relation, "index": step.index}
    return [row[0] for row in backend.connection.execute(QUERIES["invalid_indexes"], parameters)]


def _drop_invalid(backend: PooledBackend, step: Step, path: Path) -> None:
    """Remove what an interrupted run of the same statement left: CREATE INDEX would stumble over its name, or with
    IF NOT EXISTS take it for done.
    """
    for name in _invalid(backend, step):
        ours = step.index is not None or name.rstrip('0123456789"').endswith(("_ccnew", "_ccold"))
        if ours:
            backend.tell(f"dropping {name}, which an interrupted run has left INVALID")
            backend.send(f"drop index concurrently {name}", path)


def _index_is_there(backend: PooledBackend, step: Step) -> bool:
    """Whether CREATE INDEX CONCURRENTLY was done when its run was killed."""
    if step.kind is not Kind.CREATE_INDEX or step.index is None:
        return False
    parameters = {"relation": step.relation, "index": step.index}
    row = backend.connection.execute(QUERIES["valid_index"], parameters).fetchone()
    return bool(row and row[0])


def _after_failure(
    backend: PooledBackend, migration: SqlMigration, step: Step, path: Path, error: psycopg.Error, *, first_of_all: bool
) -> None:
    if step.kind is Kind.CREATE_INDEX:
        _drop_invalid(backend, step, path)
    table, where = _table(backend), f"where migration_hash = {backend.quote(migration.hash)}"
    if first_of_all:
        _note(backend, f"delete from {table} {where}", path)
    else:
        message = backend.quote(error.diag.message_primary)
        _note(backend, f"update {table} set running = false, error = {message} {where}", path)


def _note(backend: PooledBackend, statement: str, path: Path) -> None:
    backend.send(f"begin;\n{_AS_OURSELVES}{statement};\ncommit", path)


# ── progress ────────────────────────────────────────────────────────────────────────────────────────────────
def _table(backend: PooledBackend) -> str:
    return backend.own_table(PROGRESS_TABLE)


def _begin(
    backend: PooledBackend, migration: SqlMigration, text: str, operation: str, finished: int, statements: int
) -> str:
    values = ", ".join(
        (
            backend.quote(migration.hash),
            backend.quote(migration.id),
            backend.quote(operation),
            str(finished),
            str(statements),
            backend.text(text),
        )
    )
    return (
        f"insert into {_table(backend)} (migration_hash, migration_id, operation, finished, statements, sql, running)"
        f" values ({values}, true) on conflict (migration_hash) do update set operation = excluded.operation,"
        " finished = excluded.finished, statements = excluded.statements, sql = excluded.sql, running = true,"
        " error = null, at = now()"
    )


def _advance(backend: PooledBackend, migration: SqlMigration, number: int, statements: int) -> str:
    running = str(number < statements).lower()
    return (
        f"update {_table(backend)} set finished = {number}, running = {running}, at = now()"
        f" where migration_hash = {backend.quote(migration.hash)}"
    )
