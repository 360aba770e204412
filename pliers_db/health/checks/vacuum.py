"""Vacuum and analyze: whether they keep up."""

from __future__ import annotations

from pliers_db.health.check import Finding, Judgement, Rows, check, examined, suspects
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_count


@check(
    "wraparound",
    "No database runs out of transaction ids",
    group="vacuum",
    worst=Level.FAIL,
    fix="vacuum (freeze, verbose) TABLE;",
    sql="vacuum.wraparound",
    # Far below vacuum_failsafe_age (1.6 billion) and the stop at 2.1 billion. Not autovacuum_freeze_max_age (200
    # million): reaching that is how it is meant to work.
    limits={"wraparound": Limit("count", 500_000_000, 1_200_000_000)},
)
def wraparound(rows: Rows, at: Situation) -> Judgement:
    findings = []
    for row in rows:
        for kind, age in (("transaction ids", row["xids"]), ("multixact ids", row["multixacts"])):
            if level := at.level("wraparound", age):
                message = (
                    f"database {row['name']} is {age:,.0f} {kind} behind; at 2,147,000,000 it takes no more writes"
                )
                fix = (
                    f"vacuum (freeze, verbose) {row['oldest_table']};"
                    if row["oldest_table"]
                    else f"vacuumdb --freeze {row['name']}"
                )
                findings.append(Finding(level, f"{row['name']} {kind}", message, fix))
    oldest = max((max(row["xids"], row["multixacts"]) for row in rows), default=0.0)
    return Judgement(
        f"{format_count(len(rows), 'database')}, the oldest {oldest:,.0f} ids behind",
        findings,
        [at.measure("wraparound", oldest)],
        len(rows),
    )


@check(
    "autovacuum_lag",
    "Autovacuum keeps up with each table",
    group="vacuum",
    worst=Level.FAIL,
    fix="vacuum (verbose, analyze) TABLE;",
    sql="vacuum.autovacuum_lag",
    limits={"autovacuum_lag": Limit("count", 2, 10)},
)
def autovacuum_lag(rows: Rows, at: Situation) -> Judgement:
    """By each table's own trigger: a fixed share is too much for a small table and too late for a large one."""
    findings = []
    for row in suspects(rows):
        name = row["name"]
        if not row["enabled"]:
            message = f"autovacuum is switched off for {name}"
            findings.append(Finding(Level.WARN, name, message, f"alter table {name} reset (autovacuum_enabled);"))
        elif level := at.level("autovacuum_lag", row["ratio"]):
            message = f"{name} has {row['dead']:,} dead rows, {row['ratio']:.0f} times what starts autovacuum"
            findings.append(Finding(level, name, message, f"vacuum (verbose, analyze) {name};"))
    count = examined(rows)
    return Judgement(f"{format_count(count, 'table')}, none behind", findings, examined=count)


@check(
    "never_analyzed",
    "The planner knows every larger table",
    group="vacuum",
    worst=Level.WARN,
    fix="analyze;",
    sql="vacuum.never_analyzed",
)
def never_analyzed(rows: Rows, at: Situation) -> Judgement:
    findings = [
        Finding(
            Level.WARN,
            row["name"],
            f"{row['name']} has {row['live']:,} rows and was never analyzed: plans are guesses",
            f"analyze {row['name']};",
        )
        for row in suspects(rows)
    ]
    count = examined(rows)
    return Judgement(f"{format_count(count, 'table')}, the larger ones analyzed", findings, examined=count)
