"""How a report is written: each format a function from the report to text."""

from pliers_db.health.formats.text import render_text

__all__ = ["render_text"]
