"""All checks, in the order of the report. A group of them is a module here; its SQL lies in ``sql/``."""

from pliers_db.health.check import Check
from pliers_db.health.checks import connection, extensions, indexes, project

CHECKS: tuple[Check, ...] = (
    project.config,
    project.files,
    connection.connect,
    connection.version,
    project.env_mark,
    project.migrations,
    project.backup_age,
    extensions.extensions,
    connection.connections,
    connection.pool,
    indexes.invalid_index,
)

__all__ = ["CHECKS"]
