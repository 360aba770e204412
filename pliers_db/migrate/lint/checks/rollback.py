"""Whether a rollback file undoes its migration, as far as the two texts tell. `migrate verify` proves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pliers_db.migrate.lint.source import Source
from pliers_db.migrate.lint.view import Hit
from pliers_db.migrate.sqltree import joined, name_of, quoted, type_name


@dataclass(frozen=True, slots=True)
class Made:
    """An object that a migration creates."""

    kind: str
    name: str
    needs: frozenset[tuple[str, str]] = frozenset()
    """What it stands on."""
    partition: bool = False
    """Whether it goes with its parent."""

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name


def missing(migration_id: str, forward: Source) -> Hit:
    """The finding for a migration without a rollback file, with a draft of that file."""
    drops = [f"drop {m.kind} {quoted(m.name)};" for m in reversed(list(made(forward)))]
    draft = "\n".join([f"-- {migration_id}.rollback.sql", *drops]) if drops else ""
    return Hit("PL020", None, f"{migration_id} has no rollback file", draft)


def order(forward: Source, back: Source) -> Iterator[Hit]:
    """Drops that come before the drop of what stands on them."""
    objects = {m.key: m for m in made(forward)}
    dropped = list(_dropped(back))
    seen: set[tuple[str, str]] = set()
    for number, (offset, key, cascade) in enumerate(dropped):
        seen.add(key)
        if key not in objects or cascade:
            continue
        later = {k for _, k, _ in dropped[number + 1 :]}
        for other in objects.values():
            if key in other.needs and other.key not in seen and other.key in later:
                yield Hit(
                    "PL022",
                    offset,
                    f"drops {key[0]} {key[1]} while {other.kind} {other.name} still stands on it",
                    f"drop {other.kind} {quoted(other.name)};\ndrop {key[0]} {quoted(key[1])};",
                )
                break


def leftovers(forward: Source, back: Source) -> Iterator[Hit]:
    """What the migration creates and its rollback does not drop."""
    dropped = {key for _, key, _ in _dropped(back)}
    schemas = {name for kind, name in dropped if kind == "schema"}
    if _opaque(back) or not back.statements:
        return
    tables = {name for kind, name in dropped if kind == "table"}
    for each in made(forward):
        on_dropped = any(kind == "table" and name in tables for kind, name in each.needs)
        if on_dropped and (each.kind == "index" or each.partition):
            continue
        if each.key not in dropped and each.name.rpartition(".")[0] not in schemas:
            yield Hit(
                "PL023",
                None,
                f"{each.kind} {each.name} is still there after the rollback",
                f"drop {each.kind} {quoted(each.name)};",
            )


def _opaque(source: Source) -> bool:
    """Whether it runs code that may drop anything, or renames what was made."""
    from pglast import ast

    return any(isinstance(s.tree, ast.DoStmt | ast.CallStmt | ast.RenameStmt | None) for s in source.statements)


def made(source: Source) -> Iterator[Made]:
    """What a file creates and does not drop again."""
    gone = {key for _, key, _ in _dropped(source)}
    for statement in source.statements:
        for each in _made(statement.tree):
            if each.key not in gone:
                yield each


def _made(tree: Any) -> Iterator[Made]:
    from pglast import ast, enums

    match tree:
        case ast.CreateStmt(relation=relation) if _lasting(relation) and not tree.if_not_exists:
            yield Made("table", name_of(relation), frozenset(_needs(tree)), tree.partbound is not None)
        case ast.CreateTableAsStmt(into=into) if into is not None and _lasting(into.rel):
            view = tree.objtype == enums.ObjectType.OBJECT_MATVIEW
            yield Made("materialized view" if view else "table", name_of(into.rel))
        case ast.IndexStmt(relation=relation, idxname=name) if name and not tree.if_not_exists:
            schema, _, _ = name_of(relation).rpartition(".")
            yield Made("index", f"{schema}.{name}" if schema else name, frozenset({("table", name_of(relation))}))
        case ast.ViewStmt(view=view, replace=False):
            yield Made("view", name_of(view))
        case ast.CreateEnumStmt(typeName=name) | ast.CompositeTypeStmt(typevar=name):
            yield Made("type", joined(name) if isinstance(name, tuple) else name_of(name))
        case ast.CreateDomainStmt(domainname=name):
            yield Made("domain", joined(name))
        case ast.CreateSchemaStmt(schemaname=name, if_not_exists=False) if name:
            yield Made("schema", name)
        case ast.CreateSeqStmt(sequence=relation, if_not_exists=False):
            yield Made("sequence", name_of(relation))


def _lasting(relation: Any) -> bool:
    return bool(relation.relpersistence != "t")


def _needs(tree: Any) -> Iterator[tuple[str, str]]:
    for element in tree.tableElts or ():
        own = [element] if hasattr(element, "contype") else []
        for constraint in [*own, *(getattr(element, "constraints", None) or ())]:
            if getattr(constraint, "pktable", None) is not None:
                yield "table", name_of(constraint.pktable)
        if getattr(element, "typeName", None) is not None:
            yield "type", type_name(element.typeName)
            yield "domain", type_name(element.typeName)
    for parent in tree.inhRelations or ():
        yield "table", name_of(parent)
    schema, _, _ = name_of(tree.relation).rpartition(".")
    if schema:
        yield "schema", schema


def _dropped(source: Source) -> Iterator[tuple[int, tuple[str, str], bool]]:
    """The objects that a file drops: where, which, and whether with CASCADE."""
    from pglast import ast, enums

    kinds = enums.ObjectType
    words = {
        kinds.OBJECT_TABLE: "table",
        kinds.OBJECT_INDEX: "index",
        kinds.OBJECT_VIEW: "view",
        kinds.OBJECT_MATVIEW: "materialized view",
        kinds.OBJECT_TYPE: "type",
        kinds.OBJECT_DOMAIN: "domain",
        kinds.OBJECT_SCHEMA: "schema",
        kinds.OBJECT_SEQUENCE: "sequence",
    }
    for statement in source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.DropStmt) or tree.removeType not in words:
            continue
        cascade = tree.behavior == enums.DropBehavior.DROP_CASCADE
        names = [_object(o) for o in tree.objects or ()]
        together = {(words[tree.removeType], name) for name in names}
        for name in names:
            # What is dropped in one statement goes together, in whatever order.
            yield statement.start, (words[tree.removeType], name), cascade or len(together) > 1


def _object(node: Any) -> str:
    if isinstance(node, tuple):
        return joined(node)
    return type_name(node) if hasattr(node, "names") else str(node.sval)
