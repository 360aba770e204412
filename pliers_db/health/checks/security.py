"""Who gets in, how, and what they may do by mistake."""

from __future__ import annotations

from pliers_db.config import Environment
from pliers_db.health.check import Finding, Judgement, Privilege, Rows, check, examined, suspects
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.session import load
from pliers_db.health.situation import Situation
from pliers_db.units import format_count, format_duration


def _severe(at: Situation, in_production: Level, in_staging: Level = Level.WARN) -> Level:
    """How bad something is, by environment: on a laptop it is a note."""
    return {Environment.PRODUCTION: in_production, Environment.STAGING: in_staging}.get(
        at.settings.environment, Level.INFO
    )


@check(
    "tls",
    "The way to the server is encrypted",
    group="security",
    worst=Level.FAIL,
    fix="Set DB_SSLMODE=verify-full and DB_SSLROOTCERT.",
    sql="settings.tls",
)
def tls(rows: Rows, at: Situation) -> Judgement:
    row = rows[0]
    if row["ssl"]:
        return Judgement(f"{row['version']}, {row['cipher']}")
    if row["is_local"]:
        return Judgement("a local socket")
    message = f"this connection crosses the network ({row['address']}) in clear"
    if row["address"] in ("127.0.0.1", "::1"):
        return Judgement(
            "in clear, to this machine", [Finding(_severe(at, Level.WARN, Level.INFO), "connection", message)]
        )
    return Judgement("in clear", [Finding(_severe(at, Level.FAIL), "connection", message)])


@check(
    "hba",
    "Nobody gets in over the network without a password",
    group="security",
    worst=Level.FAIL,
    fix="Change the line in pg_hba.conf to scram-sha-256; select pg_reload_conf();",
    needs=Privilege.HBA,
    sql="settings.hba",
)
def hba(rows: Rows, at: Situation) -> Judgement:
    findings = []
    for row in rows:
        line = f"pg_hba.conf line {row['line_number']}"
        whom = f"{row['users']} to {row['databases']} from {row['address']}"
        if row["error"]:
            findings.append(Finding(Level.WARN, line, f"{line} cannot be read: {row['error']}"))
        elif row["method"] == "trust":
            level = _severe(at, Level.WARN if row["is_loopback"] else Level.FAIL)
            findings.append(Finding(level, line, f"{line} lets {whom} in without a password"))
        elif row["method"] == "password" and row["type"] != "hostssl":
            findings.append(Finding(_severe(at, Level.WARN), line, f"{line} takes passwords in clear: {whom}"))
        elif row["method"] in ("md5", "ident"):
            findings.append(Finding(_severe(at, Level.WARN), line, f"{line} uses {row['method']}: {whom}"))
    return Judgement(f"{format_count(len(rows), 'line')} for the network", findings, examined=len(rows))


def _ask_role(at: Situation) -> tuple[Rows, Rows]:
    assert at.session is not None
    return at.session.fetch(load("settings.role")), at.session.fetch(load("settings.public_create"))


@check(
    "role",
    "The role can do no more than it needs",
    group="security",
    worst=Level.FAIL,
    fix="Use a role of its own: create role app login; grant … to app;",
    probe=_ask_role,
    limits={"role_expires": Limit("seconds", 14 * 86400.0, 0.0, below=True)},
)
def role(found: tuple[Rows, Rows], at: Situation) -> Judgement:
    """Migrations may need an owner; the application should not run as a superuser."""
    row, open_schemas = found[0][0], found[1]
    findings = []
    if row["superuser"]:
        findings.append(Finding(_severe(at, Level.FAIL), "superuser", f"{row['name']} is a superuser"))
    else:
        if row["bypassrls"]:
            message = f"{row['name']} bypasses row security"
            findings.append(
                Finding(_severe(at, Level.WARN), "bypassrls", message, f"alter role {row['name']} nobypassrls;")
            )
        if row["createrole"]:
            message = f"{row['name']} may create roles"
            findings.append(
                Finding(_severe(at, Level.WARN), "createrole", message, f"alter role {row['name']} nocreaterole;")
            )
    if row["valid_seconds"] is not None:
        left = row["valid_seconds"]
        if level := at.level("role_expires", left):
            verb = f"ends in {format_duration(left)}" if left > 0 else "has ended"
            message = f"the password of {row['name']} {verb} (valid until)"
            findings.append(Finding(level, "expiry", message, f"alter role {row['name']} valid until '…';"))
    findings += [
        Finding(
            Level.WARN,
            f"schema {schema['name']}",
            f"every role may create objects in schema {schema['name']} (CVE-2018-1058)",
            f"revoke create on schema {schema['name']} from public;",
        )
        for schema in open_schemas
    ]
    return Judgement(f"{row['name']}, {format_count(row['login_superusers'], 'superuser')} can log in", findings)


@check(
    "secdef",
    "Functions with their owner's rights fix their search path",
    group="security",
    worst=Level.WARN,
    fix="alter function NAME set search_path = pg_catalog;",
    sql="settings.security_definer",
)
def secdef(rows: Rows, at: Situation) -> Judgement:
    findings = [
        Finding(
            Level.WARN,
            row["name"],
            f"{row['name']} is security definer and looks for its objects where the caller says",
            f"alter function {row['name']} set search_path = pg_catalog;",
        )
        for row in suspects(rows)
    ]
    count = examined(rows)
    return Judgement(f"{format_count(count, 'such function')}", findings, examined=count)
