"""Migrations: raw SQL files, applied and rolled back by yoyo over our pool."""

from pliers_db.migrate.apply import Options, Outcome, down, read_status, up
from pliers_db.migrate.create import NewMigration, create
from pliers_db.migrate.files import Folder, MigrationFile, read_folder
from pliers_db.migrate.history import Applied, History, read_history
from pliers_db.migrate.plan import Entry, State, Status, compare, plan_down, plan_up

__all__ = [
    "Applied",
    "Entry",
    "Folder",
    "History",
    "MigrationFile",
    "NewMigration",
    "Options",
    "Outcome",
    "State",
    "Status",
    "compare",
    "create",
    "down",
    "plan_down",
    "plan_up",
    "read_folder",
    "read_history",
    "read_status",
    "up",
]
