"""What is in a database: snapshot, differences, content digest."""

from pliers_db.catalog.diff import Change, Difference, diff
from pliers_db.catalog.digest import TableDigest, digest, digests
from pliers_db.catalog.model import (
    Column,
    Constraint,
    Entry,
    Extension,
    Index,
    Policy,
    Routine,
    Schema,
    Sequence,
    Snapshot,
    Table,
    Trigger,
    Type,
)
from pliers_db.catalog.snapshot import snapshot

__all__ = [
    "Change",
    "Column",
    "Constraint",
    "Difference",
    "Entry",
    "Extension",
    "Index",
    "Policy",
    "Routine",
    "Schema",
    "Sequence",
    "Snapshot",
    "Table",
    "TableDigest",
    "Trigger",
    "Type",
    "diff",
    "digest",
    "digests",
    "snapshot",
]
