"""Replication and archiving: standbys that keep up, slots that are read, WAL that gets away."""

from __future__ import annotations

from pliers_db.health.check import Finding, Judgement, Privilege, Rows, Skip, check
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_count, format_duration, format_size

_GB = 1024.0**3


@check(
    "repl_lag",
    "The standbys keep up",
    group="replication",
    worst=Level.FAIL,
    fix="Look at the standby's log, its disks and the network to it.",
    needs=Privilege.MONITOR,
    sql="replication.lag",
    limits={"repl_lag": Limit("seconds", 30.0, 300.0)},
)
def repl_lag(rows: Rows, at: Situation) -> Judgement:
    findings = []
    for row in rows:
        name = row["name"] or "this standby"
        if level := at.level("repl_lag", row["seconds"] or 0.0):
            behind = f", {format_size(row['bytes'])}" if row["bytes"] else ""
            message = f"{name} is {format_duration(row['seconds'])}{behind} behind"
            findings.append(Finding(level, name, message))
        if row["kind"] == "self" and row["paused"]:
            message = "replay is paused on this standby"
            findings.append(Finding(Level.WARN, f"{name} paused", message, "select pg_wal_replay_resume();"))
        if row["kind"] == "self" and row["state"] is None:
            message = "this standby receives nothing from its primary: no WAL receiver runs"
            findings.append(Finding(Level.WARN, f"{name} receiver", message, "Check primary_conninfo and the primary."))
    lag = max((row["seconds"] or 0.0 for row in rows), default=0.0)
    standbys = [row for row in rows if row["kind"] == "standby"]
    summary = f"{format_count(len(standbys), 'standby', 'standbys')} connected"
    if at.server.standby:
        summary = f"a standby, {format_duration(lag)} behind"
    return Judgement(summary, findings, [at.measure("repl_lag", round(lag, 3))], len(rows))


@check(
    "slots",
    "No replication slot keeps WAL for nobody",
    group="replication",
    worst=Level.FAIL,
    fix="select pg_drop_replication_slot('NAME');  -- if nobody reads it any more",
    sql="replication.slots",
    limits={
        "slots_bytes": Limit("bytes", _GB, 10 * _GB),
        "slots_idle": Limit("seconds", 1800.0),
    },
)
def slots(rows: Rows, at: Situation) -> Judgement:
    findings = []
    for row in rows:
        name = row["name"]
        fix = f"select pg_drop_replication_slot('{name}');  -- if nobody reads it any more"
        kept = row["bytes"] or 0.0
        if row["wal_status"] in ("lost", "unreserved") or row["invalid"]:
            reason = row["invalid"] or row["wal_status"]
            message = f"slot {name} is {reason}: who reads it must begin anew"
            findings.append(Finding(Level.FAIL, name, message, fix))
        elif level := at.level("slots_bytes", kept):
            idle = "" if row["active"] else ", and nobody reads it"
            findings.append(Finding(level, name, f"slot {name} keeps {format_size(kept)} of WAL{idle}", fix))
        elif not row["active"] and row["idle_seconds"] is not None and at.level("slots_idle", row["idle_seconds"]):
            message = (
                f"nobody has read slot {name} for {format_duration(row['idle_seconds'])}; it keeps {format_size(kept)}"
            )
            findings.append(Finding(Level.WARN, name, message, fix))
        elif not row["active"] and row["idle_seconds"] is None:
            message = f"nobody reads slot {name} right now; it keeps {format_size(kept)}"
            findings.append(Finding(Level.INFO, name, message, fix))
    kept = max((row["bytes"] or 0.0 for row in rows), default=0.0)
    return Judgement(
        f"{format_count(len(rows), 'slot')}" + (f", at most {format_size(kept)} kept" if rows else ""),
        findings,
        [at.measure("slots_bytes", kept)],
        len(rows),
    )


@check(
    "archiver",
    "WAL is archived",
    group="replication",
    worst=Level.FAIL,
    fix="Look at the server's log for archive_command.",
    sql="replication.archiver",
    limits={"archiver": Limit("seconds", 0.0, 600.0)},
)
def archiver(rows: Rows, at: Situation) -> Judgement:
    """A failure that a success has followed is past: the counters of failures never go down."""
    row = rows[0]
    if row["mode"] == "off":
        raise Skip("archive_mode is off")
    if row["nowhere"]:
        message = f"archive_mode is {row['mode']} and archive_command is empty: WAL piles up until the disk is full"
        return Judgement("", [Finding(Level.WARN, "command", message, "Set archive_command, or archive_mode = off.")])
    if row["failing"]:
        since = row["since_success"] or 0.0
        level = at.level("archiver", since) or Level.WARN
        last = (
            f"the last success was {format_duration(since)} ago" if row["last_archived_wal"] else "it never succeeded"
        )
        message = f"archiving {row['last_failed_wal']} fails, {last}"
        return Judgement("", [Finding(level, "failing", message)])
    return Judgement(f"last archived {row['last_archived_wal'] or 'nothing yet'}")
