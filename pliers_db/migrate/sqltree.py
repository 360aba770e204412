"""Names in PostgreSQL's syntax tree (pglast), written one way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PUBLIC = "public"


def name_of(relation: Any) -> str:
    """A relation's name as this package compares names: without the schema public, which is where a bare name leads.

    :param relation: pglast's ``RangeVar``.
    """
    schema = getattr(relation, "schemaname", None)
    name = str(relation.relname)
    return name if schema in (None, PUBLIC) else f"{schema}.{name}"


def joined(parts: Any) -> str:
    """A qualified name in its parts (``String`` nodes), as `name_of` writes it."""
    words = [str(p.sval) for p in parts if getattr(p, "sval", None) is not None]
    return ".".join(words[1:] if len(words) > 1 and words[0] == PUBLIC else words)


def type_name(node: Any) -> str:
    """The name of a type: ``int4``, ``vector``, ``app.mood``."""
    words = [str(n.sval) for n in (node.names if node is not None else ()) or ()]
    return ".".join(w for w in words if w not in ("pg_catalog", PUBLIC))


def type_modifiers(node: Any) -> tuple[int, ...]:
    """What stands in parentheses behind a type: ``(384,)`` of ``vector(384)``."""
    found = (getattr(getattr(m, "val", None), "ival", None) for m in (node.typmods if node is not None else ()) or ())
    return tuple(int(value) for value in found if value is not None)


def option(options: Any, name: str) -> Any:
    """The ``DefElem`` of that name; None if it is not given."""
    return next((o for o in options or () if getattr(o, "defname", None) == name), None)


def walk(node: Any) -> Iterator[Any]:
    """The node and every node below it."""
    from pglast import ast

    if isinstance(node, tuple):
        for each in node:
            yield from walk(each)
    elif isinstance(node, ast.Node):
        yield node
        for slot in node:
            yield from walk(getattr(node, slot))


def quoted(name: str) -> str:
    """A name as it is written in SQL."""
    from pglast.stream import maybe_double_quote_name

    return ".".join(str(maybe_double_quote_name(part)) for part in name.split("."))
