"""Examining migrations before they are run: squawk's rules and ours."""

from pliers_db.migrate.lint.finding import Finding, LintReport, Severity
from pliers_db.migrate.lint.rules import OURS, RULES, Rule
from pliers_db.migrate.lint.run import lint
from pliers_db.migrate.lint.settings import LintSettings, read_settings, read_severity

__all__ = [
    "OURS",
    "RULES",
    "Finding",
    "LintReport",
    "LintSettings",
    "Rule",
    "Severity",
    "lint",
    "read_settings",
    "read_severity",
]
