"""The schema: keys, sequences with room, constraints that hold for every row, triggers that run."""

from __future__ import annotations

from pliers_db.health.check import Finding, Judgement, Rows, check, examined, suspects
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_count


@check(
    "no_pk",
    "Every table has a primary key",
    group="schema",
    worst=Level.INFO,
    fix="alter table NAME add primary key (COLUMNS);",
    sql="schema.no_primary_key",
)
def no_pk(rows: Rows, at: Situation) -> Judgement:
    findings = [
        Finding(
            Level.INFO,
            row["name"],
            f"{row['name']} has no primary key",
            f"alter table {row['name']} add primary key (…);",
        )
        for row in suspects(rows)
    ]
    count = examined(rows)
    return Judgement(f"{format_count(count, 'table')}, {len(findings)} without one", findings, examined=count)


@check(
    "sequences",
    "No sequence runs out",
    group="schema",
    worst=Level.FAIL,
    fix="alter table NAME alter column COLUMN type bigint;",
    sql="schema.sequences",
    limits={"sequences": Limit("percent", 70, 90)},
)
def sequences(rows: Rows, at: Situation) -> Judgement:
    findings = []
    fullest = 0.0
    for row in rows:
        percent = 100.0 * (row["last_value"] or 0.0) / row["maximum"]
        fullest = max(fullest, percent)
        if level := at.level("sequences", percent):
            message = f"{row['name']} has given out {percent:.0f} % of the numbers that it or its column can hold"
            findings.append(Finding(level, row["name"], message, "Make the column and the sequence bigint."))
    count = examined(rows)
    summary = format_count(count, "sequence") + (f", the fullest at {fullest:.0f} %" if count else "")
    if rows and rows[0]["unreadable"]:
        unreadable = rows[0]["unreadable"]
        message = f"{format_count(unreadable, 'sequence')} of {count} cannot be read by {at.server.role}"
        fix = f"grant select on all sequences in schema public to {at.server.role};"
        findings.append(Finding(Level.INFO, "privilege", message, fix))
        count -= unreadable
    return Judgement(summary, findings, [at.measure("sequences", round(fullest, 1))], count)


@check(
    "not_valid",
    "Every constraint holds for every row",
    group="schema",
    worst=Level.WARN,
    fix="alter table TABLE validate constraint NAME;",
    sql="schema.not_valid",
)
def not_valid(rows: Rows, at: Situation) -> Judgement:
    findings = []
    for row in suspects(rows):
        owner = f"domain {row['domain_name']}" if row["domain_name"] else f"table {row['table_name']}"
        name = '"' + row["constraint_name"].replace('"', '""') + '"'
        message = (
            f"constraint {row['constraint_name']} of {owner} was never checked for the rows that were there before"
        )
        findings.append(
            Finding(
                Level.WARN, f"{owner} {row['constraint_name']}", message, f"alter {owner} validate constraint {name};"
            )
        )
    count = examined(rows)
    return Judgement(f"{format_count(count, 'constraint')}, all valid", findings, examined=count)


@check(
    "disabled_triggers",
    "Every trigger is switched on",
    group="schema",
    worst=Level.WARN,
    fix="alter table NAME enable trigger all;",
    sql="schema.disabled_triggers",
)
def disabled_triggers(rows: Rows, at: Situation) -> Judgement:
    findings: dict[str, Finding] = {}
    for row in suspects(rows):
        table, name = row["table_name"], '"' + row["name"].replace('"', '""') + '"'
        if row["is_constraint"]:  # several triggers make one foreign key
            message = f"triggers of foreign keys are switched off on {table}: it takes rows that break them"
            finding = Finding(Level.WARN, f"{table} constraints", message, f"alter table {table} enable trigger all;")
        else:
            message = f"trigger {row['name']} is switched off on {table}"
            finding = Finding(
                Level.WARN, f"{table} {row['name']}", message, f"alter table {table} enable trigger {name};"
            )
        findings[finding.about] = finding
    count = examined(rows)
    return Judgement(f"{format_count(count, 'trigger')}, all on", tuple(findings.values()), examined=count)


@check(
    "unlogged",
    "No table loses its rows in a crash",
    group="schema",
    worst=Level.INFO,
    fix="alter table NAME set logged;",
    sql="schema.unlogged",
)
def unlogged(rows: Rows, at: Situation) -> Judgement:
    findings = [
        Finding(
            Level.INFO,
            row["name"],
            f"{row['name']} is unlogged: a crash empties it, a standby never has its rows",
            f"alter table {row['name']} set logged;",
        )
        for row in suspects(rows)
    ]
    count = examined(rows)
    return Judgement(f"{format_count(count, 'table')}, {len(findings)} unlogged", findings, examined=count)
