"""What is in a database: snapshot, differences, content digest."""

from pliers_db.catalog.contents import ColumnContent, Content, contents
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
    quoted,
)
from pliers_db.catalog.snapshot import snapshot

__all__ = [
    "Change",
    "Column",
    "ColumnContent",
    "Constraint",
    "Content",
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
    "contents",
    "diff",
    "digest",
    "digests",
    "quoted",
    "snapshot",
]
