"""What a project has decided about lint: ``[tool.pliers-db.lint]``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType

from pliers_db.config import Project
from pliers_db.errors import BadSetting, UnknownRule
from pliers_db.migrate.lint.finding import Severity
from pliers_db.migrate.lint.rules import NOT_HERE, RULES

OLDEST, NEWEST = 12, 30
_KEYS = ("fail-on", "postgres", "rules", "start-after")
_OFF = "off"


@dataclass(frozen=True, slots=True)
class LintSettings:
    """How strict lint is."""

    fail_on: Severity = Severity.WARNING
    """The lowest severity that makes exit code 1."""
    postgres: int = 15
    """The oldest major version of PostgreSQL that the migrations must run on."""
    severities: Mapping[str, Severity | None] = field(default_factory=lambda: MappingProxyType({}))
    """The severity of each rule that the project has set; None: off."""
    start_after: str | None = None
    """Migrations up to this one are looked at only if they are named."""

    def severity(self, rule: str) -> Severity | None:
        """How bad a finding of this rule is; None if the rule is off."""
        known = RULES.get(rule)
        if rule in self.severities:
            return self.severities[rule]
        if known is None:  # of a squawk newer than this list
            return Severity.WARNING
        return None if known.off else known.severity

    def without(self, rules: Iterable[str]) -> LintSettings:
        """The same with some rules off.

        :raises UnknownRule: there is no such rule.
        """
        off: dict[str, Severity | None] = {check_rule(rule, "--off"): None for rule in rules}
        return LintSettings(self.fail_on, self.postgres, {**self.severities, **off}, self.start_after)


DEFAULTS = LintSettings()


def check_rule(name: str, where: str) -> str:
    """The name of a rule, if it is one.

    :param where: where it was found, for the message.
    :raises UnknownRule: there is no such rule.
    """
    if name in RULES:
        return name
    if name in NOT_HERE:
        instead = NOT_HERE[name]
        raise UnknownRule(
            f"{where}: pliers-db does not ask squawk for {name}",
            why=f"{instead} stands for it." if instead else "`migrate up` takes care of that itself.",
            fix=f"Write {instead}." if instead else "Remove it.",
            rule=name,
        )
    near = get_close_matches(name, RULES, n=1) or get_close_matches(name.upper(), RULES, n=1)
    raise UnknownRule(
        f"{where}: there is no rule {name!r}",
        why="A rule is one of pliers-db's (PL…) or one of squawk's, by its name.",
        fix=f"Did you mean {near[0]}?" if near else "pliers-db migrate lint --rules",
        rule=name,
    )


def read_severity(value: object, where: str) -> Severity:
    """A severity from its name.

    :raises BadSetting: it is none.
    """
    if not isinstance(value, str) or value not in list(Severity):
        raise BadSetting(
            f"{where} is {value!r}", why="A severity is notice, warning or error.", fix=f'Write {where} = "warning".'
        )
    return Severity(value)


def read_settings(project: Project) -> LintSettings:
    """The project's choices over the defaults.

    :raises BadSetting: a key or value that cannot be read.
    :raises UnknownRule: a rule that does not exist.
    """
    table = project.section("lint", _KEYS)
    postgres = table.get("postgres", DEFAULTS.postgres)
    if not isinstance(postgres, int) or not OLDEST <= postgres <= NEWEST:
        raise BadSetting(
            f"lint.postgres is {postgres!r}",
            why=f"It is a major version, {OLDEST} or newer.",
            fix="Write postgres = 15.",
        )
    rules = table.get("rules", {})
    if not isinstance(rules, Mapping):
        raise BadSetting("lint.rules is not a table", fix='Write rules = { PL041 = "off" }.')
    start_after = table.get("start-after")
    if start_after is not None and not isinstance(start_after, str):
        raise BadSetting("lint.start-after is not the id of a migration", fix='Write start-after = "0042_users".')
    return LintSettings(
        fail_on=read_severity(table.get("fail-on", DEFAULTS.fail_on), "fail-on"),
        postgres=postgres,
        severities={
            check_rule(name, "lint.rules"): None if value == _OFF else read_severity(value, name)
            for name, value in rules.items()
        },
        start_after=start_after,
    )
