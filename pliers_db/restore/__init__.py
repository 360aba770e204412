"""Bringing a backup back: checked before, built beside, compared, swapped in by name."""

from pliers_db.restore.marks import Marked
from pliers_db.restore.material import Material, find_material
from pliers_db.restore.plan import Wishes
from pliers_db.restore.run import Restored, restore
from pliers_db.restore.scope import Scope
from pliers_db.restore.undo import Undone, clean, undo
from pliers_db.restore.verify import verify

__all__ = [
    "Marked",
    "Material",
    "Restored",
    "Scope",
    "Undone",
    "Wishes",
    "clean",
    "find_material",
    "restore",
    "undo",
    "verify",
]
