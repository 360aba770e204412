"""Health: checks with five outcomes, and an honest report of what was looked at."""

from pliers_db.health.check import Check, Finding, Measure, Privilege
from pliers_db.health.checks import CHECKS
from pliers_db.health.doctor import RUNGS, Diagnosis, Rung, diagnose
from pliers_db.health.excuse import write_baseline
from pliers_db.health.formats import (
    nagios_code,
    nagios_line,
    render_github,
    render_junit,
    render_markdown,
    render_nagios,
    render_prometheus,
    render_text,
)
from pliers_db.health.outcome import Level, Outcome, Verdict
from pliers_db.health.report import SCHEMA, Excused, Report, Result
from pliers_db.health.rules import Rules, read_rules
from pliers_db.health.runner import run_health
from pliers_db.health.serve import Endpoints, HealthServer, asgi_app, wsgi_app

__all__ = [
    "CHECKS",
    "RUNGS",
    "SCHEMA",
    "Check",
    "Diagnosis",
    "Endpoints",
    "Excused",
    "Finding",
    "HealthServer",
    "Level",
    "Measure",
    "Outcome",
    "Privilege",
    "Report",
    "Result",
    "Rules",
    "Rung",
    "Verdict",
    "asgi_app",
    "diagnose",
    "nagios_code",
    "nagios_line",
    "read_rules",
    "render_github",
    "render_junit",
    "render_markdown",
    "render_nagios",
    "render_prometheus",
    "render_text",
    "run_health",
    "write_baseline",
    "wsgi_app",
]
