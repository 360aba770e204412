"""What runs right now: idle transactions, long statements, who waits for whom, what holds vacuum back.

A statement's text is never in the report: it may hold what people typed into a form.
"""

from __future__ import annotations

from pliers_db.health.check import Finding, Judgement, Privilege, Row, Rows, check
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_count, format_duration

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
# They run long by their nature.
_DUMPERS = ("pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup")


def _who(row: Row) -> str:
    return f"pid {row['pid']} ({row['application_name'] or row['role']})"


def _sessions(rows: Rows, at: Situation, limit: str, verb: str, fix: str) -> list[Finding]:
    """A finding for each session that has passed the limit."""
    found = []
    for row in rows:
        if level := at.level(limit, row["seconds"] or 0.0):
            message = f"{_who(row)} {verb} for {format_duration(row['seconds'])}"
            found.append(Finding(level, _who(row), message, fix.format(pid=row["pid"])))
    return found


@check(
    "idle_in_tx",
    "No session sits in an open transaction",
    group="activity",
    worst=Level.FAIL,
    fix="select pg_terminate_backend(PID);",
    needs=Privilege.MONITOR,
    sql="activity.idle_in_transaction",
    limits={"idle_in_tx": Limit("seconds", _MINUTE, 5 * _MINUTE)},
)
def idle_in_tx(rows: Rows, at: Situation) -> Judgement:
    longest = max((row["seconds"] or 0.0 for row in rows), default=0.0)
    return Judgement(
        f"{format_count(len(rows), 'session')} idle in a transaction"
        + (f", the longest for {format_duration(longest)}" if rows else ""),
        _sessions(rows, at, "idle_in_tx", "has been idle in a transaction", "select pg_terminate_backend({pid});"),
        [at.measure("idle_in_tx", round(longest, 3))],
        len(rows),
    )


@check(
    "long_query",
    "No statement runs for long",
    group="activity",
    worst=Level.FAIL,
    fix="select pg_cancel_backend(PID);",
    needs=Privilege.MONITOR,
    sql="activity.long_queries",
    limits={"long_query": Limit("seconds", 5 * _MINUTE, 30 * _MINUTE)},
)
def long_query(rows: Rows, at: Situation) -> Judgement:
    """Vacuum, index builds, COPY and dumps run long by their nature, and applications that the project names."""
    passed_over = {*_DUMPERS, *at.rules.ignore_applications}
    seen = [row for row in rows if row["application_name"] not in passed_over]
    longest = max((row["seconds"] or 0.0 for row in seen), default=0.0)
    return Judgement(
        f"{format_count(len(seen), 'statement')} running"
        + (f", the longest for {format_duration(longest)}" if seen else ""),
        _sessions(seen, at, "long_query", "has been running a statement", "select pg_cancel_backend({pid});"),
        [at.measure("long_query", round(longest, 3))],
        len(seen),
    )


@check(
    "blocking",
    "No session waits long for a lock",
    group="activity",
    worst=Level.FAIL,
    fix="select pg_cancel_backend(PID);",
    needs=Privilege.MONITOR,
    sql="activity.blocked",
    limits={"blocking": Limit("seconds", 5.0, _MINUTE)},
)
def blocking(rows: Rows, at: Situation) -> Judgement:
    findings = []
    for row in rows:
        if level := at.level("blocking", row["seconds"] or 0.0):
            on = f" on {row['relation']}" if row["relation"] else ""
            message = f"{_who(row)} has waited {format_duration(row['seconds'])} for a lock{on}"
            holders = [pid for pid in row["blockers"] if pid]
            if row["blocked_by"]:
                message += f", held by {row['blocked_by']}"
            elif 0 in row["blockers"]:
                message += ", held by a prepared transaction"
            fix = " ".join(f"select pg_cancel_backend({pid});" for pid in holders)
            findings.append(Finding(level, _who(row), message, fix or "select * from pg_prepared_xacts;"))
    longest = max((row["seconds"] or 0.0 for row in rows), default=0.0)
    return Judgement(
        f"{format_count(len(rows), 'session')} waiting for a lock",
        findings,
        [at.measure("blocking", round(longest, 3))],
        len(rows),
    )


@check(
    "prepared_xacts",
    "No prepared transaction is left lying",
    group="activity",
    worst=Level.FAIL,
    fix="rollback prepared 'GID';",
    sql="activity.prepared",
    limits={"prepared_xacts": Limit("seconds", 5 * _MINUTE, _HOUR)},
)
def prepared_xacts(rows: Rows, at: Situation) -> Judgement:
    findings = []
    for row in rows:
        if level := at.level("prepared_xacts", row["seconds"]):
            gid = row["gid"].replace("'", "''")
            message = f"transaction {row['gid']} of {row['role']} was prepared {format_duration(row['seconds'])} ago"
            findings.append(Finding(level, row["gid"], message, f"rollback prepared '{gid}';"))
    return Judgement(f"{format_count(len(rows), 'prepared transaction')}", findings, examined=len(rows))


_RELEASE = {
    "session": "select pg_terminate_backend({holder});",
    "prepared transaction": "rollback prepared '{holder}';",
    "replication slot": "select pg_drop_replication_slot('{holder}');  -- if nobody reads it any more",
    "standby": "Set hot_standby_feedback = off there, or end its long queries.",
}


@check(
    "xmin_horizon",
    "Nothing holds vacuum back",
    group="vacuum",
    worst=Level.FAIL,
    fix="select pg_terminate_backend(PID);",
    needs=Privilege.MONITOR,
    sql="activity.xmin_holders",
    limits={
        "xmin_xids": Limit("count", 1_000_000, 50_000_000),
        "xmin_time": Limit("seconds", _HOUR, _DAY),
    },
)
def xmin_horizon(rows: Rows, at: Situation) -> Judgement:
    """Names the holder: the one thing about a horizon that can be acted on."""
    findings = []
    for row in rows:
        by_age, by_time = at.level("xmin_xids", row["xids"]), at.level("xmin_time", row["seconds"] or 0.0)
        level = max((v for v in (by_age, by_time) if v), key=lambda v: v is Level.FAIL, default=None)
        if level is None:
            continue
        since = f" and {format_duration(row['seconds'])}" if row["seconds"] else ""
        message = (
            f"{row['kind']} {row['holder']} ({row['description']}) keeps dead rows from being removed: "
            f"{row['xids']:,.0f} transactions{since}"
        )
        fix = _RELEASE[row["kind"]].format(holder=str(row["holder"]).replace("'", "''"))
        findings.append(Finding(level, f"{row['kind']} {row['holder']}", message, fix))
    oldest = max((row["xids"] for row in rows), default=0.0)
    return Judgement(
        f"the oldest of {format_count(len(rows), 'snapshot')} is {oldest:,.0f} transactions back"
        if rows
        else "no snapshot is held",
        findings,
        [at.measure("xmin_xids", oldest)],
        len(rows),
    )
