"""Bringing a backup back as a database."""
