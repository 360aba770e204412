"""What a statement can leave behind in its session, told from its text.

The question is asked for every statement, so answers are remembered by text. When in doubt the answer is SESSION.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any


class Footprint(IntEnum):
    """How much has to be wiped before somebody else may have the session."""

    NOTHING = 0
    """Constants, transaction control, ``set local``: nothing survives the transaction."""
    DATA = 1
    """Reads and writes of rows. A trigger or function called by them may still have changed the session."""
    SESSION = 2
    """Anything else: settings, temporary tables, prepared statements, locks, subscriptions."""


_ITEM = (
    r"(?:-?\d+(?:\.\d+)?|%s|%\(\w+\)s|'[^'\\]*'|null|true|false|current_(?:date|time|timestamp|user)|session_user"
    r"|(?:now|version|pg_backend_pid|current_database|clock_timestamp|statement_timestamp|pg_is_in_recovery"
    r"|pg_current_xact_id_if_assigned|pg_postmaster_start_time)\(\))"
    r"(?:\s*::\s*(?:int|integer|bigint|text|numeric|boolean))?(?:\s+as\s+\w+)?"
)
_PROBE = re.compile(rf"\s*select\s+{_ITEM}(?:\s*,\s*{_ITEM})*\s*;?\s*", re.IGNORECASE)
_CONTROL = re.compile(
    r"\s*(?:begin|commit|rollback|start\s+transaction|savepoint|release|end|abort|set\s+local|set\s+transaction"
    r"|set\s+constraints|show)\b[^;]*;?\s*",
    re.IGNORECASE,
)
_ROWS = re.compile(r"\s*(?:select|insert|update|delete|merge|with|values|table|copy)\b[^;]*;?\s*", re.IGNORECASE)
# "select … into" makes a table, perhaps a temporary one; the rest changes how later statements are understood.
_DOUBT = re.compile(r"\binto\b(?<!insert into)(?<!merge into)|set_config|search_path|\bpg_temp", re.IGNORECASE)
_LIMITS = re.compile(r"statement_timeout", re.IGNORECASE)
_COMMENTS = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*\*/)*")
_LIMIT = 2000

_END = re.compile(
    r"\s*(?:commit|end|abort|prepare\s+transaction|rollback(?!\s+(?:work\s+|transaction\s+)?to\b))\b", re.IGNORECASE
)

_enders: set[str] = set()
_known: dict[str, Footprint] = {}


def footprint(query: Any) -> Footprint:
    """What this statement can leave behind; anything that is not a plain text counts as SESSION."""
    if not isinstance(query, str):
        return Footprint.SESSION
    found = _known.get(query)
    if found is None:
        if len(_known) >= _LIMIT:
            _known.clear()
            _enders.clear()
        found = _known[query] = _judge(query)
    return found


def ends_transaction(query: Any) -> bool:
    """Whether a statement, of which `footprint` has been asked, ends the transaction that it runs in."""
    return query in _enders if isinstance(query, str) else False


def _judge(query: str) -> Footprint:
    text = query
    if (comments := _COMMENTS.match(query)) is not None:
        query = query[comments.end() :]
    if _END.match(query):
        _enders.add(text)
    if _LIMITS.search(query):  # "set local" too: the watchdog relies on the pool's own limit
        return Footprint.SESSION
    if not query or _PROBE.fullmatch(query) or _CONTROL.fullmatch(query):
        return Footprint.NOTHING
    if _ROWS.fullmatch(query) and not _DOUBT.search(" ".join(query.split())):
        return Footprint.DATA
    return Footprint.SESSION
