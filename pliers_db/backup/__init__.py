"""Backups by pg_dump: made, listed, kept or removed."""
