"""Seeds: the data of an environment, brought into its database the same way every time."""

from pliers_db.seed.load import Difference, ScriptOutcome, TableOutcome
from pliers_db.seed.run import Outcome, run

__all__ = ["Difference", "Outcome", "ScriptOutcome", "TableOutcome", "run"]
