"""Named queries from ``.sql`` files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: *(\w+) *$", re.MULTILINE)


@cache
def load_queries(package: str, file: str) -> Mapping[str, LiteralString]:
    """Read the queries of a file that lies in a package.

    :param package: dotted name of the package, e.g. ``pliers_db.health``.
    :param file: path below it, e.g. ``sql/checks.sql``.
    :returns: each query's text by the name in its ``-- name:`` line.
    """
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    queries = {name: cast(LiteralString, body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}
    _names.update({body: name for name, body in queries.items()})
    return queries


_names: dict[str, str] = {}


def name_of(query: str) -> str:
    """The name of a query that `load_queries` has read; empty for any other."""
    return _names.get(query, "")
