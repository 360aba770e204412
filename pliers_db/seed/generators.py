"""The generators: a table with one of these words makes a value by rule.

Each is a function of its argument, its options and the chance of its cell (`Chance`); none keeps any state.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pliers_db.seed import times
from pliers_db.seed.embed import embed
from pliers_db.seed.hashing import Draw
from pliers_db.seed.pools import pool

if TYPE_CHECKING:
    from pliers_db.seed.book import Row
    from pliers_db.seed.schema import Column
    from pliers_db.seed.values import Values


@dataclass(frozen=True, slots=True)
class Chance:
    """What a generator may ask: the other values of its row, and the draw of its cell."""

    values: Values
    row: Row
    column: Column
    draw: Draw

    def sub(self, name: object) -> Chance:
        """The same cell with an independent draw."""
        return replace(self, draw=self.draw.sub(name))

    def rule(self, expression: Any, name: object) -> Any:
        """A value or generator inside this one, with a draw of its own."""
        if is_generator(expression):
            return generate(expression, self.sub(name))
        if isinstance(expression, Mapping) and not self.column.is_json:
            return generate(expression, self.sub(name))  # raises: it is none
        return self.literal(expression)

    def literal(self, value: Any) -> Any:
        """A value as written, references and relative times worked out."""
        return self.values.literal(self.row, self.column, value)

    def path(self, path: str) -> Any:
        """Another value by its path."""
        return self.values.path(self.row, path)

    def moment(self, text: Any) -> datetime:
        """A point in time, absolute or relative."""
        if isinstance(text, str) and times.is_expression(text):
            return times.evaluate(text, self.path)
        return times.as_datetime(text, "the time")


Function = Callable[[Any, Mapping[str, Any], Chance], Any]


@dataclass(frozen=True, slots=True)
class Generator:
    """One generator and the options that may stand beside its word."""

    make: Function
    options: frozenset[str]


GENERATORS: dict[str, Generator] = {}


def generator(word: str, *options: str) -> Callable[[Function], Function]:
    """Register a function as the generator for a word."""

    def register(function: Function) -> Function:
        GENERATORS[word] = Generator(function, frozenset(options))
        return function

    return register


def is_generator(expression: Any) -> bool:
    """Whether a table has the form of a generator: one word, and none but its options."""
    if not isinstance(expression, Mapping):
        return False
    words = [key for key in expression if key in GENERATORS]
    return any(set(expression) - {word} <= GENERATORS[word].options for word in words)


def generate(expression: Mapping[str, Any], chance: Chance) -> Any:
    """The value that a generator gives for a cell.

    :raises ValueError: it is unknown or cannot do what it is asked.
    """
    for word in expression:
        if word in GENERATORS and set(expression) - {word} <= GENERATORS[word].options:
            options = {key: value for key, value in expression.items() if key != word}
            return GENERATORS[word].make(expression[word], options, chance)
    words = [word for word in expression if word in GENERATORS]
    if words:
        known = sorted(GENERATORS[words[0]].options)
        wrong = next(key for key in expression if key != words[0] and key not in known)
        raise ValueError(f"the generator {words[0]!r} has no option {wrong!r}; it has: {', '.join(known) or 'none'}")
    near = [match for key in expression for match in get_close_matches(key, GENERATORS, n=1)]
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(sorted(GENERATORS))}"
    what = ", ".join(expression) or "an empty table"
    raise ValueError(f"{{{what}}} is no generator{hint}" + (" ({json = …} for a document)" if not near else ""))


# ── plain ───────────────────────────────────────────────────────────────────────────────────────────────────
@generator("literal")
def _literal(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    """The argument itself, whatever it looks like."""
    return argument


@generator("null")
def _null(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    return None


@generator("json")
def _json(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    """A document; generators inside it are worked out."""

    def walk(value: Any, inner: Chance) -> Any:
        if is_generator(value):
            return generate(value, inner)
        if isinstance(value, Mapping):
            return {key: walk(item, inner.sub(key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, inner.sub(place)) for place, item in enumerate(value)]
        return inner.literal(value)

    return walk(argument, chance)


@generator("copy")
def _copy(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    return chance.path(_text(argument, "copy"))


_HOLE = re.compile(r"\{([^{}]+)\}")


@generator("template")
def _template(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    """A text with holes: ``{n}``, ``{column}``, ``{each.column}``, ``{@table/row.column}``, ``{pool:first_name}``."""

    def fill(hole: re.Match[str]) -> str:
        path = hole[1]
        if path.startswith("pool:"):
            return str(_pool(path.removeprefix("pool:"), {}, chance.sub(path)))
        value = chance.path(path)
        if isinstance(value, Mapping | list):
            return text_of(value)
        return "" if value is None else str(value)

    return _HOLE.sub(fill, _text(argument, "template"))


# ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────
@generator("choice", "take")
def _choice(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    """One of a list, or of a table of weights."""
    if isinstance(argument, Mapping):
        weights = list(argument.items())
        if not weights or not all(isinstance(w, int) and w >= 0 for _, w in weights) or not sum(w for _, w in weights):
            raise ValueError("choice needs whole weights: {yes = 3, no = 1}")
        rest = chance.draw.below(sum(weight for _, weight in weights))
        for value, weight in weights:
            if rest < weight:
                return chance.literal(value)
            rest -= weight
    place = chance.draw.below(len(_list(argument, "choice")))
    return chance.rule(_taken(argument[place], options), place)


@generator("cycle", "take")
def _cycle(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    """One of a list after the other, by the row's number in its group."""
    place = (chance.row.n - 1) % len(_list(argument, "cycle"))
    return chance.rule(_taken(argument[place], options), place)


@generator("some", "count", "take")
def _some(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    """Several of a list, in its order, none twice."""
    items = _list(argument, "some")
    low, high = whole_range(options.get("count", [1, len(items)]), "count")
    wanted = chance.draw.between(min(low, len(items)), min(high, len(items)))
    ranked = sorted(range(len(items)), key=lambda place: chance.draw.sub(place).bits())
    return [chance.literal(_taken(items[place], options)) for place in sorted(ranked[:wanted])]


@generator("maybe", "chance")
def _maybe(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    """A value, or NULL."""
    probability = options.get("chance", 0.5)
    if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 <= probability <= 1:
        raise ValueError("chance is a number from 0 to 1")
    return chance.rule(argument, "value") if chance.draw.chance(probability) else None


# ── numbers and times ───────────────────────────────────────────────────────────────────────────────────────
@generator("int")
def _int(argument: Any, options: Mapping[str, Any], chance: Chance) -> int:
    low, high = whole_range(argument, "int")
    return chance.draw.between(low, high)


@generator("number", "places")
def _number(argument: Any, options: Mapping[str, Any], chance: Chance) -> float:
    """A number with ``places`` digits after the point (default 2)."""
    places = options.get("places", 2)
    if type(places) is not int or not 0 <= places <= 15:
        raise ValueError("places is the number of digits after the point, 0 to 15")
    if not isinstance(argument, list) or len(argument) != 2 or not all(type(x) in (int, float) for x in argument):
        raise ValueError("number needs the lowest and the highest value: [0, 99.5]")
    low, high = (round(x * 10**places) for x in argument)
    if high < low:
        raise ValueError(f"number: {argument[0]} is above {argument[1]}")
    return float(chance.draw.between(low, high) / 10**places)


@generator("bool")
def _bool(argument: Any, options: Mapping[str, Any], chance: Chance) -> bool:
    """True with this probability."""
    if isinstance(argument, bool) or not isinstance(argument, int | float) or not 0 <= argument <= 1:
        raise ValueError("bool needs the chance of true, from 0 to 1")
    return chance.draw.chance(argument)


@generator("between")
def _between(argument: Any, options: Mapping[str, Any], chance: Chance) -> datetime:
    """A point in time between two, to the second."""
    return _moment_between(argument, chance)


def _moment_between(argument: Any, chance: Chance) -> datetime:
    if not isinstance(argument, list) or len(argument) != 2:
        raise ValueError('between needs two times: ["as_of - 30d", "as_of"]')
    low, high = (chance.moment(text) for text in argument)
    if high < low:
        raise ValueError(f"between: {argument[0]} is after {argument[1]}")
    return low + timedelta(seconds=chance.draw.between(0, int((high - low).total_seconds())))


@generator("date")
def _date(argument: Any, options: Mapping[str, Any], chance: Chance) -> date:
    """A day between two times."""
    return _moment_between(argument, chance).date()


@generator("after", "by")
def _after(argument: Any, options: Mapping[str, Any], chance: Chance) -> datetime | None:
    """A while after another time; not after ``as_of``, unless that other time is."""
    by = options.get("by", ["1m", "1d"])
    if not isinstance(by, list) or len(by) != 2:
        raise ValueError('by needs two spans: ["1m", "3d"]')
    base = chance.moment(argument)
    low, high = (int(times.parse_duration(_text(span, "by")).total_seconds()) for span in by)
    room = int((chance.values.spec.as_of - base).total_seconds())
    if 0 <= room < high:
        low, high = min(low, room), room
    return base + timedelta(seconds=chance.draw.between(low, high))


# ── ids, hashes, vectors ────────────────────────────────────────────────────────────────────────────────────
@generator("uuid7")
def _uuid7(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    """A time-ordered id, its time taken from another column."""
    moment = times.as_datetime(chance.path(_text(argument, "uuid7")), str(argument))
    return chance.values.uuid7(chance.row, chance.column, moment)


@generator("embed", "dimensions")
def _embed(argument: Any, options: Mapping[str, Any], chance: Chance) -> list[float]:
    """The vector of a text (a template)."""
    dimensions = options.get("dimensions", chance.column.dimensions)
    if not isinstance(dimensions, int) or dimensions < 1:
        raise ValueError("the column fixes no number of dimensions: add dimensions = 384")
    return embed(_template(argument, {}, chance), dimensions)


@generator("sha256")
def _sha256(argument: Any, options: Mapping[str, Any], chance: Chance) -> bytes:
    """The SHA-256 of a text (a template)."""
    return hashlib.sha256(_template(argument, {}, chance).encode()).digest()


@generator("json_sha256")
def _json_sha256(argument: Any, options: Mapping[str, Any], chance: Chance) -> bytes:
    """The SHA-256 of a JSON document, named by its path, in canonical form (RFC 8785)."""
    return hashlib.sha256(canonical(chance.path(_text(argument, "json_sha256"))).encode()).digest()


# ── words and people ────────────────────────────────────────────────────────────────────────────────────────
@generator("pool")
def _pool(argument: Any, options: Mapping[str, Any], chance: Chance) -> Any:
    """One value of a named list: ``first_name``, or one of ``[pools]``."""
    values = pool(_text(argument, "pool"), chance.values.spec)
    return chance.literal(values[chance.draw.below(len(values))])


@generator("words")
def _words(argument: Any, options: Mapping[str, Any], chance: Chance) -> str:
    """That many words, the first with a capital letter."""
    low, high = whole_range(argument, "words")
    words = pool("word", chance.values.spec)
    count = chance.draw.between(low, high)
    return " ".join(str(words[chance.draw.sub(i).below(len(words))]) for i in range(count)).capitalize()


@generator("person")
def _person(argument: Any, options: Mapping[str, Any], chance: Chance) -> str:
    """``name``, ``first``, ``last`` or ``email`` of one person: the same one in the whole row.

    The address lies below example.com, example.org or example.net (RFC 2606: nobody's).
    """
    draw = chance.values.draw(chance.row, "\x00person")
    first, last = (
        str(names[draw.sub(name).below(len(names))])
        for name, names in ((n, pool(n, chance.values.spec)) for n in ("first_name", "last_name"))
    )
    parts = {
        "first": first,
        "last": last,
        "name": f"{first} {last}",
        "email": f"{_ascii(first.lower())}.{_ascii(last.lower())}@example.{('com', 'org', 'net')[draw.below(3)]}",
    }
    if not isinstance(argument, str) or argument not in parts:
        raise ValueError(f"person has no {argument!r}; it has: {', '.join(parts)}")
    return parts[argument]


@generator("phone")
def _phone(argument: Any, options: Mapping[str, Any], chance: Chance) -> str:
    """A number of the range 555-0100 to 555-0199, which is kept free for fiction."""
    area = (202, 212, 303, 312, 415, 503, 617, 713)[chance.draw.sub("area").below(8)]
    return f"+1 {area} 555 {chance.draw.between(100, 199):04d}"


@generator("url")
def _url(argument: Any, options: Mapping[str, Any], chance: Chance) -> str:
    """An address at example.com."""
    words = pool("word", chance.values.spec)
    return f"https://www.example.com/{_ascii(str(words[chance.draw.below(len(words))]).lower())}"


@generator("ip")
def _ip(argument: Any, options: Mapping[str, Any], chance: Chance) -> str:
    """An address of the documentation networks (RFC 5737)."""
    network = ("192.0.2", "198.51.100", "203.0.113")[chance.draw.sub("network").below(3)]
    return f"{network}.{chance.draw.between(1, 254)}"


# ── helpers ─────────────────────────────────────────────────────────────────────────────────────────────────
def text_of(value: Any) -> str:
    """A JSON document as text, as PostgreSQL's jsonb shows it: keys by length, then by bytes."""

    def ordered(item: Any) -> Any:
        if isinstance(item, Mapping):
            keys = sorted(item, key=lambda key: (len(key.encode()), key.encode()))
            return {key: ordered(item[key]) for key in keys}
        return [ordered(inner) for inner in item] if isinstance(item, list) else item

    return json.dumps(ordered(value), ensure_ascii=False, default=_json_text)


def canonical(value: Any) -> str:
    """A JSON document in the one form that RFC 8785 gives it.

    :raises ValueError: it holds a fraction so small or large that languages spell it differently.
    """
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e21:
            return str(int(value))
        if not 1e-6 <= abs(value) < 1e16:
            raise ValueError(f"{value!r} has no canonical form here")
        return repr(value)
    return json.dumps(value, ensure_ascii=False, default=_json_text)


def _json_text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _text(value: Any, word: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{word} needs a text")
    return value


def _list(value: Any, word: str) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{word} needs a list with at least one value")
    return value


def whole_range(value: Any, word: str) -> tuple[int, int]:
    """``[low, high]``, or one number for both.

    :raises ValueError: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    whole = isinstance(value, list) and len(value) == 2 and all(type(item) is int for item in value)
    if not whole or value[1] < value[0]:
        raise ValueError(f"{word} needs the lowest and the highest whole number: [1, 6]")
    return value[0], value[1]


def _taken(item: Any, options: Mapping[str, Any]) -> Any:
    """With ``take``, that member of an object; other items as they are."""
    take = options.get("take")
    return item.get(take) if take and isinstance(item, Mapping) else item


def _ascii(text: str) -> str:
    import unicodedata

    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "", plain) or "someone"
