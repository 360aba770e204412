"""Comparing a restored database with what the backup says it held."""

from __future__ import annotations

import json
from dataclasses import replace

from pliers_db.backup import CATALOG_FILE, Contents, differences, reading
from pliers_db.catalog import Change, Difference, Snapshot, diff, snapshot
from pliers_db.db import Connection, Database
from pliers_db.progress import Reporter
from pliers_db.restore.material import Material
from pliers_db.restore.plan import RestorePlan
from pliers_db.restore.scope import part_of


def read_contents(database: Database, conn: Connection, *, hashes: bool, streams: int, reporter: Reporter) -> Contents:
    """What the restored database holds.

    :param hashes: read every row, not only count them.
    """
    with (
        reading(database, conn, hashes=hashes, streams=streams) as contents,
        reporter.task("Comparing every row" if hashes else "Comparing"),
    ):
        return contents.result()


def compare(
    material: Material,
    found: Contents,
    conn: Connection,
    plan: RestorePlan,
    before: Snapshot | None = None,
) -> list[str]:
    """How the connected database differs from the backup, in words; empty if it does not.

    :param before: what the definitions should be, if not those of the backup.
    """
    recorded = before or read_catalog(material)
    if recorded is None or material.manifest is None:
        return []
    ignore = {"owner", "grants"} if plan.no_owner else set()
    if not plan.scope.whole:
        ignore.add("populated")  # of materialized views
    changes = diff(recorded, snapshot(conn), ignore=ignore)
    wrong = [change for change in changes if not _expected(change, recorded, conn.info.server_version, plan)]
    expected = part_of(material.manifest.contents, plan.scope, plan.chosen)
    if not plan.scope.whole:
        paths = {table.path for table in expected.tables}
        found = replace(found, tables=tuple(t for t in found.tables if t.path in paths))
        if plan.scope.schema_only or plan.scope.only:
            found = replace(found, large_objects=0, large_objects_hash=None)
    return [*map(str, wrong), *differences(expected, found)]


def read_catalog(material: Material) -> Snapshot | None:
    """The definitions in the backup; None for a dump from elsewhere."""
    text = material.read(CATALOG_FILE)
    return None if text is None else Snapshot.from_dict(json.loads(text))


def _expected(change: Difference, recorded: Snapshot, server_version_num: int, plan: RestorePlan) -> bool:
    """What a dump does not carry (settings of the database are put back at the swap, versions of extensions were told
    before), and what a newer server does by itself."""
    if change.kind == "setting" or (change.kind == "extension" and change.field == "version"):
        return True
    if plan.scope.only and change.change is Change.REMOVED and change.kind == "constraint":
        return True  # a foreign key to a table whose rows are not there
    # Since 17 the partitions share the identity of their parent (release notes of PostgreSQL 17).
    shared = change.field == "identity" and recorded.server_version_num < 170000 <= server_version_num
    return shared and any(t.partition_bound and change.path.startswith(f"{t.path}.") for t in recorded.tables)
