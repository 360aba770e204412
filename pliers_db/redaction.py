"""Keeping secrets out of messages, logs and tracebacks.

Every `pliers_db.config.Secret` registers its text here when it is made; `redact` scrubs them all, in the forms
that programs print them in, and whatever looks like the password of a URL or a connection string.
"""

from __future__ import annotations

import json
import re
import threading
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "********"

# Scrubbing a password such as "dev" or "postgres" everywhere would maim ordinary words and so betray it.
# These are scrubbed only where a password stands (the patterns below).
_SHORTEST = 6
_WORDS = frozenset(
    {"database", "default", "develop", "development", "localhost", "password", "pliers", "postgres", "postgresql"}
    | {"production", "secret", "staging", "testing"}
)
_LIMIT = 1000  # a long-lived process that reads thousands of secrets keeps the newest

_PATTERNS = (
    # postgresql://user:password@host, greedy: an unescaped @ or / may stand in the password
    (re.compile(r"(://[^\s:/@'\"]*:)[^\s'\"<>]*@"), rf"\1{MASK}@"),
    # password=… of a connection string or query, PGPASSWORD=…, "password": "…"
    (
        re.compile(
            r"""(?ix) ( (?:pg|ssl|db_)? password ["']? \s* [=:] \s* )
                (?: '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | (?!\*{8}) [^\s'"&,;)}\]]+ )"""
        ),
        rf"\1{MASK}",
    ),
    # create role … password '…'
    (re.compile(r"(?i)(\bpassword\s+e?)'(?:[^'\\]|''|\\.)*'"), rf"\1'{MASK}'"),
    # libpq repeats the text that it could not decode
    (re.compile(r"(percent-encoded (?:token|value): )\"[^\"\n]*\"?"), rf'\1"{MASK}"'),
)

_known: dict[str, None] = {}
_lock = threading.Lock()


def remember_secret(text: str) -> None:
    """Scrub this text from now on, wherever `redact` is applied."""
    if len(text) < _SHORTEST or text.lower() in _WORDS or text in _known:
        return
    with _lock:
        _known[text] = None
        while len(_known) > _LIMIT:
            del _known[next(iter(_known))]
    _pattern.cache_clear()


def forget_secrets() -> None:
    """Forget every known secret (for tests)."""
    with _lock:
        _known.clear()
    _pattern.cache_clear()


def redact(text: str) -> str:
    """The text with every known secret and every URL password replaced by asterisks."""
    if (known := _pattern()) is not None:
        text = known.sub(MASK, text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_all(value: Any) -> Any:
    """`redact` for every string in a JSON-like value."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(item) for item in value]
    return value


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str] | None:
    with _lock:
        forms = {form for text in _known for form in _forms(text)}
    if not forms:
        return None
    # The longest first: one secret may begin with another.
    return re.compile("|".join(map(_bounded, sorted(forms, key=len, reverse=True))))


def _forms(text: str) -> set[str]:
    """A secret as it stands in URLs, JSON, Python reprs, connection strings and SQL."""
    return {
        text,
        quote(text, safe=""),
        quote(text),
        quote_plus(text),
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        text.replace("\\", "\\\\").replace("'", "\\'"),
        text.replace("'", "''"),
    }


def _bounded(text: str) -> str:
    """Short plain words only as a word: the password ``market`` must not maim ``marketing``."""
    if len(text) < 10 and text.isalnum():
        return rf"(?<!\w){re.escape(text)}(?!\w)"
    return re.escape(text)
