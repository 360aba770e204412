"""Migrations: raw SQL files, applied and rolled back by yoyo over our pool."""

from pliers_db.migrate.apply import Outcome, down, look, read_status, up
from pliers_db.migrate.create import NewMigration, create
from pliers_db.migrate.engine import Options
from pliers_db.migrate.files import Folder, MigrationFile, read_folder
from pliers_db.migrate.history import Applied, History, read_history
from pliers_db.migrate.plan import Entry, State, Status, compare, plan_down, plan_up
from pliers_db.migrate.repair import LogLine, Repair, read_log, repair
from pliers_db.migrate.unlock import Unlocked, unlock

__all__ = [
    "Applied",
    "Entry",
    "Folder",
    "History",
    "LogLine",
    "MigrationFile",
    "NewMigration",
    "Options",
    "Outcome",
    "Repair",
    "State",
    "Status",
    "Unlocked",
    "compare",
    "create",
    "down",
    "look",
    "plan_down",
    "plan_up",
    "read_folder",
    "read_history",
    "read_log",
    "read_status",
    "repair",
    "unlock",
    "up",
]
