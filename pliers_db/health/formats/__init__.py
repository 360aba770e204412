"""How a report is written: each format a function from the report to text."""

from pliers_db.health.formats.github import render_github, render_markdown
from pliers_db.health.formats.junit import render_junit
from pliers_db.health.formats.nagios import nagios_code, nagios_line, render_nagios
from pliers_db.health.formats.prometheus import render_prometheus
from pliers_db.health.formats.text import render_text

__all__ = [
    "nagios_code",
    "nagios_line",
    "render_github",
    "render_junit",
    "render_markdown",
    "render_nagios",
    "render_prometheus",
    "render_text",
]
