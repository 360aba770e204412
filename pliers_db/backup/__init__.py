"""Logical backups: made by pg_dump, proved by a manifest, kept in a folder."""

from pliers_db.backup.contents import differences, reading
from pliers_db.backup.create import Options, create_backup
from pliers_db.backup.manifest import Contents, Manifest, Proof
from pliers_db.backup.nightly import Nightly, nightly_backup
from pliers_db.backup.recipe import CATALOG_FILE, DUMP_FILE, find_clients
from pliers_db.backup.repository import LATEST, Backup, Repository
from pliers_db.backup.retention import Retention, retention_of

__all__ = [
    "CATALOG_FILE",
    "DUMP_FILE",
    "LATEST",
    "Backup",
    "Contents",
    "Manifest",
    "Nightly",
    "Options",
    "Proof",
    "Repository",
    "Retention",
    "create_backup",
    "differences",
    "find_clients",
    "nightly_backup",
    "reading",
    "retention_of",
]
