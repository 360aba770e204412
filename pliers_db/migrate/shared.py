"""What a migration does outside of its own schema: it would do so once for each schema. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pliers_db.errors import SharedObject
from pliers_db.migrate.files import MigrationFile
from pliers_db.migrate.parser import place_of, split

_SEARCH_PATH = re.compile(r"set_config\s*\(\s*'search_path'", re.I)
# Where a statement keeps the relation that it makes or changes, and where a name of several parts.
_RELATIONS = ("relation", "view", "sequence", "table", "typevar")
_NAMES = ("funcname", "typeName", "domainname", "defnames")


def check_own_schema(migrations: Collection[MigrationFile], extensions: Collection[str]) -> None:
    """Refuse files that reach out of the schema that they run in.

    They may read what lies elsewhere and point foreign keys at it. What a DO block or a function does is not seen.

    :param extensions: those that the database has.
    :raises SharedObject: names each place.
    """
    found = [f"{m.path}:{line}: {what}" for m in migrations for line, what in outside(m.path, m.text, extensions)]
    if found:
        raise SharedObject(
            f"{found[0]}; nothing was touched" if len(found) == 1 else f"{len(found)} places reach out of their schema",
            why="\n".join([*found, "Each schema would do it once more."]),
            fix="Name no schema, so that it is the one that is migrated; what all share belongs into migrations of its "
            "own: pliers-db migrate up --dir shared",
            places=found,
        )


def outside(path: Path, text: str, extensions: Collection[str] = ()) -> Iterator[tuple[int, str]]:
    """The lines of a file that make or change what belongs to the database or to a named schema."""
    from pglast import parser

    for statement in split(text):
        try:
            trees = parser.parse_sql(statement.sql)
        except parser.ParseError:
            continue  # the server will say so
        for tree in trees:
            if what := _reach(tree.stmt, statement.sql, extensions):
                yield place_of(text, statement.start).line, what


def _reach(tree: Any, sql: str, extensions: Collection[str]) -> str | None:
    from pglast import ast, enums

    whole = {
        enums.ObjectType.OBJECT_SCHEMA: "a schema",
        enums.ObjectType.OBJECT_EXTENSION: "an extension",
        enums.ObjectType.OBJECT_PUBLICATION: "a publication",
        enums.ObjectType.OBJECT_EVENT_TRIGGER: "an event trigger",
        enums.ObjectType.OBJECT_FOREIGN_SERVER: "a foreign server",
    }
    match tree:
        case ast.CreateExtensionStmt() if tree.if_not_exists and tree.extname in extensions:
            return None
        case ast.CreateExtensionStmt() | ast.AlterExtensionStmt():
            return f"the extension {tree.extname} belongs to the database"
        case ast.CreateSchemaStmt():
            return f"the schema {tree.schemaname} belongs to the database"
        case ast.CreateRoleStmt() | ast.AlterRoleStmt() | ast.DropRoleStmt():
            return "a role belongs to the server"
        case ast.CreatePublicationStmt() | ast.CreateSubscriptionStmt() | ast.CreateEventTrigStmt():
            return "a publication, subscription or event trigger belongs to the database"
        case ast.CreateFdwStmt() | ast.CreateForeignServerStmt():
            return "a foreign server belongs to the database"
        case ast.DropStmt(removeType=kind) if kind in whole:
            return f"{whole[kind]} belongs to the database"
        case ast.VariableSetStmt(name="search_path"):
            return "search_path is set by the run, for each schema"
        case ast.SelectStmt() if _SEARCH_PATH.search(sql):
            return "search_path is set by the run, for each schema"
        case ast.SelectStmt(intoClause=None):
            return None
    named = next(iter(_schemas(tree)), None)
    return f"it names the schema {named}" if named else None


def _schemas(tree: Any) -> Iterator[str]:
    """The schemas that a statement names for what it makes or changes."""
    from pglast import ast

    relations = [getattr(tree, name, None) for name in _RELATIONS]
    relations += getattr(tree, "relations", None) or ()
    into = getattr(tree, "into", None) or getattr(tree, "intoClause", None)
    relations.append(getattr(into, "rel", None))
    for relation in relations:
        if isinstance(relation, ast.RangeVar) and relation.schemaname not in (None, "pg_temp"):
            yield str(relation.schemaname)
    if isinstance(tree, ast.AlterObjectSchemaStmt):
        yield str(tree.newschema)
    names: list[Any] = []
    if isinstance(tree, ast.DropStmt):
        dropped: tuple[Any, ...] = tree.objects or ()
        names += [getattr(each, "objname", None) or getattr(each, "names", None) or each for each in dropped]
    elif not isinstance(tree, ast.CreateTrigStmt):  # it calls a function, which may be everybody's
        names += [getattr(tree, name, None) for name in _NAMES]
    for name in names:
        parts = [str(part.sval) for part in name if isinstance(part, ast.String)] if isinstance(name, tuple) else []
        # A trigger, rule or policy is named behind its table: [schema,] table, name.
        own = 2 if isinstance(tree, ast.DropStmt) and tree.removeType in _behind_a_table() else 1
        if len(parts) > own:
            yield parts[0]


def _behind_a_table() -> tuple[Any, ...]:
    from pglast import enums

    kinds = enums.ObjectType
    return kinds.OBJECT_TRIGGER, kinds.OBJECT_RULE, kinds.OBJECT_POLICY
