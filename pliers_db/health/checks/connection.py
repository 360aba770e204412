"""The way to the server: whether it answers, how fast, which version it is, how many connections are left."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from pliers_db.config import Environment
from pliers_db.db import BreakerState, breaker_for
from pliers_db.db import connect as open_connection
from pliers_db.errors import ConnectFailed
from pliers_db.health.check import Finding, Judgement, Rows, check
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.releases import AS_OF, newest_minor, release_of
from pliers_db.health.session import APPLICATION_NAME
from pliers_db.health.situation import Situation
from pliers_db.units import format_count, format_duration

_SAMPLES = 3


def _samples(at: Situation) -> list[float]:
    """Seconds that opening a connection and asking the first question took."""
    if at.session is None or at.settings.target is None:
        return []
    found = [at.session.latency]
    for _ in range(_SAMPLES - 1):
        began = time.monotonic()
        try:
            with open_connection(at.settings.target, application_name=APPLICATION_NAME) as conn:
                conn.execute("select 1")
        except ConnectFailed:
            break  # the session itself stands; what keeps a second one out is for the check of connections to say
        found.append(time.monotonic() - began)
    return found


@check(
    "connect",
    "The server lets us in and answers quickly",
    group="connection",
    worst=Level.FAIL,
    fix="pliers-db config show",
    probe=_samples,
    limits={
        "connect": Limit("seconds", 0.5, 5.0, per={Environment.PRODUCTION: (0.1, 1.0), Environment.STAGING: (0.2, 2.0)})
    },
)
def connect(samples: list[float], at: Situation) -> Judgement:
    if at.error is not None:
        why = f": {' '.join(at.error.why.split())}" if at.error.why else ""
        return Judgement("", [Finding(Level.FAIL, "server", f"{at.error.message}{why}", at.error.fix)])
    best = min(samples)
    message = f"open and answer in {format_duration(best)} (best of {len(samples)})"
    if at.server.pooled:
        message += ", through a pooler"
    level = at.level("connect", best)
    findings = [Finding(level, "latency", message, "Look for what slows the way: DNS, TLS, load.")] if level else []
    return Judgement(message, findings, [at.measure("connect", best)], len(samples))


@check(
    "version",
    "The server's version is supported and up to date",
    group="connection",
    worst=Level.FAIL,
    fix="Upgrade: https://www.postgresql.org/support/versioning/",
    probe=lambda at: at.server,
    limits={"end_of_life": Limit("seconds", 183 * 86400.0, 0.0, below=True)},
)
def version(_: object, at: Situation) -> Judgement:
    server = at.server
    release = release_of(server.version_num)
    if release is None:
        return Judgement(f"{server.version} is newer than this version of pliers-db knows (as of {AS_OF})")
    today = datetime.now(UTC)
    left = (datetime.combine(release.end, datetime.min.time(), UTC) - today).total_seconds()
    findings = []
    if level := at.level("end_of_life", left):
        verb = "ended" if left <= 0 else "ends"
        findings.append(
            Finding(
                level, "end-of-life", f"support of PostgreSQL {release.major} {verb} on {release.end} (as of {AS_OF})"
            )
        )
    latest = newest_minor(release)
    if server.version_num % 10000 < release.minor:
        findings.append(
            Finding(
                Level.WARN,
                "minor",
                f"{server.version} lacks the fixes up to {latest} (as of {AS_OF})",
                f"Update the server's packages to {latest}; no dump or upgrade is needed.",
            )
        )
    return Judgement(f"{server.version}, supported until {release.end}", findings)


@check(
    "connections",
    "Connections are left",
    group="capacity",
    worst=Level.FAIL,
    fix="pliers-db server psql -c 'select application_name, state, count(*) from pg_stat_activity group by 1, 2'",
    sql="server.connections",
    limits={"connections": Limit("percent", 80, 95)},
)
def connections(rows: Rows, at: Situation) -> Judgement:
    """Relative to what an ordinary role may have; absolute numbers say nothing about another server."""
    row = rows[0]
    usable = row["maximum"] - row["reserved"]
    percent = 100.0 * row["used"] / usable
    message = f"{row['used']} of {usable} connections are used ({percent:.0f} %)"
    level = at.level("connections", percent)
    findings = [Finding(level, "used", message)] if level else []
    return Judgement(message, findings, [at.measure("connections", round(percent, 1))])


@check(
    "pool",
    "The application's pool fits into the server",
    group="capacity",
    worst=Level.FAIL,
    fix="Lower DB_POOL_MAX, or raise max_connections.",
    sql="server.pool",
)
def pool(rows: Rows, at: Situation) -> Judgement:
    """By its size, and by the circuit breaker of this process; no process sees into the pool of another."""
    row = rows[0]
    limits = at.settings.pool
    bounds = {
        "max_connections less the reserved ones": row["usable"],
        f"the limit of database {at.server.database}": row["database_limit"],
        f"the limit of role {at.server.role}": row["role_limit"],
    }
    name, least = min(((k, v) for k, v in bounds.items() if v is not None and v >= 0), key=lambda kv: kv[1])
    message = f"DB_POOL_MAX is {limits.max_size}, of {least} connections ({name})"
    findings = []
    if limits.max_size > least:
        findings.append(Finding(Level.FAIL, "size", f"{message}: one full pool cannot be served"))
    elif limits.max_size * 2 > least:
        findings.append(Finding(Level.WARN, "size", f"{message}: two processes with full pools cannot be served"))
    assert at.settings.target is not None
    breaker = breaker_for(at.settings.target).status()
    if breaker.state is not BreakerState.CLOSED:  # of this process: where health is mounted in an application
        wait = f", the next try is in {format_duration(breaker.seconds_left)}" if breaker.seconds_left else ""
        opened = f"the circuit breaker is {breaker.state}: {breaker.cause}{wait}"
        findings.append(Finding(Level.FAIL, "breaker", opened, fix="Mend the cause; the circuit closes by itself."))
    return Judgement(message, findings)


@check(
    "conn_limits",
    "No database or role reaches a connection limit of its own",
    group="capacity",
    worst=Level.FAIL,
    fix="alter role NAME connection limit -1;",
    sql="settings.connection_limits",
    limits={"conn_limits": Limit("percent", 80, 95)},
)
def conn_limits(rows: Rows, at: Situation) -> Judgement:
    findings = []
    for row in rows:
        percent = 100.0 * row["used"] / row["maximum"]
        if level := at.level("conn_limits", percent):
            message = f"{row['kind']} {row['name']} uses {row['used']} of its {row['maximum']} connections"
            fix = f'alter {row["kind"]} "{row["name"]}" connection limit {row["maximum"] * 2};'
            findings.append(Finding(level, f"{row['kind']} {row['name']}", message, fix))
    return Judgement(f"{format_count(len(rows), 'limit')}", findings, examined=len(rows))
