"""Seeds: the data of an environment, brought into its database the same way every time."""

from pliers_db.seed.fill import Filled, FilledTable, Skipped, fill
from pliers_db.seed.init import Written, init
from pliers_db.seed.ledger import Entry, Finding
from pliers_db.seed.load import Difference, ScriptOutcome, TableOutcome
from pliers_db.seed.run import Mode, Options, Outcome, run
from pliers_db.seed.upkeep import FORMATS, Verified, clean, export, status, verify

__all__ = [
    "FORMATS",
    "Difference",
    "Entry",
    "Filled",
    "FilledTable",
    "Finding",
    "Mode",
    "Options",
    "Outcome",
    "ScriptOutcome",
    "Skipped",
    "TableOutcome",
    "Verified",
    "Written",
    "clean",
    "export",
    "fill",
    "init",
    "run",
    "status",
    "verify",
]
