"""How a report of lint is written: each format a function from the report to text."""

from pliers_db.migrate.lint.formats.github import render_github
from pliers_db.migrate.lint.formats.gitlab import render_gitlab
from pliers_db.migrate.lint.formats.junit import render_junit
from pliers_db.migrate.lint.formats.sarif import render_sarif
from pliers_db.migrate.lint.formats.text import render_finding, render_text

__all__ = ["render_finding", "render_github", "render_gitlab", "render_junit", "render_sarif", "render_text"]
