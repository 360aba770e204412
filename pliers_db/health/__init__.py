"""Health: checks with five outcomes, and an honest report of what was looked at."""

from pliers_db.health.check import Check, Finding, Measure, Privilege
from pliers_db.health.checks import CHECKS
from pliers_db.health.formats import render_text
from pliers_db.health.outcome import Level, Outcome, Verdict
from pliers_db.health.report import SCHEMA, Report, Result
from pliers_db.health.runner import run_health

__all__ = [
    "CHECKS",
    "SCHEMA",
    "Check",
    "Finding",
    "Level",
    "Measure",
    "Outcome",
    "Privilege",
    "Report",
    "Result",
    "Verdict",
    "render_text",
    "run_health",
]
