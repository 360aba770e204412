"""What an expression demands of a column, as far as that can be read off it; the rest is for the database to judge."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

Node = Mapping[str, Any]

_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "<>": "<>"}
_LENGTHS = frozenset({"length", "char_length", "character_length", "octet_length"})


@dataclass(frozen=True, slots=True)
class Demand:
    """The values that a column may have."""

    low: str | None = None
    """The least, as text; with ``above`` it is excluded."""
    high: str | None = None
    above: bool = False
    below: bool = False
    shortest: int = 0
    """Characters."""
    longest: int | None = None
    values: tuple[str, ...] | None = None
    patterns: tuple[str, ...] = ()
    """Regular expressions."""
    json_type: str | None = None
    not_null: bool = False

    def also(self, other: Demand) -> Demand:
        """Both at once (roughly: of two bounds the later one, where they can't be compared as numbers)."""
        values = other.values if self.values is None else self.values
        if self.values is not None and other.values is not None:
            values = tuple(v for v in self.values if v in other.values)
        longest = [n for n in (self.longest, other.longest) if n is not None]
        low, above = _tighter(self.low, self.above, other.low, other.above, greater=True)
        high, below = _tighter(self.high, self.below, other.high, other.below, greater=False)
        return Demand(
            low,
            high,
            above,
            below,
            max(self.shortest, other.shortest),
            min(longest) if longest else None,
            values,
            self.patterns + other.patterns,
            other.json_type or self.json_type,
            self.not_null or other.not_null,
        )


def _tighter(
    one: str | None, one_out: bool, two: str | None, two_out: bool, *, greater: bool
) -> tuple[str | None, bool]:
    if one is None or two is None:
        return (two, two_out) if one is None else (one, one_out)
    try:
        a, b = float(one), float(two)
    except ValueError:
        a, b = 0.0, 1.0 if greater else -1.0
        if one == two:
            return one, one_out or two_out
        return (max(one, two), one_out) if greater else (min(one, two), one_out)
    if a == b:
        return one, one_out or two_out
    return (one, one_out) if (a > b) == greater else (two, two_out)


@cache
def parsed(expression: str) -> Node:
    """The syntax tree of an SQL expression."""
    from pglast.parser import parse_sql_json  # 0.15 s: only where there is something to read

    tree = json.loads(parse_sql_json(f"select {expression}"))
    found: Node = tree["stmts"][0]["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    return found


@cache
def statement(sql: str) -> Node:
    """The syntax tree of a statement."""
    from pglast.parser import parse_sql_json

    found: Node = json.loads(parse_sql_json(sql))["stmts"][0]["stmt"]
    return found


def columns_of(node: Any) -> set[str]:
    """The columns that an expression names."""
    return {name for found in _walk(node, "ColumnRef") if (name := _column(found)) is not None}


def literals_of(node: Any) -> list[str]:
    """The constants in an expression, as text."""
    return [text for found in _walk(node, "A_Const") if (text := _constant({"A_Const": found})) is not None]


def conjuncts(node: Node) -> Iterator[Node]:
    """The parts that must all be true."""
    both = node.get("BoolExpr")
    if both and both["boolop"] == "AND_EXPR":
        for part in both["args"]:
            yield from conjuncts(part)
    else:
        yield node


def demand_on(node: Node, column: str) -> Demand:
    """What an expression demands of a column by itself."""
    found = Demand()
    for part in conjuncts(node):
        one = _demand(part, column)
        if one is not None:
            found = found.also(one)
    return found


def orders(node: Node) -> list[tuple[str, str]]:
    """Pairs of columns of which the first must not be greater than the second."""
    found = []
    for part in conjuncts(node):
        call = part.get("A_Expr")
        if call and call["kind"] == "AEXPR_OP" and "lexpr" in call:
            left, right = _bare_column(call["lexpr"]), _bare_column(call["rexpr"])
            operator = call["name"][-1]["String"]["sval"]
            if left and right and operator in ("<", "<=", ">", ">="):
                found.append((left, right) if operator in ("<", "<=") else (right, left))
    return found


def understood(node: Node) -> bool:
    """Whether `demand_on` and `orders` say all that an expression does."""
    for part in conjuncts(node):
        columns = columns_of(part)
        if len(columns) == 1:
            found = _demand(part, next(iter(columns)))
            if found is None or found.patterns or found.json_type:
                return False
        elif not orders(part) or part["A_Expr"]["name"][-1]["String"]["sval"] in ("<", ">"):
            return False  # two values that are drawn may be equal
    return True


def equations(expression: str) -> list[tuple[str, str, set[str]]]:
    """What is said by ``column = expression``: the column, the expression in SQL, and the columns it needs.

    The column may stand in its own expression: ``email = lower(email)``.
    """
    from pglast import parse_sql
    from pglast.stream import RawStream

    found = []
    select: Any = parse_sql(f"select {expression}")[0].stmt
    whole = select.targetList[0].val
    written = whole.args if type(whole).__name__ == "BoolExpr" and whole.boolop.name == "AND_EXPR" else [whole]
    for node, tree in zip(conjuncts(parsed(expression)), written, strict=False):
        call = node.get("A_Expr")
        if not call or call["kind"] != "AEXPR_OP" or call["name"][-1]["String"]["sval"] != "=":
            continue
        for own, other, part in (("lexpr", "rexpr", "rexpr"), ("rexpr", "lexpr", "lexpr")):
            name = _bare_column(call[own])
            if name is not None and _bare_column(call[other]) is None and columns_of(call[other]):
                found.append((name, str(RawStream()(getattr(tree, part))), columns_of(call[other])))
                break
    return found


def _demand(node: Node, column: str) -> Demand | None:
    null = node.get("NullTest")
    if null:
        if null["nulltesttype"] == "IS_NOT_NULL" and _bare_column(null["arg"]) == column:
            return Demand(not_null=True)
        return None
    either = node.get("BoolExpr")
    if either and either["boolop"] == "OR_EXPR":
        return _either(either["args"], column)
    call = node.get("A_Expr")
    if not call or "rexpr" not in call or "lexpr" not in call:
        return None
    operator = call["name"][-1]["String"]["sval"]
    left, right = call["lexpr"], call["rexpr"]
    if call["kind"] in ("AEXPR_OP_ANY", "AEXPR_IN") and operator == "=" and _bare_column(left) == column:
        values = _list(right)
        return None if values is None else Demand(values=values)
    if call["kind"] not in ("AEXPR_OP", "AEXPR_LIKE", "AEXPR_ILIKE"):
        return None
    if _bare_column(left) is None and _constant(left) is not None and operator in _TURNED:
        left, right, operator = right, left, _TURNED[operator]
    constant = _constant(right)
    if constant is None:
        return None
    if _bare_column(left) == column:
        return _compared(operator, constant)
    function, inner = _call(left)
    if inner is not None and _bare_column(inner) == column:
        return _measured(function, operator, constant)
    return None


def _compared(operator: str, constant: str) -> Demand | None:
    if operator in (">", ">="):
        return Demand(low=constant, above=operator == ">")
    if operator in ("<", "<="):
        return Demand(high=constant, below=operator == "<")
    if operator == "=":
        return Demand(values=(constant,))
    if operator in ("~", "~*"):
        return Demand(patterns=(constant,))
    if operator in ("~~", "~~*"):
        return Demand(patterns=(_like(constant),))
    if operator == "<>" and constant == "":
        return Demand(shortest=1)
    return None


def _measured(function: str, operator: str, constant: str) -> Demand | None:
    """A function of the column, compared with a constant."""
    if function in _LENGTHS and constant.lstrip("-").isdigit():
        number = int(constant)
        if operator in (">", ">="):
            return Demand(shortest=number + (operator == ">"))
        if operator in ("<", "<="):
            return Demand(longest=number - (operator == "<"))
        if operator == "=":
            return Demand(shortest=number, longest=number)
    if function in ("btrim", "ltrim", "rtrim", "trim") and operator == "<>" and constant == "":
        return Demand(shortest=1)
    if function in ("jsonb_typeof", "json_typeof") and operator == "=":
        return Demand(json_type=constant)
    if function in ("lower", "upper") and operator == "=":
        return Demand(values=(constant,))
    if function in ("cardinality", "array_length") and constant.isdigit() and operator in (">", ">=", "="):
        return Demand(shortest=int(constant) + (operator == ">"))
    return None


def _either(parts: Sequence[Node], column: str) -> Demand | None:
    """Lists of values may be joined; ``x is null or …`` demands what the other part does."""
    left = [part for part in parts if part.get("NullTest", {}).get("nulltesttype") != "IS_NULL"]
    found = [_demand(part, column) for part in left]
    if len(left) == 1 and len(parts) > 1 and found[0] is not None:
        return replace(found[0], not_null=False)
    if found and all(one is not None and one.values is not None for one in found):
        return Demand(values=tuple(dict.fromkeys(v for one in found if one for v in one.values or ())))
    return None


# ── the tree ────────────────────────────────────────────────────────────────────────────────────────────────
def _walk(node: Any, kind: str) -> Iterator[Any]:
    if isinstance(node, Mapping):
        for name, inner in node.items():
            if name == kind:
                yield inner
            yield from _walk(inner, kind)
    elif isinstance(node, list):
        for inner in node:
            yield from _walk(inner, kind)


def _column(reference: Mapping[str, Any]) -> str | None:
    last = reference["fields"][-1]
    return str(last["String"]["sval"]) if "String" in last else None


def _stripped(node: Node) -> Node:
    """Without casts, and without a collation."""
    while True:
        if "TypeCast" in node:
            node = node["TypeCast"]["arg"]
        elif "CollateClause" in node:
            node = node["CollateClause"]["arg"]
        else:
            return node


def _bare_column(node: Node) -> str | None:
    inner = _stripped(node)
    return _column(inner["ColumnRef"]) if "ColumnRef" in inner else None


def _call(node: Node) -> tuple[str, Node | None]:
    call = _stripped(node).get("FuncCall")
    if not call or not call.get("args"):
        return "", None
    return str(call["funcname"][-1]["String"]["sval"]), call["args"][0]


def _constant(node: Node) -> str | None:
    """A constant as text, with its sign and without its cast."""
    inner = _stripped(node)
    call = inner.get("A_Expr")
    if call and "lexpr" not in call and call["name"][0]["String"]["sval"] == "-":
        number = _constant(call["rexpr"])
        return None if number is None else f"-{number}"
    constant = inner.get("A_Const")
    if constant is None or constant.get("isnull"):
        return None
    for kind in ("ival", "fval", "sval", "boolval", "bsval"):
        if kind in constant:
            value = constant[kind].get(kind)
            if kind == "boolval":
                return "true" if value else "false"
            return str(value if value is not None else 0 if kind == "ival" else "")
    return None


def _list(node: Node) -> tuple[str, ...] | None:
    """The constants of ``ARRAY[…]``, ``(…)`` or ``'{…}'::text[]``."""
    inner = _stripped(node)
    if "List" in inner:
        items = inner["List"]["items"]
    elif "A_ArrayExpr" in inner:
        items = inner["A_ArrayExpr"].get("elements", [])
    else:
        text = _constant(inner)
        found = re.fullmatch(r"\{([^{}\"\\]*)\}", text or "")
        return tuple(found[1].split(",")) if found and found[1] else None
    values = [_constant(item) for item in items]
    return None if any(value is None for value in values) else tuple(str(value) for value in values)


def _like(pattern: str) -> str:
    """A LIKE pattern as a regular expression."""
    found, escaped = "", False
    for char in pattern:
        if escaped or char not in "%_\\":
            found += ("\\" if not char.isalnum() and char not in " _@" else "") + char
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            found += ".*" if char == "%" else "."
    return f"^{found}$"
