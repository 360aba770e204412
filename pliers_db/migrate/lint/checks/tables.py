"""How tables and functions are made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pliers_db.migrate.lint.view import Hit, View, alone
from pliers_db.migrate.sqltree import joined, name_of, option, quoted, type_name


def foreign_keys(view: View) -> Iterator[Hit]:
    """Foreign keys whose columns no index of the project begins with."""
    from pglast import ast, enums

    for statement in view.source.statements:
        relation = getattr(statement.tree, "relation", None)
        if not isinstance(statement.tree, ast.CreateStmt | ast.AlterTableStmt) or relation is None:
            continue
        table = name_of(relation)
        for column, constraint in _constraints(statement.tree):
            if constraint.contype != enums.ConstrType.CONSTR_FOREIGN:
                continue
            columns = tuple(str(a.sval) for a in constraint.fk_attrs or ()) or (column,)
            # A partition and a table whose first columns are a key's prefix are served by it.
            if view.whole.has_key(table, columns):
                continue
            listed = ", ".join(quoted(c) for c in columns)
            name = f"{table.rpartition('.')[2]}_{'_'.join(columns)}_idx"
            new = table in view.created
            yield Hit(
                "PL040",
                statement.start,
                f"no index begins with {listed} of {table}, which refers to {name_of(constraint.pktable)}",
                f"create index {quoted(name)} on {quoted(table)} ({listed});"
                if new
                else alone(f"create index concurrently {quoted(name)} on {quoted(table)} ({listed})"),
            )


def _constraints(tree: Any) -> Iterator[tuple[str, Any]]:
    """The constraints of CREATE TABLE or ALTER TABLE, each with the column it stands at."""
    from pglast import ast

    elements = [c.def_ for c in tree.cmds or ()] if isinstance(tree, ast.AlterTableStmt) else tree.tableElts or ()
    for element in elements:
        if isinstance(element, ast.Constraint):
            yield "", element
        elif isinstance(element, ast.ColumnDef):
            yield from ((str(element.colname), c) for c in element.constraints or ())


def primary_keys(view: View) -> Iterator[Hit]:
    """Tables that no migration gives a primary key."""
    from pglast import ast

    for statement in view.source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.CreateStmt) or _temporary(tree.relation) or tree.inhRelations:
            continue
        name = name_of(tree.relation)
        likes = any(isinstance(e, ast.TableLikeClause) for e in tree.tableElts or ())
        if name in view.whole.tables and not view.whole.table(name).primary_key and not likes:
            yield Hit(
                "PL041",
                statement.start,
                f"{name} has no primary key",
                f"alter table {quoted(name)} add primary key (id);"
                if "id" in view.whole.table(name).columns
                else f"alter table {quoted(name)} add column id bigint generated always as identity primary key;",
            )


def _temporary(relation: Any) -> bool:
    return bool(relation.relpersistence == "t")


def json_columns(view: View) -> Iterator[Hit]:
    """json where jsonb is meant."""
    from pglast import ast

    for statement in view.source.statements:
        tree = statement.tree
        if isinstance(tree, ast.CreateStmt):
            elements = tree.tableElts or ()
        elif isinstance(tree, ast.AlterTableStmt):
            elements = tuple(c.def_ for c in tree.cmds or ())
        else:
            continue
        for element in elements:
            if isinstance(element, ast.ColumnDef) and element.colname and type_name(element.typeName) == "json":
                text = re.sub(r"\bjson\b", "jsonb", statement.sql.strip(), flags=re.I)
                yield Hit("PL042", statement.start, f"{element.colname} is json", f"{text};")


def cascades(view: View) -> Iterator[Hit]:
    """DROP … CASCADE, of objects and of columns."""
    from pglast import ast, enums

    cascade = enums.DropBehavior.DROP_CASCADE
    for statement in view.source.statements:
        tree = statement.tree
        if isinstance(tree, ast.DropStmt) and tree.behavior == cascade:
            names = ", ".join(joined(o if isinstance(o, tuple) else (o,)) for o in tree.objects or ())
        elif isinstance(tree, ast.AlterTableStmt) and any(c.behavior == cascade for c in tree.cmds or ()):
            names = name_of(tree.relation)
        else:
            continue
        text = " ".join(statement.sql.split())
        at = text.lower().rindex(" cascade")
        yield Hit(
            "PL043",
            statement.start,
            f"CASCADE drops whatever depends on {names}",
            f"-- name what depends on it, then:\n{text[:at]};",
        )


def security_definers(view: View) -> Iterator[Hit]:
    """Functions with their owner's rights that look names up by the caller's path."""
    from pglast import ast

    given = {
        joined(s.tree.func.objname or ())
        for s in view.source.statements
        if isinstance(s.tree, ast.AlterFunctionStmt)
        and s.tree.func is not None
        and any(o.defname == "set" and o.arg.name == "search_path" for o in s.tree.actions or ())
    }
    for statement in view.source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.CreateFunctionStmt):
            continue
        security = option(tree.options, "security")
        paths = [o for o in tree.options or () if o.defname == "set" and o.arg.name == "search_path"]
        name = joined(tree.funcname)
        if security is not None and security.arg.boolval and not paths and tree.sql_body is None and name not in given:
            yield Hit(
                "PL044",
                statement.start,
                f"{name} runs with its owner's rights and looks names up by its caller's search_path",
                f"{statement.sql.strip()};\n"
                f"alter function {quoted(name)} set search_path = ''; -- and write schema.name in its body",
            )


def triggers_off(view: View) -> Iterator[Hit]:
    """Triggers, and with them foreign keys, switched off."""
    from pglast import ast, enums

    off = (enums.AlterTableType.AT_DisableTrigAll,)
    for statement in view.source.statements:
        tree = statement.tree
        if isinstance(tree, ast.AlterTableStmt) and any(c.subtype in off for c in tree.cmds or ()):
            table = name_of(tree.relation)
            safe = f"alter table {quoted(table)} disable trigger user; -- foreign keys stay on\n-- …\n"
            safe += f"alter table {quoted(table)} enable trigger user;"
            yield Hit("PL045", statement.start, f"foreign keys of {table} are not checked from here on", safe)
        elif isinstance(tree, ast.VariableSetStmt) and tree.name == "session_replication_role" and tree.args:
            yield Hit(
                "PL045",
                statement.start,
                "no foreign key and no trigger of any table works from here on",
                "-- add foreign keys NOT VALID, load, then validate them",
            )


CHECKS = (foreign_keys, primary_keys, json_columns, cascades, security_definers, triggers_off)
