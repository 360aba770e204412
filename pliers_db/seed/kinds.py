"""What a type really is: through domains, arrays, composite and range types down to what PostgreSQL is born with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from pliers_db.catalog import Snapshot, Type

_MODIFIED = re.compile(r"^(?P<name>[^(]*)\((?P<modifiers>[^)]*)\)(?P<rest>.*)$")
_RANGES = {
    "int4range": "integer",
    "int8range": "bigint",
    "numrange": "numeric",
    "daterange": "date",
    "tsrange": "timestamp without time zone",
    "tstzrange": "timestamp with time zone",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A type, taken apart."""

    name: str
    """Of a built-in type without its modifiers (``character varying``, ``timestamp with time zone``); else ``enum``,
    ``array``, ``composite``, ``range``, ``multirange``; or the bare name of a type that an extension brought."""
    sql: str
    """For a cast; of a domain the type under it."""
    modifiers: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    parts: tuple[Kind, ...] = ()
    """The elements' type of an array, the subtype of a range, the attributes of a composite type."""
    checks: tuple[str, ...] = ()
    """What the domains on the way demand, in SQL, of ``value``."""
    not_null: bool = False
    """Whether a domain on the way takes no NULL."""

    @property
    def textual(self) -> bool:
        """Whether it takes any text, as far as it is long enough."""
        return self.name in ("text", "character varying", "character", "name", "citext", "bpchar")


@dataclass
class Kinds:
    """The types of a database."""

    snapshot: Snapshot
    _known: dict[str, Kind] = field(default_factory=dict)

    def of(self, type_name: str) -> Kind:
        """What a type is.

        :param type_name: as the catalog's snapshot writes it: ``public.price[]``, ``numeric(8,2)``.
        """
        if type_name not in self._known:
            self._known[type_name] = self._of(type_name)
        return self._known[type_name]

    def _of(self, name: str) -> Kind:
        if name.endswith("[]"):
            element = self.of(name[:-2].rstrip("[]"))
            return Kind("array", name, parts=(element,))
        made = self._made.get(name)
        if made is not None:
            return self._composed(made, name)
        if name in self._multiranges:
            return Kind("multirange", name, parts=(self.of(self._multiranges[name]),))
        bare, modifiers = _without_modifiers(name)
        if bare in _RANGES:
            return Kind("range", name, parts=(self.of(_RANGES[bare]),))
        if bare.endswith("multirange") and bare.replace("multirange", "range") in _RANGES:
            return Kind("multirange", name, parts=(self.of(bare.replace("multirange", "range")),))
        return Kind(bare.rpartition(".")[2].strip('"') if bare != '"char"' else bare, name, modifiers)

    @cached_property
    def _made(self) -> Mapping[str, Type]:
        return {made.path: made for made in self.snapshot.types}

    @cached_property
    def _multiranges(self) -> Mapping[str, str]:
        """The range type of each multirange type that somebody made."""
        found = {}
        for made in self.snapshot.types:
            name = re.search(r"multirange ([^,]+)", made.definition or "") if made.kind == "range type" else None
            if name:
                found[name[1]] = made.path
        return found

    def _composed(self, made: Type, name: str) -> Kind:
        if made.kind == "enum":
            return Kind("enum", name, labels=made.labels)
        if made.kind == "domain":
            base = self.of(made.base or "text")
            checks = tuple(check_of(c.definition) for c in made.constraints if c.kind == "check")
            return replace(base, checks=base.checks + checks, not_null=base.not_null or made.not_null)
        if made.kind == "composite type":
            return Kind("composite", name, parts=tuple(self.of(a.type) for a in made.attributes))
        if made.kind == "range type":
            return Kind("range", name, parts=(self.of(made.base or "integer"),))
        return Kind(made.name, name)


def check_of(definition: str) -> str:
    """The expression of a CHECK constraint as the catalog writes it."""
    body = re.sub(r"( NO INHERIT| NOT VALID| NOT ENFORCED)+$", "", definition)
    return body.removeprefix("CHECK ")


def _without_modifiers(name: str) -> tuple[str, tuple[int, ...]]:
    found = _MODIFIED.match(name)
    if found is None:
        return name, ()
    modifiers = tuple(int(m) for m in found["modifiers"].split(",") if m.strip().lstrip("-").isdigit())
    return (found["name"] + found["rest"]).strip(), modifiers
