"""What a check is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pliers_db.migrate.lint.built import Built
from pliers_db.migrate.lint.source import Parsed, Source
from pliers_db.migrate.sqltree import name_of, quoted
from pliers_db.migrate.tablelocks import TableLock, table_locks

NO_TRANSACTION = "-- transactional: false"


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that is broken."""

    rule: str
    offset: int | None
    """Where, in characters; None: the file as a whole."""
    message: str
    safe: str = ""


@dataclass(frozen=True)
class View:
    """A migration among the others."""

    source: Source
    before: Built
    """What the migrations before this one have built."""
    whole: Built
    """What all of them build."""
    postgres: int
    """The oldest major version that it must run on."""

    @cached_property
    def created(self) -> frozenset[str]:
        """The tables, views and indexes that this file makes: nobody uses them yet, so their locks stop nobody."""
        from pglast import ast

        found = set()
        for statement in self.source.statements:
            match statement.tree:
                case ast.CreateStmt(relation=relation):
                    found.add(name_of(relation))
                case ast.CreateTableAsStmt(into=into) if into is not None:
                    found.add(name_of(into.rel))
                case ast.ViewStmt(view=relation):
                    found.add(name_of(relation))
                case ast.IndexStmt(idxname=name, relation=relation) if name:
                    schema = getattr(relation, "schemaname", None)
                    found.add(name if schema in (None, "public") else f"{schema}.{name}")
        return frozenset(found)

    def locks(self, statement: Parsed) -> tuple[TableLock, ...]:
        """The locks of a statement on tables that other sessions may use."""
        return tuple(lock for lock in table_locks(statement.tree) if lock.relation not in self.created)


Check = Callable[[View], Iterator[Hit]]


def alone(*statements: str) -> str:
    """A migration without a transaction that holds these statements."""
    return "\n".join([NO_TRANSACTION, *(s if s.startswith("--") else f"{s};" for s in statements)])


def index_name(tree: Any) -> str:
    """A name, quoted where it must be, for an index that has none. :param tree: of CREATE INDEX."""
    parts = [name_of(tree.relation).rpartition(".")[2], *(str(p.name) for p in tree.indexParams or () if p.name), "idx"]
    return quoted("_".join(parts).replace(".", "_"))


def batches(table: str, work: str, rest: str) -> str:
    """A migration that changes the rows of a table a batch at a time.

    :param table: quoted.
    :param work: UPDATE or DELETE without its WHERE.
    :param rest: the condition for what is still to be done.
    """
    return (
        f"{NO_TRANSACTION}\ndo $$\nbegin\n    loop\n        {work}\n"
        f"        where ctid = any (array(\n"
        f"            select ctid from {table} where {rest} limit 10000 for update skip locked));\n"
        "        exit when not found;\n        commit; -- a batch at a time\n    end loop;\nend\n$$;"
    )


def migrations(*texts: str) -> str:
    """Several migrations, one after the other."""
    return "\n".join(
        f"-- {word} migration\n{text}" for word, text in zip(("first", "second", "third"), texts, strict=False)
    )
