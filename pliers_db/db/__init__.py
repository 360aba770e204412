"""The database layer: one pool, classified errors, the environment stamp."""

from pliers_db.config import Stamp
from pliers_db.db.adapters import load_adapters
from pliers_db.db.breaker import BreakerState, BreakerStatus, CircuitBreaker, breaker_for
from pliers_db.db.connect import Connection, connect
from pliers_db.db.lender import provide_embedded
from pliers_db.db.locks import LockName, advisory_lock, advisory_unlock, lock_holders, try_advisory_lock
from pliers_db.db.pgbouncer import behind_pooler
from pliers_db.db.pool import Database
from pliers_db.db.queries import load_queries
from pliers_db.db.retry import NO_RETRY, Retry, RetryPolicy, failure_class
from pliers_db.db.run import run_transaction
from pliers_db.db.sessions import SessionGroup, Sessions, read_sessions
from pliers_db.db.sqlstate import ErrorClass, classify
from pliers_db.db.stamp import has_tables, read_stamp, write_stamp
from pliers_db.db.stats import PoolStats

__all__ = [
    "NO_RETRY",
    "BreakerState",
    "BreakerStatus",
    "CircuitBreaker",
    "Connection",
    "Database",
    "ErrorClass",
    "LockName",
    "PoolStats",
    "Retry",
    "RetryPolicy",
    "SessionGroup",
    "Sessions",
    "Stamp",
    "advisory_lock",
    "advisory_unlock",
    "behind_pooler",
    "breaker_for",
    "classify",
    "connect",
    "failure_class",
    "has_tables",
    "load_adapters",
    "load_queries",
    "lock_holders",
    "provide_embedded",
    "read_sessions",
    "read_stamp",
    "run_transaction",
    "try_advisory_lock",
    "write_stamp",
]
