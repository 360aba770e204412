"""The database layer: one pool, classified errors, the environment stamp."""

from pliers_db.db.connect import Connection, connect
from pliers_db.db.pool import Database
from pliers_db.db.queries import load_queries
from pliers_db.db.sqlstate import ErrorClass, classify
from pliers_db.db.stamp import Stamp, read_stamp, write_stamp

__all__ = [
    "Connection",
    "Database",
    "ErrorClass",
    "Stamp",
    "classify",
    "connect",
    "load_queries",
    "read_stamp",
    "write_stamp",
]
