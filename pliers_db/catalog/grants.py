"""Access control lists in words, as differences from what a new object has."""

from __future__ import annotations

import re
from collections.abc import Sequence

# PostgreSQL documentation, table 5.1.
_LETTERS = {
    "r": "SELECT",
    "a": "INSERT",
    "w": "UPDATE",
    "d": "DELETE",
    "D": "TRUNCATE",
    "x": "REFERENCES",
    "t": "TRIGGER",
    "m": "MAINTAIN",
    "X": "EXECUTE",
    "U": "USAGE",
    "C": "CREATE",
    "c": "CONNECT",
    "T": "TEMPORARY",
    "s": "SET",
    "A": "ALTER SYSTEM",
}
_ITEM = re.compile(r'(?:"((?:[^"]|"")*)"|([^"=]*))=((?:[A-Za-z]\*?)*)/.*', re.DOTALL)
_PRIVILEGE = re.compile(r"([A-Za-z])(\*?)")


def read_grants(acl: Sequence[str] | None, default: Sequence[str] | None, owner: str) -> tuple[str, ...]:
    """Say how privileges differ from the default.

    :param acl: as stored, ``app=rw*/postgres`` each; None: nobody ever granted or revoked.
    :param default: what ``acldefault()`` gives for the kind and owner.
    :param owner: whose own privileges are written ``(owner)``, so that a change of owner is one difference.
    """
    if acl is None:
        return ()
    have, usual = _explode(acl, owner), _explode(default or (), owner)
    return (*sorted(have - usual), *sorted(f"-{item}" for item in usual - have))


def _explode(acl: Sequence[str], owner: str) -> set[str]:
    found = set()
    for item in acl:
        parts = _ITEM.fullmatch(item)
        assert parts is not None, item
        name = parts[1].replace('""', '"') if parts[1] is not None else parts[2]
        who = "PUBLIC" if not item.startswith('"') and not name else "(owner)" if name == owner else name
        found |= {f"{who}={_LETTERS.get(letter, letter)}{star}" for letter, star in _PRIVILEGE.findall(parts[3])}
    return found
