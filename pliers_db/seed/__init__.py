"""Seeds: the data of an environment, brought into its database the same way every time."""

from pliers_db.seed.fill import Filled, FilledTable, Skipped, fill
from pliers_db.seed.load import Difference, ScriptOutcome, TableOutcome
from pliers_db.seed.run import Outcome, run

__all__ = [
    "Difference",
    "Filled",
    "FilledTable",
    "Outcome",
    "ScriptOutcome",
    "Skipped",
    "TableOutcome",
    "fill",
    "run",
]
