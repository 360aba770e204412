"""Extensions: those that the project needs are there, and none lags behind the server's files."""

from __future__ import annotations

from pliers_db.health.check import Finding, Judgement, Rows, check
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_count


@check(
    "extensions",
    "The extensions that are needed are installed and up to date",
    group="connection",
    worst=Level.FAIL,
    fix="alter extension NAME update;",
    sql="server.extensions",
)
def extensions(rows: Rows, at: Situation) -> Judgement:
    installed = {row["name"]: row for row in rows}
    findings = [
        Finding(Level.FAIL, name, f"extension {name} is missing", f'create extension "{name}";')
        for name in at.rules.extensions
        if name not in installed
    ]
    findings += [
        Finding(
            Level.WARN,
            name,
            f"extension {name} is at {row['installed']}, the server has {row['available']}",
            f'alter extension "{name}" update;',
        )
        for name, row in installed.items()
        if row["available"] and row["offered"] and row["available"] != row["installed"]
    ]
    listed = ", ".join(f"{name} {row['installed']}" for name, row in installed.items() if name != "plpgsql")
    summary = f"{format_count(len(installed), 'extension')} up to date" + (f": {listed}" if listed else "")
    return Judgement(summary, findings, examined=len(installed))
