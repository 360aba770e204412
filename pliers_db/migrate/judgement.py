"""How a database differs from what its migrations build, and what of that counts. Pure.

Three things do not count: what the project accepts for a reason (``drift.ignore``), the mere order of columns, and what
cannot be judged from where we stand; each is told all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pliers_db.catalog import Change, Difference, Snapshot, diff
from pliers_db.catalog.model import quoted
from pliers_db.config import Project
from pliers_db.errors import BadSetting
from pliers_db.migrate.rebuild import Built, Live

_EXAMPLE = 'object = "app.events_2*", reason = "partitions are made by the month"'


@dataclass(frozen=True, slots=True)
class Ignore:
    """An entry of ``drift.ignore``: differences that the project accepts."""

    object: str
    """A pattern over the paths of objects: ``app.events_2*``, ``*.total``."""
    reason: str
    field: str = ""
    """Only differences in this property (``owner``, ``grants``, ``comment``…)."""

    def fits(self, difference: Difference) -> bool:
        """Whether a difference is meant."""
        return fnmatchcase(difference.path, self.object) and self.field in ("", difference.field)


def read_ignores(project: Project) -> tuple[Ignore, ...]:
    """The entries of ``drift.ignore``.

    :raises BadSetting: one has no object or no reason.
    """
    entries = project.section("drift", known=("ignore",)).get("ignore", [])
    if not isinstance(entries, list):
        raise BadSetting(f"drift.ignore in {project.config_file} is not a list", fix=f"ignore = [{{ {_EXAMPLE} }}]")
    return tuple(_ignore(entry, project) for entry in entries)


def _ignore(entry: Any, project: Project) -> Ignore:
    whole = isinstance(entry, Mapping) and {"object", "reason"} <= entry.keys() <= {"object", "reason", "field"}
    if not whole or not all(isinstance(value, str) and value.strip() for value in entry.values()):
        raise BadSetting(
            f"An entry of drift.ignore in {project.config_file} is not whole: {entry!r}",
            why="It needs the object's path (or a pattern) and a reason; field (owner, grants, comment…) may be added.",
            fix=f"{{ {_EXAMPLE} }}",
        )
    return Ignore(**entry)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A difference that the project accepts."""

    difference: Difference
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a database differs from what it should be."""

    differences: tuple[Difference, ...]
    """From what migrations build to the database."""
    ignored: tuple[Ignored, ...] = ()
    remarks: tuple[str, ...] = ()
    """Worth knowing, and no difference: another order of columns, what both have left unfinished."""
    not_compared: tuple[str, ...] = ()
    """What could not be judged, and why."""


def judge(live: Live, built: Built, ignores: tuple[Ignore, ...] = ()) -> Judgement:
    """Lay a database beside what its migrations have built."""
    counted: list[Difference] = []
    ignored: list[Ignored] = []
    remarks: list[str] = []
    not_compared = list(_between_servers(live, built))
    for difference in diff(built.catalog, live.catalog, ignore=() if built.like_owner else ("owner",)):
        reason = next((i.reason for i in ignores if i.fits(difference)), "")
        if reason:
            ignored.append(Ignored(difference, reason))
        elif difference.change is Change.REORDERED:
            remarks.append(sentence(difference))
        elif unknown := _not_offered(difference, built):
            not_compared.append(unknown)
        else:
            counted.append(difference)
    found = {d.path for d in counted}
    remarks += [f"{text}; the migrations leave it so" for path, text in unfinished(live.catalog) if path not in found]
    return Judgement(tuple(counted), tuple(ignored), tuple(remarks), tuple(not_compared))


def _between_servers(live: Live, built: Built) -> Iterator[str]:
    if live.catalog.server_version_num // 10000 != built.catalog.server_version_num // 10000:
        yield (
            f"names of NOT NULL constraints, and table names before columns in queries: the database runs PostgreSQL "
            f"{live.major}, the scratch server {built.version} (PostgreSQL {live.major} is not installed here)"
        )
    if not built.like_owner:
        yield "owners: the migrations ran as another role on the server that was given"


def _not_offered(difference: Difference, built: Built) -> str:
    """Why another version of an extension says nothing: the scratch server cannot have that version."""
    if (difference.kind, difference.field) != ("extension", "version"):
        return ""
    if difference.after in built.extensions.get(difference.path, ()):
        return ""
    return (
        f"version of extension {difference.path}: the database has {difference.after}, "
        f"the scratch server offers only {', '.join(sorted(built.extensions.get(difference.path, ()))) or 'none'}"
    )


def unfinished(catalog: Snapshot) -> Iterator[tuple[str, str]]:
    """The path and a sentence for what a database has, and does not use or enforce."""
    for table in catalog.tables:
        for index in table.indexes:
            if not index.valid:
                path = f"{table.path}.{quoted(index.name)}"
                yield path, f"index {path} is INVALID: queries do not use it"
        for constraint in table.constraints:
            path = f"{table.path}.{quoted(constraint.name)}"
            if not constraint.valid:
                yield path, f"constraint {path} is NOT VALID: older rows may break it"
            if not constraint.enabled:
                yield path, f"constraint {path} is not enforced: its triggers are disabled"
        for trigger in table.triggers:
            if trigger.enabled == "disabled":
                path = f"{table.path}.{quoted(trigger.name)}"
                yield path, f"trigger {path} is disabled"


def sentence(difference: Difference, state: Mapping[str, str] | None = None) -> str:
    """A difference in words.

    :param state: what `unfinished` says of the database, by path.
    """
    what = f"{difference.kind} {difference.path}"
    if difference.change is Change.ADDED:
        more = (state or {}).get(difference.path, "")
        return f"only in the database: {what}" + (f" ({more.rpartition(' is ')[2]})" if more else "")
    if difference.change is Change.REMOVED:
        return f"missing from the database: {what}"
    return str(difference)
