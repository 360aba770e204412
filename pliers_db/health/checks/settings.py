"""The server's settings and the versions of its collations. No opinions on work_mem and its like."""

from __future__ import annotations

from pliers_db.config import Environment
from pliers_db.health.check import Finding, Judgement, Rows, check
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_count

# Setting, dangerous value, what it endangers, whether it is the data itself.
_DANGERS = (
    ("fsync", "off", "a crash of the machine can destroy everything", True),
    ("full_page_writes", "off", "a crash of the machine can tear pages", True),
    ("autovacuum", "off", "tables grow, and transaction ids run out", True),
    ("track_counts", "off", "autovacuum cannot work without it", True),
    ("zero_damaged_pages", "on", "a damaged page is emptied, silently", True),
    ("ignore_checksum_failure", "on", "damaged pages are read as if they were whole", True),
    ("password_encryption", "md5", "md5 passwords are weak and deprecated", False),
)
_PROTECTED_DANGERS = (
    ("idle_in_transaction_session_timeout", "0", "a forgotten transaction holds its locks for ever", False),
    ("data_checksums", "off", "a damaged page is not noticed", False),
)


@check(
    "settings",
    "No setting endangers the data",
    group="settings",
    worst=Level.FAIL,
    fix="alter system reset NAME; select pg_reload_conf();",
    sql="settings.settings",
)
def settings(rows: Rows, at: Situation) -> Judgement:
    """What endangers data fails where the data counts, in staging and production; elsewhere it is a warning."""
    environment = at.settings.environment
    values = {row["name"]: row["setting"] for row in rows}
    findings = []
    for name, bad, danger, of_data in _DANGERS + (_PROTECTED_DANGERS if environment.protected else ()):
        if values.get(name) == bad:
            level = Level.FAIL if of_data and environment.protected else Level.WARN
            if environment is Environment.TEST:
                level = Level.INFO  # a test server may be fast instead of safe
            good = {"on": "off", "off": "on", "md5": "'scram-sha-256'", "0": "'10min'"}[bad]
            fix = (
                "pg_checksums --enable, with the server stopped"
                if name == "data_checksums"
                else f"alter system set {name} = {good}; select pg_reload_conf();"
            )
            findings.append(Finding(level, name, f"{name} is {bad}: {danger}", fix))
    findings += [
        Finding(
            Level.WARN,
            f"{row['name']} restart",
            f"{row['name']} was changed and waits for a restart",
            "Restart the server.",
        )
        for row in rows
        if row["pending_restart"]
    ]
    return Judgement(f"{format_count(len(_DANGERS), 'setting')} as they should be", findings, examined=len(rows))


@check(
    "collation",
    "Indexes are sorted as this operating system sorts",
    group="settings",
    worst=Level.FAIL,
    fix="reindex database NAME; alter database NAME refresh collation version;",
    sql="settings.collation",
)
def collation(rows: Rows, at: Situation) -> Judgement:
    findings = [
        Finding(
            Level.FAIL,
            row["name"],
            f"{row['name']} was made with version {row['recorded']} and runs with {row['actual']}: "
            "indexes on text may miss rows",
            row["fix"],
        )
        for row in rows
    ]
    return Judgement("the versions agree", findings)
