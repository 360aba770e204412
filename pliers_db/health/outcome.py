"""The words of a report: how a check ended, how bad a finding is, what the whole comes to."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How one check ended. What was not looked at is never ``ok``."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"
    """Not looked at, for a reason that is known: a privilege, something that is not there, ``--skip``."""
    UNKNOWN = "unknown"
    """Looked at without an answer: an error or a timeout."""

    @property
    def examined(self) -> bool:
        """Whether the check has an answer."""
        return self in (Outcome.OK, Outcome.WARN, Outcome.FAIL)


class Level(StrEnum):
    """How bad a finding is. ``info`` is worth knowing and leaves its check ok."""

    INFO = "info"
    WARN = "warn"
    FAIL = "fail"

    @property
    def outcome(self) -> Outcome:
        """What a check with such a finding comes to."""
        return {Level.INFO: Outcome.OK, Level.WARN: Outcome.WARN, Level.FAIL: Outcome.FAIL}[self]


class Verdict(StrEnum):
    """What the whole report comes to."""

    HEALTHY = "healthy"
    WARNINGS = "healthy, with warnings"
    UNHEALTHY = "unhealthy"
    UNREACHABLE = "unreachable"
