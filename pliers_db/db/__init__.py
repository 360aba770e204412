"""The database layer: one pool, classified errors, the environment stamp."""

from pliers_db.config import Stamp
from pliers_db.db.connect import Connection, connect
from pliers_db.db.locks import LockName, advisory_lock, advisory_unlock, lock_holders, try_advisory_lock
from pliers_db.db.pool import Database
from pliers_db.db.queries import load_queries
from pliers_db.db.sqlstate import ErrorClass, classify
from pliers_db.db.stamp import has_tables, read_stamp, write_stamp

__all__ = [
    "Connection",
    "Database",
    "ErrorClass",
    "LockName",
    "Stamp",
    "advisory_lock",
    "advisory_unlock",
    "classify",
    "connect",
    "has_tables",
    "load_queries",
    "lock_holders",
    "read_stamp",
    "try_advisory_lock",
    "write_stamp",
]
