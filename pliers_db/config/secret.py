"""A string that does not show itself."""

from __future__ import annotations

from typing import NoReturn

from pliers_db.redaction import MASK, remember_secret


class Secret:
    """Holds a password. ``str()``, ``repr()`` and formatting show asterisks; `reveal` gives the text.

    Making one makes the text known to `pliers_db.redaction.redact`, so that no error or log line repeats it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text
        remember_secret(text)

    def reveal(self) -> str:
        """The secret itself, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: it would stand in the file in clear")
