"""Indexes: valid, not twice, used, and there where a foreign key needs one."""

from __future__ import annotations

from pliers_db.health.check import Finding, Judgement, Rows, Skip, check, examined, suspects
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_count, format_duration, format_size


@check(
    "invalid_index",
    "Every index is valid",
    group="indexes",
    worst=Level.FAIL,
    fix="reindex index concurrently NAME;",
    sql="indexes.invalid",
)
def invalid_index(rows: Rows, at: Situation) -> Judgement:
    findings = [
        Finding(
            Level.FAIL if row["is_unique"] else Level.WARN,
            row["name"],
            f"{'unique ' if row['is_unique'] else ''}index {row['name']} on {row['table_name']} is invalid: "
            + ("duplicates may have got in" if row["is_unique"] else "no query uses it, every write pays for it"),
            f"reindex index concurrently {row['name']};",
        )
        for row in suspects(rows)
    ]
    count = examined(rows)
    return Judgement(f"{format_count(count, 'index', 'indexes')}, all valid", findings, examined=count)


@check(
    "dup_index",
    "No index does the same as another",
    group="indexes",
    worst=Level.WARN,
    fix="drop index concurrently NAME;",
    sql="indexes.duplicates",
)
def dup_index(rows: Rows, at: Situation) -> Judgement:
    """One whose columns are the first of another's is a note: the shorter one may still be worth its place."""
    findings = [
        Finding(
            Level.WARN if row["same"] else Level.INFO,
            row["name"],
            f"{row['name']} does the same as {row['other']}"
            if row["same"]
            else f"{row['name']} is covered by {row['other']}, which begins with its columns",
            f"drop index concurrently {row['name']};",
        )
        for row in suspects(rows)
    ]
    count = examined(rows)
    return Judgement(f"{format_count(count, 'index', 'indexes')}, none twice", findings, examined=count)


@check(
    "unused_index",
    "Every large index is used",
    group="indexes",
    worst=Level.INFO,
    fix="drop index concurrently NAME;",
    sql="indexes.unused",
    limits={"unused_window": Limit("seconds", 14 * 86400.0)},
)
def unused_index(rows: Rows, at: Situation) -> Judgement:
    """Notes only: unused here is not droppable. Monthly reports and standbys use indexes too."""
    window = rows[0]["window_seconds"] or 0.0
    needed = at.limits["unused_window"].warn or 0.0
    if window < needed:
        raise Skip(f"the statistics cover only {format_duration(window)}; {format_duration(needed)} are needed")
    standbys = rows[0]["standbys"]
    findings = [
        Finding(
            Level.INFO,
            row["name"],
            f"{row['name']} on {row['table_name']} ({format_size(row['bytes'])}) was not used for "
            f"{format_duration(window)}" + (" here; ask the standbys too" if standbys else ""),
            f"drop index concurrently {row['name']};",
        )
        for row in suspects(rows)
    ]
    count = examined(rows)
    return Judgement(f"{format_count(count, 'index', 'indexes')}, large ones used", findings, examined=count)


@check(
    "fk_index",
    "Every foreign key has an index",
    group="indexes",
    worst=Level.WARN,
    fix="create index concurrently on TABLE (COLUMNS);",
    sql="indexes.foreign_keys",
    limits={"fk_index": Limit("count", 10_000)},
)
def fk_index(rows: Rows, at: Situation) -> Judgement:
    """The columns in any order, first in a valid index on all rows. On small tables a note."""
    findings = [
        Finding(
            at.level("fk_index", row["rows"] or 0.0) or Level.INFO,
            f"{row['table_name']}.{row['constraint_name']}",
            f"{row['table_name']} ({row['rows'] or 0:,.0f} rows) has no index for foreign key "
            f"{row['constraint_name']}: each change of a referenced row reads it whole",
            f"create index concurrently on {row['table_name']} ({row['columns']});",
        )
        for row in suspects(rows)
    ]
    count = examined(rows)
    return Judgement(f"{format_count(count, 'foreign key')}, large ones indexed", findings, examined=count)
