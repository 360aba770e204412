"""Comparing a restored database with what the backup says it held."""

from __future__ import annotations

import json
from collections.abc import Collection

from pliers_db.backup import CATALOG_FILE, Contents, differences, reading
from pliers_db.catalog import Difference, Snapshot, diff, snapshot
from pliers_db.db import Connection, Database
from pliers_db.progress import Reporter
from pliers_db.restore.material import Material


def read_contents(database: Database, conn: Connection, *, hashes: bool, streams: int, reporter: Reporter) -> Contents:
    """What the restored database holds.

    :param hashes: read every row, not only count them.
    """
    with (
        reading(database, conn, hashes=hashes, streams=streams) as contents,
        reporter.task("Comparing every row" if hashes else "Comparing"),
    ):
        return contents.result()


def compare(material: Material, found: Contents, conn: Connection, ignore: Collection[str] = ()) -> list[str]:
    """How the connected database differs from the backup, in words; empty if it does not.

    :param ignore: properties of objects that were left out on purpose (``owner``, ``grants``).
    """
    if material.backup is None or material.manifest is None:
        return []
    recorded = Snapshot.from_dict(json.loads((material.backup.path / CATALOG_FILE).read_text(encoding="utf-8")))
    changes = diff(recorded, snapshot(conn), ignore=ignore)
    wrong = [change for change in changes if not _expected(change, recorded, conn.info.server_version)]
    return [*map(str, wrong), *differences(material.manifest.contents, found)]


def _expected(change: Difference, recorded: Snapshot, server_version_num: int) -> bool:
    """What a dump does not carry (settings of the database are put back at the swap, versions of extensions were told
    before), and what a newer server does by itself."""
    if change.kind == "setting" or (change.kind == "extension" and change.field == "version"):
        return True
    # Since 17 the partitions share the identity of their parent (release notes of PostgreSQL 17).
    shared = change.field == "identity" and recorded.server_version_num < 170000 <= server_version_num
    return shared and any(t.partition_bound and change.path.startswith(f"{t.path}.") for t in recorded.tables)
