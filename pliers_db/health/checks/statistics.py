"""What the server has counted since its statistics began."""

from __future__ import annotations

from pliers_db.health.check import Finding, Judgement, Rows, Skip, check
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_count, format_duration


@check(
    "cache_hit",
    "Most blocks come from memory",
    group="statistics",
    worst=Level.INFO,
    fix="Look at the indexes first, then at shared_buffers.",
    sql="statistics.cache_hit",
    limits={"cache_hit": Limit("percent", 90, below=True)},
)
def cache_hit(rows: Rows, at: Situation) -> Judgement:
    """A note at most: it says little without the workload."""
    row = rows[0]
    total = row["hit"] + row["read"]
    if (row["window_seconds"] or 0.0) < 3600 or total < 100_000:
        raise Skip(f"the statistics cover only {format_duration(row['window_seconds'] or 0.0)} and {total:,.0f} blocks")
    percent = 100.0 * row["hit"] / total
    message = f"{percent:.1f} % of {total:,.0f} blocks came from shared buffers"
    findings = [Finding(Level.INFO, "ratio", message)] if at.level("cache_hit", percent) else []
    return Judgement(message, findings, [at.measure("cache_hit", round(percent, 2))])


@check(
    "checkpoints",
    "Checkpoints come by the clock",
    group="statistics",
    worst=Level.WARN,
    fix="Raise max_wal_size.",
    sql="statistics.checkpoints",
    limits={"checkpoints": Limit("percent", 50)},
)
def checkpoints(rows: Rows, at: Situation) -> Judgement:
    row = rows[0]
    total = row["timed"] + row["requested"]
    if total <= 20:
        raise Skip(f"only {format_count(total, 'checkpoint')} counted; 20 are needed")
    percent = 100.0 * row["requested"] / total
    message = f"{percent:.0f} % of {format_count(total, 'checkpoint')} came before their time"
    level = at.level("checkpoints", percent)
    findings = [Finding(level, "requested", message)] if level else []
    return Judgement(message, findings, [at.measure("checkpoints", round(percent, 1))])


@check(
    "checksums",
    "No block was damaged",
    group="statistics",
    worst=Level.FAIL,
    fix="Restore from a backup; do not go on writing. pg_amcheck finds what else is damaged.",
    sql="statistics.checksums",
)
def checksums(rows: Rows, at: Situation) -> Judgement:
    if not rows[0]["enabled"]:
        raise Skip("data checksums are off: damage is not noticed")
    findings = [
        Finding(
            Level.FAIL,
            row["name"],
            f"{format_count(row['failures'], 'damaged block')} read in {row['name']}, "
            f"the last at {row['last_failure']:%Y-%m-%d %H:%M} UTC",
        )
        for row in rows
        if row["failures"]
    ]
    return Judgement(f"none in {format_count(len(rows), 'database')}", findings, examined=len(rows))
