"""pliers-db: migrate, seed, back up, restore and judge a PostgreSQL database.

The public names are imported on first use, so that ``pliers-db --help`` does not pay for psycopg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pliers_db.aio import AsyncDatabase
    from pliers_db.config import Settings, load_settings
    from pliers_db.db import Connection, Database, RetryPolicy, run_transaction

__all__ = [
    "AsyncDatabase",
    "Connection",
    "Database",
    "RetryPolicy",
    "Settings",
    "__version__",
    "load_settings",
    "run_transaction",
]

_HOMES = {
    "Settings": "pliers_db.config",
    "load_settings": "pliers_db.config",
    "Connection": "pliers_db.db",
    "AsyncDatabase": "pliers_db.aio",
    "Database": "pliers_db.db",
    "RetryPolicy": "pliers_db.db",
    "run_transaction": "pliers_db.db",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(home)
    if name in ("AsyncDatabase", "Database"):
        # Settings without a URL mean the embedded server, which the database layer cannot start itself.
        import_module("pliers_db.db").provide_embedded(
            lambda settings: import_module("pliers_db.postgres").ensure_embedded(settings)
        )
    return getattr(module, name)
