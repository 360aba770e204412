"""What is known before the checks run: the server, the role's privileges, the project's settings and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pliers_db.config import Settings
from pliers_db.errors import PliersError
from pliers_db.health.check import Measure, Privilege
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.rules import Rules
from pliers_db.health.session import Session


def environment_and_source(settings: Settings) -> str:
    """``production, from PLIERS_ENV (.env)``."""
    source = settings.sources.get("PLIERS_ENV", "default")
    return f"{settings.environment} (default)" if source == "default" else f"{settings.environment}, from {source}"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server and the role, asked once."""

    version_num: int
    version: str
    standby: bool
    role: str
    superuser: bool
    monitor: bool
    hba: bool
    database: str
    now: datetime
    pooled: bool
    """Whether a pooler such as PgBouncer stands between."""

    def allows(self, needed: Privilege) -> bool:
        """Whether the role sees what a check looks at."""
        return {Privilege.MONITOR: self.monitor, Privilege.HBA: self.hba}.get(needed, True)


@dataclass(frozen=True, slots=True)
class Situation:
    """What every check may read."""

    settings: Settings
    rules: Rules
    session: Session | None = None
    """None: there is no connection."""
    facts: ServerFacts | None = None
    error: PliersError | None = None
    """Why there is no connection."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def limits(self) -> Mapping[str, Limit]:
        """The limits that hold here, by name."""
        return self.rules.limits

    @property
    def server(self) -> ServerFacts:
        """The server; only checks that need the database ask for it."""
        assert self.facts is not None
        return self.facts

    def level(self, limit: str, value: float) -> Level | None:
        """How bad a value is, by the limit of that name; None: it is fine."""
        exceeded = self.limits[limit].exceeded(value)
        return None if exceeded is None else Level(exceeded)

    def measure(self, name: str, value: float, limit: str = "") -> Measure:
        """A number with its limits beside it."""
        own = self.limits[limit or name]
        return Measure(name, value, own.unit, own.warn, own.fail, own.below)
