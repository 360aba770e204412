"""pliers-db: migrate, seed, back up, restore and judge a PostgreSQL database.

The public names are imported on first use, so that ``pliers-db --help`` does not pay for psycopg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pliers_db.config import Settings
    from pliers_db.db import Database

__all__ = ["Database", "Settings", "__version__"]

_HOMES = {"Settings": "pliers_db.config", "Database": "pliers_db.db"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
