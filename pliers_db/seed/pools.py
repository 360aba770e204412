"""Named lists of words to draw from: those of the locale, and the project's own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from pliers_db.seed.spec import Spec

_FOLDER = "wordlists"


def pool(name: str, spec: Spec) -> Sequence[Any]:
    """A list by its name: ``[pools]`` of the seed files first, then the locale's.

    :raises ValueError: there is no such list.
    """
    found = spec.pools.get(name) or _locale(spec.locale).get(name)
    if not found:
        names = sorted({*spec.pools, *_locale(spec.locale)})
        raise ValueError(f"there is no pool {name!r}; there are: {', '.join(names)}")
    return found


@cache
def _locale(locale: str) -> Mapping[str, Sequence[Any]]:
    """The lists of ``en_GB``, or else of ``en``."""
    folder = resources.files("pliers_db.seed").joinpath(_FOLDER)
    for name in (locale, locale.partition("_")[0]):
        file = folder.joinpath(f"{name}.toml")
        if file.is_file():
            return tomllib.loads(file.read_text(encoding="utf-8"))
    known = sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))
    raise ValueError(f"there are no word lists for the locale {locale!r}; there are: {', '.join(known)}")
