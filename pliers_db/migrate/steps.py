"""A file without a transaction as steps: what each needs, and where a run that stopped part-way goes on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pliers_db.errors import PartlyDone
from pliers_db.migrate.edits import same_meaning
from pliers_db.migrate.history import Progress
from pliers_db.migrate.parser import needs_no_transaction, split


class Kind(Enum):
    """What running a statement takes, and what is known if its run was killed."""

    ATOMIC = "runs in one transaction with its progress, so it is done or not"
    SETTING = "SET: run again before going on, for the session is another one"
    REPEATABLE = "may run twice: VACUUM, REINDEX, ALTER SYSTEM"
    CREATE_INDEX = "the catalog tells: no index, an INVALID one, or done"
    OPAQUE = "may have been done or not, or half"


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a file without a transaction."""

    sql: str
    start: int
    """Its offset in the file, in characters."""
    kind: Kind
    relation: str | None = None
    """For indexes: the quoted name of the table (CREATE INDEX), or of table or index (REINDEX)."""
    index: str | None = None
    """The index's plain name, where the statement gives one."""


def plan_steps(text: str) -> list[Step]:
    """The statements of a file, each with its kind."""
    from pglast import parser

    steps = []
    for statement in split(text):
        try:
            tree = parser.parse_sql(statement.sql)[0].stmt
        except parser.ParseError:
            tree = None  # the server's grammar may be newer
        steps.append(Step(statement.sql, statement.start, *_kind(tree)))
    return steps


def _kind(tree: object) -> tuple[Kind, str | None, str | None]:
    from pglast import ast

    match tree:
        case ast.IndexStmt(concurrent=True, relation=relation, idxname=name):
            return Kind.CREATE_INDEX, _name(relation), name
        case ast.ReindexStmt(relation=relation):
            return Kind.REPEATABLE, _name(relation) if relation else None, None
        case ast.VacuumStmt() | ast.AlterSystemStmt() | ast.DiscardStmt() | ast.CheckPointStmt():
            return Kind.REPEATABLE, None, None
        case ast.DropStmt(concurrent=True, missing_ok=True):
            return Kind.REPEATABLE, None, None
        case ast.VariableSetStmt():
            return Kind.SETTING, None, None
        case None | ast.CallStmt() | ast.DoStmt():  # these may commit inside
            return Kind.OPAQUE, None, None
    return (Kind.OPAQUE if needs_no_transaction(tree) else Kind.ATOMIC), None, None


def _name(relation: object) -> str:
    parts = (getattr(relation, "schemaname", None), getattr(relation, "relname", None))
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts if part)


def resume_at(steps: list[Step], progress: Progress | None, path: Path) -> int:
    """Which step is the first to run: 0 for a file that was not begun.

    :raises PartlyDone: the steps that have run were edited since, or what the interrupted one did is not known.
    """
    if progress is None:
        return 0
    done = progress.finished
    before = plan_steps(progress.sql)
    for number, then in enumerate(before[:done], 1):
        if number > len(steps) or not same_meaning(then.sql, steps[number - 1].sql):
            raise PartlyDone(
                f"{progress.id} stands part-way, and statement {number}, which has run, was edited",
                why=f"Statements 1 to {done} of {progress.statements} were committed as the file stood then.",
                fix=f"Undo the edit above statement {done + 1}; or correct by hand and: "
                f"pliers-db migrate repair --mark-applied {progress.id} (or --mark-pending)",
                id=progress.id,
                finished=done,
            )
    if progress.running and done < len(steps) and steps[done].kind is Kind.OPAQUE:
        raise PartlyDone(
            f"{progress.id} was killed while statement {done + 1} of {progress.statements} ran",
            why=f"Whether it took effect is not known: {steps[done].sql.splitlines()[0]}",
            fix=f"Look. If it did: pliers-db migrate repair --resume {progress.id} --statement {done + 2}; "
            f"if not: --statement {done + 1}. Then: pliers-db migrate up",
            id=progress.id,
            statement=done + 1,
        )
    return min(done, len(steps))
