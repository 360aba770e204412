"""The order in which tables are filled: what is referred to comes first."""

from __future__ import annotations

from collections.abc import Container, Iterable

from pliers_db.errors import ReferenceCycle
from pliers_db.seed.schema import Table


def in_order(tables: Iterable[Table]) -> list[Table]:
    """Tables so that each stands after those it refers to; otherwise by name. A reference to itself is no obstacle:
    one INSERT checks it at its end.

    :raises ReferenceCycle: tables refer to each other in a circle.
    """
    left = {table.name: table for table in sorted(tables, key=lambda t: t.name)}
    needs = {name: _needs(table, left) for name, table in left.items()}
    firmly = {name: _needs(table, left, firmly=True) for name, table in left.items()}
    ordered: list[Table] = []
    while left:
        ready = [name for name in left if not needs[name] & left.keys()]
        # In a circle a deferrable reference may come too early: it is checked at the end of the transaction.
        ready = ready or [name for name in left if not firmly[name] & left.keys()][:1]
        if not ready:
            raise _circle(left, firmly)
        ordered += [left.pop(name) for name in ready]
    return ordered


def together(tables: Iterable[Table]) -> list[list[Table]]:
    """Tables in groups: those of a circle of references stand together, after all that they refer to.

    Tarjan's strongly connected components (1972), written without recursion.
    """
    known = {table.name: table for table in sorted(tables, key=lambda t: t.name)}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[Table]] = []
    for root, first in known.items():
        if root in index:
            continue
        work = [(root, iter(sorted(_needs(first, known))))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            name, ahead = work[-1]
            following = next(ahead, None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    cut = stack.index(name)
                    groups.append([known[member] for member in sorted(stack[cut:])])
                    del stack[cut:]
            elif following not in index:
                index[following] = low[following] = len(index)
                stack.append(following)
                work.append((following, iter(sorted(_needs(known[following], known)))))
            elif following in stack:
                low[name] = min(low[name], index[following])
    return groups


def _needs(table: Table, among: Container[str], *, firmly: bool = False) -> set[str]:
    """The tables that it refers to; ``firmly``: by keys that are checked at once."""
    return {
        key.target
        for key in table.foreign_keys
        if key.target in among and key.target != table.name and not (firmly and key.deferrable)
    }


def _circle(left: dict[str, Table], needs: dict[str, set[str]]) -> ReferenceCycle:
    """Follow needs from any table that is left until one comes again."""
    path = [next(iter(left))]
    while True:
        following = min(needs[path[-1]] & left.keys())
        if following in path:
            circle = [left[name] for name in path[path.index(following) :]]
            break
        path.append(following)
    names = [table.label for table in circle]
    keys = ", ".join(
        f"{table.label}.{key.name}"
        for table in circle
        for key in table.foreign_keys
        if key.target in {t.name for t in circle} and key.target != table.name and not key.deferrable
    )
    return ReferenceCycle(
        "Tables refer to each other in a circle: " + " -> ".join([*names, names[0]]),
        why=f"No order fills them all; the foreign keys are {keys}.",
        fix="Make one of these foreign keys deferrable, or seed one of the tables from a .sql file.",
        tables=names,
    )
