"""The database layer for asyncio (FastAPI and the like): same settings, same errors, same retry policy.

::

    from pliers_db.aio import AsyncDatabase, run_transaction

    async with AsyncDatabase(settings) as database:
        order = await run_transaction(database, place_order)
"""

from pliers_db.aio.pool import AsyncConnection, AsyncDatabase
from pliers_db.aio.run import run_transaction

__all__ = ["AsyncConnection", "AsyncDatabase", "run_transaction"]
