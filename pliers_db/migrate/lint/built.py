"""What the migrations up to some point have built, as far as their text says so. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pliers_db.migrate.sqltree import joined, name_of, type_modifiers, type_name


@dataclass(slots=True)
class Column:
    """A column's type."""

    type: str
    modifiers: tuple[int, ...] = ()


@dataclass(slots=True)
class Check:
    """A CHECK constraint."""

    validated: bool
    not_null: str | None = None
    """The column, if all that it says is that this is not null."""


@dataclass(slots=True)
class Table:
    """A table as its migrations have left it."""

    partitioned: bool = False
    columns: dict[str, Column] = field(default_factory=dict)
    primary_key: bool = False
    checks: dict[str, Check] = field(default_factory=dict)
    keys: list[tuple[str, ...]] = field(default_factory=list)
    """The columns of each index and key."""


class Built:
    """The tables that a series of statements makes."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}

    def table(self, name: str) -> Table:
        """A table; an empty one if it is not known."""
        return self.tables.get(name) or Table()

    def has_key(self, table: str, columns: tuple[str, ...]) -> bool:
        """Whether an index finds the rows with given values of these columns: its first two (or the only one) are among
        them.
        """
        needed = min(2, len(columns))
        return any(len(key) >= needed and set(key[:needed]) <= set(columns) for key in self.table(table).keys)

    def take(self, trees: Iterable[Any]) -> None:
        """Follow the statements."""
        for tree in trees:
            self._take(tree)

    def _take(self, tree: Any) -> None:
        from pglast import ast, enums

        about: Any = tree  # without the types of a matched node, whose every slot may be None

        kinds = enums.ObjectType
        match tree:
            case ast.CreateStmt(relation=relation):
                table = self.tables.setdefault(name_of(relation), Table())
                table.partitioned = tree.partspec is not None
                parents = [self.tables.get(name_of(p)) for p in tree.inhRelations or ()]
                table.primary_key = table.primary_key or any(p is not None and p.primary_key for p in parents)
                for element in tree.tableElts or ():
                    self._element(table, element)
            case ast.CreateTableAsStmt(into=into) if into is not None:
                self.tables.setdefault(name_of(into.rel), Table())
            case ast.AlterTableStmt(relation=relation, cmds=commands) if tree.objtype == kinds.OBJECT_TABLE:
                table = self.tables.setdefault(name_of(relation), Table())
                for command in commands or ():
                    self._alter(table, command)
            case ast.IndexStmt(relation=relation):
                table_name = name_of(relation)
                columns = tuple(str(p.name) for p in tree.indexParams or () if p.name)
                # A partial one counts if it leaves out only nulls.
                if tree.whereClause is None or _not_null(tree.whereClause) in columns:
                    self.tables.setdefault(table_name, Table()).keys.append(columns)
            case ast.DropStmt(removeType=kinds.OBJECT_TABLE, objects=objects):
                for parts in objects or ():
                    self.tables.pop(joined(parts), None)
            case ast.RenameStmt(renameType=kinds.OBJECT_TABLE, relation=relation):
                if (table_ := self.tables.pop(name_of(relation), None)) is not None:
                    schema, _, _ = name_of(relation).rpartition(".")
                    self.tables[f"{schema}.{about.newname}" if schema else about.newname] = table_
            case ast.RenameStmt(renameType=kinds.OBJECT_COLUMN, relation=relation):
                known = self.table(name_of(relation))
                if about.subname in known.columns:
                    known.columns[about.newname] = known.columns.pop(about.subname)

    def _element(self, table: Table, element: Any) -> None:
        from pglast import ast

        if isinstance(element, ast.ColumnDef) and element.colname:
            table.columns[element.colname] = Column(type_name(element.typeName), type_modifiers(element.typeName))
            for constraint in element.constraints or ():
                self._constraint(table, constraint, element.colname)
        elif isinstance(element, ast.Constraint):
            self._constraint(table, element)

    def _constraint(self, table: Table, constraint: Any, column: str = "") -> None:
        from pglast import enums

        kinds = enums.ConstrType
        kind = constraint.contype
        if kind in (kinds.CONSTR_PRIMARY, kinds.CONSTR_UNIQUE):
            table.primary_key = table.primary_key or kind == kinds.CONSTR_PRIMARY
            named = tuple(str(k.sval) for k in constraint.keys or ())
            table.keys.append(named or ((column,) if column else ()))
        elif kind == kinds.CONSTR_CHECK:
            name = constraint.conname or f"(unnamed {len(table.checks)})"
            table.checks[name] = Check(not constraint.skip_validation, _not_null(constraint.raw_expr))

    def _alter(self, table: Table, command: Any) -> None:
        from pglast import enums

        kinds = enums.AlterTableType
        if command.subtype in (kinds.AT_AddColumn, kinds.AT_AddConstraint):
            self._element(table, command.def_)
        elif command.subtype == kinds.AT_AlterColumnType:
            table.columns[command.name] = Column(
                type_name(command.def_.typeName), type_modifiers(command.def_.typeName)
            )
        elif command.subtype == kinds.AT_ValidateConstraint and command.name in table.checks:
            table.checks[command.name].validated = True
        elif command.subtype == kinds.AT_DropConstraint:
            table.checks.pop(command.name, None)
        elif command.subtype == kinds.AT_DropColumn:
            table.columns.pop(command.name, None)


def _not_null(expression: Any) -> str | None:
    from pglast import ast, enums

    if (
        isinstance(expression, ast.NullTest)
        and expression.nulltesttype == enums.NullTestType.IS_NOT_NULL
        and isinstance(expression.arg, ast.ColumnRef)
    ):
        return str(getattr((*(expression.arg.fields or ()),)[-1], "sval", "")) or None
    return None
