"""Coming from another tool: its folder of migrations becomes ours, and its history too."""

from pliers_db.migrate.importing.apply import import_folder
from pliers_db.migrate.importing.convert import convert
from pliers_db.migrate.importing.detect import detect, read_source
from pliers_db.migrate.importing.plan import Fate, ImportPlan, Item, plan_import
from pliers_db.migrate.importing.source import Tool

__all__ = [
    "Fate",
    "ImportPlan",
    "Item",
    "Tool",
    "convert",
    "detect",
    "import_folder",
    "plan_import",
    "read_source",
]
