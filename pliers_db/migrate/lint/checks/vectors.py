"""Indexes of pgvector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pliers_db.migrate.lint.view import Hit, View, alone
from pliers_db.migrate.sqltree import name_of

_METHODS = ("hnsw", "ivfflat")
_TYPES = ("vector", "halfvec", "sparsevec")


def memory(view: View) -> Iterator[Hit]:
    """A build on a table with rows, without the memory it needs."""
    from pglast import ast

    given = set()
    for statement in view.source.statements:
        tree = statement.tree
        if isinstance(tree, ast.VariableSetStmt):
            given.add(tree.name)
        if not _vector_index(tree) or name_of(tree.relation) in view.created:
            continue
        missing = [n for n in ("maintenance_work_mem", "max_parallel_maintenance_workers") if n not in given]
        if missing:
            yield Hit(
                "PL050",
                statement.start,
                f"{tree.accessMethod} index on {name_of(tree.relation)} without {' and '.join(missing)}",
                alone(
                    "set maintenance_work_mem = '2GB'",
                    "set max_parallel_maintenance_workers = 4 -- plus the leader",
                    concurrently(statement.sql, tree),
                ).replace("4 -- plus the leader;", "4; -- plus the leader"),
            )


def lists(view: View) -> Iterator[Hit]:
    """IVFFlat before the rows."""
    for statement in view.source.statements:
        tree = statement.tree
        if not _vector_index(tree) or tree.accessMethod != "ivfflat" or name_of(tree.relation) not in view.created:
            continue
        yield Hit(
            "PL051",
            statement.start,
            f"{name_of(tree.relation)} is made in this file and has no rows for the lists to learn from",
            "-- now, HNSW, which needs no rows:\n"
            f"{statement.sql.strip().replace('ivfflat', 'hnsw')};\n"
            "-- or IVFFlat in a later migration, when the rows are there",
        )


def dimensions(view: View) -> Iterator[Hit]:
    """An index on a vector column of any length."""
    for statement in view.source.statements:
        tree = statement.tree
        if not _vector_index(tree):
            continue
        table = name_of(tree.relation)
        columns = view.whole.table(table).columns
        for parameter in tree.indexParams or ():
            column = columns.get(parameter.name or "")
            if column is not None and column.type in _TYPES and not column.modifiers:
                yield Hit(
                    "PL052",
                    statement.start,
                    f"{table}.{parameter.name} is {column.type} without dimensions",
                    f"alter table {table} alter {parameter.name} type {column.type}(1536); -- the model's dimensions\n"
                    "-- or index an expression, one for each model:\n"
                    f"create index on {table} using hnsw "
                    f"(({parameter.name}::{column.type}(1536)) {column.type}_cosine_ops) where model = '…';",
                )


def concurrently(sql: str, tree: Any) -> str:
    """The text of CREATE INDEX, made CONCURRENTLY."""
    text = sql.strip()
    if tree.concurrent:
        return text
    at = text.lower().index("index") + len("index")
    return f"{text[:at]} concurrently{text[at:]}"


def _vector_index(tree: Any) -> bool:
    from pglast import ast

    return isinstance(tree, ast.IndexStmt) and tree.accessMethod in _METHODS


CHECKS = (memory, lists, dimensions)
