"""Our own rules: each a function from a migration to what it finds there."""

from pliers_db.migrate.lint.checks import locks, sql, tables, vectors
from pliers_db.migrate.lint.view import Check

CHECKS: tuple[Check, ...] = (*sql.CHECKS, *locks.CHECKS, *tables.CHECKS, *vectors.CHECKS)

__all__ = ["CHECKS"]
