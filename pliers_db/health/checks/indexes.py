"""Indexes: valid, not twice, used, and there where a foreign key needs one."""

from __future__ import annotations

from pliers_db.health.check import Finding, Judgement, Rows, check
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_count


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
        for row in rows
        if row["suspect"]
    ]
    examined = rows[0]["examined"] if rows else 0
    return Judgement(f"{format_count(examined, 'index', 'indexes')}, all valid", findings, examined=examined)
