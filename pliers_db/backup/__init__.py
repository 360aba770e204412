"""Logical backups: made by pg_dump, proved by a manifest, kept in a folder."""

from pliers_db.backup.contents import differences, read_contents, read_tables
from pliers_db.backup.create import create_backup
from pliers_db.backup.manifest import Contents, Manifest
from pliers_db.backup.nightly import Nightly, nightly_backup
from pliers_db.backup.recipe import DUMP_FILE, find_clients
from pliers_db.backup.repository import LATEST, Backup, Repository
from pliers_db.backup.retention import Retention, retention_of

__all__ = [
    "DUMP_FILE",
    "LATEST",
    "Backup",
    "Contents",
    "Manifest",
    "Nightly",
    "Repository",
    "Retention",
    "create_backup",
    "differences",
    "find_clients",
    "nightly_backup",
    "read_contents",
    "read_tables",
    "retention_of",
]
