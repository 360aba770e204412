"""Logical backups: made by pg_dump, proved by a manifest, kept in a folder."""

from pliers_db.backup.age import parse_recipients, read_identities
from pliers_db.backup.contents import differences, reading
from pliers_db.backup.create import Options, create_backup
from pliers_db.backup.files import make_folder, write_atomic
from pliers_db.backup.hooks import Hooks, hooks_of
from pliers_db.backup.install import install_cron, install_systemd
from pliers_db.backup.journal import Journal
from pliers_db.backup.manifest import Contents, Manifest, Proof
from pliers_db.backup.nightly import Nightly, nightly_backup, plan_prune, prune
from pliers_db.backup.pack import opened, pieces, unpack
from pliers_db.backup.properties import PROPERTIES_FILE, Properties, read_properties
from pliers_db.backup.recipe import (
    CATALOG_FILE,
    Compression,
    Tls,
    find_clients,
    in_the_clear,
    parse_compression,
    tls_for,
)
from pliers_db.backup.remote import Remote
from pliers_db.backup.repository import LATEST, Backup, Repository
from pliers_db.backup.retention import Retention, retention_of
from pliers_db.backup.schedule import Schedule, parse_time
from pliers_db.backup.store import Store, is_remote

__all__ = [
    "CATALOG_FILE",
    "LATEST",
    "PROPERTIES_FILE",
    "Backup",
    "Compression",
    "Contents",
    "Hooks",
    "Journal",
    "Manifest",
    "Nightly",
    "Options",
    "Proof",
    "Properties",
    "Remote",
    "Repository",
    "Retention",
    "Schedule",
    "Store",
    "Tls",
    "create_backup",
    "differences",
    "find_clients",
    "hooks_of",
    "in_the_clear",
    "install_cron",
    "install_systemd",
    "is_remote",
    "make_folder",
    "nightly_backup",
    "opened",
    "parse_compression",
    "parse_recipients",
    "parse_time",
    "pieces",
    "plan_prune",
    "prune",
    "read_identities",
    "read_properties",
    "reading",
    "retention_of",
    "tls_for",
    "unpack",
    "write_atomic",
]
