"""What lint has found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """How bad a finding is."""

    NOTICE = "notice"
    """A habit that makes later changes harder."""
    WARNING = "warning"
    """It can stop or break an application that is running."""
    ERROR = "error"
    """It does not run, or does not do what it says."""

    @property
    def rank(self) -> int:
        """The higher, the worse."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where a migration breaks a rule."""

    rule: str
    """``PL012``, or the name of a rule of squawk's."""
    title: str
    severity: Severity
    path: Path
    line: int
    """From 1; line 1 where the whole file is meant."""
    column: int
    """From 1, in characters."""
    message: str
    """What is dangerous here."""
    why: str
    safe: str
    """The safe way to write it, to be pasted; empty where there is nothing to paste."""
    docs: str
    """Where to read on."""
    migration: str | None = None
    """The id; None if the file is no migration."""

    def as_dict(self) -> dict[str, str | int | None]:
        """For JSON."""
        return {
            "rule": self.rule,
            "title": self.title,
            "severity": self.severity.value,
            "path": str(self.path),
            "line": self.line,
            "column": self.column,
            "migration": self.migration,
            "message": self.message,
            "why": self.why,
            "safe": self.safe or None,
            "docs": self.docs,
        }


@dataclass(frozen=True, slots=True)
class LintReport:
    """What a run of lint has found, and what it has looked at."""

    findings: tuple[Finding, ...]
    """In the order of the files."""
    examined: tuple[Path, ...]
    ignored: int
    """How many findings a comment has excused."""
    fail_on: Severity
    postgres: int
    """The oldest major version that the migrations must run on."""
    squawk: str
    """The version of squawk that was asked."""

    @property
    def counts(self) -> Mapping[Severity, int]:
        """How many of each severity, the worst first."""
        found = Counter(f.severity for f in self.findings)
        return {severity: found[severity] for severity in sorted(Severity, key=lambda s: -s.rank)}

    def fails(self, finding: Finding) -> bool:
        """Whether this one makes exit code 1."""
        return finding.severity.rank >= self.fail_on.rank

    @property
    def passed(self) -> bool:
        """Whether nothing stands at or above ``fail_on``."""
        return not any(self.fails(f) for f in self.findings)
