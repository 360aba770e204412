"""Which locks a statement takes on tables that are there already, read from its syntax alone. Pure.

Sources: PostgreSQL's manual, "Explicit Locking" and the reference page of each command; AlterTableGetLockLevel in
src/backend/commands/tablecmds.c. A test holds this table to what pg_locks says on a real server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pliers_db.migrate.sqltree import joined, name_of, option


class Lock(IntEnum):
    """The modes of a table's lock, the strongest last; the numbers are PostgreSQL's own."""

    ACCESS_SHARE = 1
    ROW_SHARE = 2
    ROW_EXCLUSIVE = 3
    SHARE_UPDATE_EXCLUSIVE = 4
    SHARE = 5
    SHARE_ROW_EXCLUSIVE = 6
    EXCLUSIVE = 7
    ACCESS_EXCLUSIVE = 8

    def __str__(self) -> str:
        return self.name.replace("_", " ")

    @property
    def stops(self) -> str:
        """What has to wait for it."""
        if self is Lock.ACCESS_EXCLUSIVE:
            return "reads and writes"
        return "writes" if self.value >= Lock.SHARE else "other DDL"


@dataclass(frozen=True, slots=True)
class TableLock:
    """A lock on one relation."""

    relation: str
    mode: Lock
    index: bool = False
    """Whether the relation is an index: its table is locked too, and only the database knows which that is."""


def table_locks(tree: Any) -> tuple[TableLock, ...]:
    """The locks of one statement on the relations that it names, the strongest of each, in the order of their names.
    What the statement creates itself is not there yet, and is left out.

    :param tree: pglast's node; None (not parsed) takes none.
    """
    strongest: dict[str, TableLock] = {}
    for lock in _locks(tree):
        known = strongest.get(lock.relation)
        if known is None or lock.mode > known.mode:
            strongest[lock.relation] = lock
    return tuple(strongest.values())


def _locks(tree: Any) -> Iterator[TableLock]:
    from pglast import ast, enums

    match tree:
        case ast.AlterTableStmt():
            yield from _alter_table(tree)
        case ast.IndexStmt(relation=relation, concurrent=concurrent):
            yield TableLock(name_of(relation), Lock.SHARE_UPDATE_EXCLUSIVE if concurrent else Lock.SHARE)
        case ast.DropStmt():
            yield from _drop(tree)
        case ast.TruncateStmt(relations=relations):
            yield from (TableLock(name_of(r), Lock.ACCESS_EXCLUSIVE) for r in relations or ())
        case ast.RenameStmt(relation=relation) if relation is not None:
            index = tree.renameType == enums.ObjectType.OBJECT_INDEX
            yield TableLock(name_of(relation), Lock.SHARE_UPDATE_EXCLUSIVE if index else Lock.ACCESS_EXCLUSIVE, index)
        case ast.AlterObjectSchemaStmt(relation=relation) if relation is not None:
            yield TableLock(name_of(relation), Lock.ACCESS_EXCLUSIVE)
        case ast.CreateTrigStmt(relation=relation):
            yield TableLock(name_of(relation), Lock.SHARE_ROW_EXCLUSIVE)
        case ast.CreatePolicyStmt(table=relation) | ast.AlterPolicyStmt(table=relation):
            yield TableLock(name_of(relation), Lock.ACCESS_EXCLUSIVE)
        case ast.RuleStmt(relation=relation):
            yield TableLock(name_of(relation), Lock.ACCESS_EXCLUSIVE)
        case ast.CreateStatsStmt(relations=relations):
            yield from (_named(r, Lock.SHARE_UPDATE_EXCLUSIVE) for r in relations or () if isinstance(r, ast.RangeVar))
        case ast.RefreshMatViewStmt(relation=relation, concurrent=concurrent):
            yield TableLock(name_of(relation), Lock.EXCLUSIVE if concurrent else Lock.ACCESS_EXCLUSIVE)
        case ast.ReindexStmt(relation=relation) if relation is not None:
            of_index = tree.kind == enums.ReindexObjectType.REINDEX_OBJECT_INDEX
            if option(tree.params, "concurrently"):
                yield TableLock(name_of(relation), Lock.SHARE_UPDATE_EXCLUSIVE, of_index)
            else:
                yield TableLock(name_of(relation), Lock.ACCESS_EXCLUSIVE if of_index else Lock.SHARE, of_index)
        case ast.ClusterStmt(relation=relation) if relation is not None:
            yield TableLock(name_of(relation), Lock.ACCESS_EXCLUSIVE)
        case ast.VacuumStmt(rels=relations):
            full = option(tree.options, "full") is not None
            mode = Lock.ACCESS_EXCLUSIVE if full else Lock.SHARE_UPDATE_EXCLUSIVE
            yield from (_named(r.relation, mode) for r in relations or () if r.relation is not None)
        case ast.LockStmt(relations=relations, mode=mode):
            yield from (_named(r, Lock(mode)) for r in relations or ())
        case ast.CommentStmt():
            yield from _comment(tree)
        case ast.CreateStmt():
            yield from _create_table(tree)
        case ast.InsertStmt(relation=r) | ast.UpdateStmt(relation=r) | ast.DeleteStmt(relation=r):
            yield TableLock(name_of(r), Lock.ROW_EXCLUSIVE)
        case ast.MergeStmt(relation=relation):
            yield TableLock(name_of(relation), Lock.ROW_EXCLUSIVE)
        case ast.CopyStmt(relation=relation, is_from=True) if relation is not None:
            yield TableLock(name_of(relation), Lock.ROW_EXCLUSIVE)


def _named(relation: Any, mode: Lock) -> TableLock:
    return TableLock(name_of(relation), mode)


def _alter_table(tree: Any) -> Iterator[TableLock]:
    from pglast import enums

    kinds = enums.AlterTableType
    gentle = {
        kinds.AT_SetStatistics,
        kinds.AT_SetOptions,
        kinds.AT_ResetOptions,
        kinds.AT_ClusterOn,
        kinds.AT_DropCluster,
        kinds.AT_SetRelOptions,
        kinds.AT_ResetRelOptions,
        kinds.AT_ValidateConstraint,
        kinds.AT_AttachPartition,
        kinds.AT_DetachPartitionFinalize,
    }
    triggers = {k for k in kinds if k.name.startswith(("AT_EnableTrig", "AT_DisableTrig"))}
    triggers |= {kinds.AT_EnableAlwaysTrig, kinds.AT_EnableReplicaTrig}
    index = tree.objtype == enums.ObjectType.OBJECT_INDEX
    mode = Lock.ACCESS_SHARE
    for command in tree.cmds or ():
        kind, about = command.subtype, command.def_
        if kind in gentle:
            mine = Lock.SHARE_UPDATE_EXCLUSIVE
        elif kind in triggers:
            mine = Lock.SHARE_ROW_EXCLUSIVE
        elif kind == kinds.AT_DetachPartition and about.concurrent:
            mine = Lock.SHARE_UPDATE_EXCLUSIVE
        elif kind == kinds.AT_AddConstraint and about.contype == enums.ConstrType.CONSTR_FOREIGN:
            mine = Lock.SHARE_ROW_EXCLUSIVE
        else:
            mine = Lock.ACCESS_EXCLUSIVE
        mode = max(mode, mine)
        if kind in (kinds.AT_AttachPartition, kinds.AT_DetachPartition) and about.name is not None:
            yield TableLock(name_of(about.name), Lock.ACCESS_EXCLUSIVE, index)
        for other in _referenced(about):
            yield TableLock(other, Lock.SHARE_ROW_EXCLUSIVE)
    if tree.relation is not None:
        yield TableLock(name_of(tree.relation), mode, index)


def _referenced(node: Any) -> Iterator[str]:
    """The tables that foreign keys below a node point to."""
    from pglast import ast

    constraints = [node] if isinstance(node, ast.Constraint) else getattr(node, "constraints", None) or ()
    for constraint in constraints:
        if getattr(constraint, "pktable", None) is not None:
            yield name_of(constraint.pktable)


def _drop(tree: Any) -> Iterator[TableLock]:
    from pglast import enums

    kinds = enums.ObjectType
    relations = (kinds.OBJECT_TABLE, kinds.OBJECT_VIEW, kinds.OBJECT_MATVIEW, kinds.OBJECT_FOREIGN_TABLE)
    of_tables = (kinds.OBJECT_TRIGGER, kinds.OBJECT_POLICY, kinds.OBJECT_RULE)
    for parts in tree.objects or ():
        if tree.removeType in relations:
            yield TableLock(joined(parts), Lock.ACCESS_EXCLUSIVE)
        elif tree.removeType == kinds.OBJECT_INDEX:
            mode = Lock.SHARE_UPDATE_EXCLUSIVE if tree.concurrent else Lock.ACCESS_EXCLUSIVE
            yield TableLock(joined(parts), mode, index=True)
        elif tree.removeType in of_tables:
            yield TableLock(joined(parts[:-1]), Lock.ACCESS_EXCLUSIVE)


def _comment(tree: Any) -> Iterator[TableLock]:
    from pglast import enums

    kinds = enums.ObjectType
    if tree.objtype in (kinds.OBJECT_TABLE, kinds.OBJECT_VIEW, kinds.OBJECT_MATVIEW):
        yield TableLock(joined(tree.object), Lock.SHARE_UPDATE_EXCLUSIVE)
    elif tree.objtype == kinds.OBJECT_COLUMN:
        yield TableLock(joined(tree.object[:-1]), Lock.SHARE_UPDATE_EXCLUSIVE)
    elif tree.objtype in (kinds.OBJECT_TABCONSTRAINT, kinds.OBJECT_TRIGGER, kinds.OBJECT_POLICY):
        yield TableLock(joined(tree.object[:-1]), Lock.ACCESS_SHARE)


def _create_table(tree: Any) -> Iterator[TableLock]:
    for parent in tree.inhRelations or ():
        yield _named(parent, Lock.ACCESS_EXCLUSIVE if tree.partbound is not None else Lock.SHARE_UPDATE_EXCLUSIVE)
    for element in tree.tableElts or ():
        for other in _referenced(element):
            yield TableLock(other, Lock.SHARE_ROW_EXCLUSIVE)
