"""Which values there are for a column: by its type, by what is demanded of it, and by its name."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation

from pliers_db.seed.choices import HUGE, Choices, combined, moments, one_of, scaled, texts, whole
from pliers_db.seed.demands import Demand, demand_on, parsed
from pliers_db.seed.hashing import MARK, mix
from pliers_db.seed.kinds import Kind
from pliers_db.seed.names import by_name
from pliers_db.seed.patterns import matching
from pliers_db.seed.pools import pool
from pliers_db.seed.spec import Spec

_INTEGERS = {
    "smallint": (-(1 << 15), (1 << 15) - 1, 1000),
    "integer": (-(1 << 31), (1 << 31) - 1, 10_000),
    "bigint": (-(1 << 63), (1 << 63) - 1, 10_000),
    "oid": (0, (1 << 31) - 1, 10_000),
    "xid": (3, (1 << 31) - 1, 10_000),
    "xid8": (3, (1 << 62), 10_000),
    "cid": (0, (1 << 31) - 1, 10_000),
}
ANYTHING = Demand()
_DAY = 86400
_YEAR = 365 * _DAY
_TIMES = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})


@dataclass(frozen=True)
class Supply:
    """Makes sets of values."""

    spec: Spec
    key: int
    """Of the column: where values are hashes of their number."""
    probe: Callable[[str, Sequence[str]], list[str]] = field(default=lambda _type, _texts: [])
    """Which of some texts a type can read: asked of the database, for types that are unknown here."""

    def of(self, kind: Kind, demand: Demand = ANYTHING, *, name: str = "", distinct: bool = False) -> Choices | None:
        """The values for a column; None if none are known.

        :param name: the column's, if it may say what is meant.
        :param distinct: the values must differ, so there should be many.
        """
        for check in kind.checks:
            demand = demand.also(demand_on(parsed(check), "value"))
        if demand.values is not None:
            values = demand.values
            if kind.textual:
                longest = _longest(kind, demand)
                values = tuple(v for v in values if longest is None or len(v) <= longest)
            return one_of(values) if values else None
        if kind.textual:
            return self._text(kind, demand, name, distinct)
        if kind.name in _INTEGERS or kind.name in ("numeric", "real", "double precision", "money"):
            return self._number(kind, demand, "" if distinct else name)
        if kind.name in _TIMES:
            return self._time(kind.name, demand, name)
        if kind.name == "enum":
            return one_of(kind.labels) if kind.labels else None
        if kind.name == "array":
            return self._array(kind.parts[0], demand)
        if kind.name == "composite":
            return self._composite(kind)
        if kind.name in ("range", "multirange"):
            return self._range(kind)
        if kind.name in ("json", "jsonb"):
            return _json(demand)
        if kind.name == "bytea":
            return _bytes(self.key, demand)
        made = _plain(kind, self.key)
        if kind.name == "xml" and made is not None and not self.probe(kind.sql, [made.nth(0)]):
            return None  # a server that was built without libxml
        return made or self._probed(kind)

    def _text(self, kind: Kind, demand: Demand, name: str, distinct: bool) -> Choices | None:
        longest = _longest(kind, demand)
        meant = by_name(name, self.spec, distinct=distinct) if name and kind.name != "name" else None
        if demand.patterns:
            if meant is not None and (longest is None or longest >= 30) and _all_match(meant, demand.patterns):
                return meant
            return matching(demand.patterns[0], demand.shortest, longest)
        words = [str(word) for word in pool("word", self.spec)]
        if meant is not None and demand.shortest <= 3 and (longest is None or longest >= 30):
            return meant
        if kind.name in ("character", "bpchar"):  # blanks at the end are no part of it
            return texts(words, demand.shortest, longest if longest is not None else 1)
        return texts(words, demand.shortest, longest)

    def _number(self, kind: Kind, demand: Demand, name: str) -> Choices | None:
        places = 0
        least: Decimal
        most: Decimal
        if kind.name in _INTEGERS:
            least, most = Decimal(_INTEGERS[kind.name][0]), Decimal(_INTEGERS[kind.name][1])
        elif kind.name == "numeric" and kind.modifiers:
            digits, places = kind.modifiers[0], kind.modifiers[1] if len(kind.modifiers) > 1 else 0
            most = Decimal(10 ** min(digits, 17) - 1).scaleb(-places)
            least = -most
        else:
            places = 2
            most = Decimal(10**6)
            least = -most
        unit = Decimal(1).scaleb(-places)
        low, high = _decimal(demand.low), _decimal(demand.high)
        if low is not None and demand.above:
            low = low + unit if low == low.quantize(unit, ROUND_FLOOR) else low
        if high is not None and demand.below:
            high = high - unit if high == high.quantize(unit, ROUND_FLOOR) else high
        common = 10_000
        if low is None:
            low = min(Decimal(1), most) if high is None or high >= 1 else max(least, high - common * unit)
        if high is None:
            high = max(most, low + 10**6) if kind.name not in _INTEGERS and not kind.modifiers else most
        first = int((max(low, least) / unit).to_integral_value(ROUND_CEILING))
        last = int((min(high, max(most, high)) / unit).to_integral_value(ROUND_FLOOR))
        if kind.name in _INTEGERS or kind.modifiers:
            last = min(last, int(most / unit))
        if last < first:
            return None
        usual = _usual(name)
        if usual is not None:
            a, b = (int(Decimal(x) / unit) for x in usual)
            if first <= a and b <= last:
                return scaled(a, b, places) if places else whole(a, b)
        return scaled(first, last, places, common) if places else whole(first, last, common)

    def _time(self, kind: str, demand: Demand, name: str) -> Choices:
        form: Callable[[datetime], str]
        if kind == "date":
            step, form = _DAY, lambda moment: moment.date().isoformat()
        elif kind == "timestamp with time zone":
            step, form = 61, lambda moment: moment.isoformat(" ")
        else:
            step, form = 61, lambda moment: moment.replace(tzinfo=None).isoformat(" ")
        as_of = self.spec.as_of.astimezone(UTC).replace(microsecond=0)
        low, high = _moment(demand.low), _moment(demand.high)
        span = 2 * _YEAR
        if "birth" in name or name in ("dob", "born"):
            span, as_of = 50 * _YEAR, as_of - timedelta(days=20 * 365)
        elif any(word in name for word in ("expire", "expiry", "due", "until", "valid_to", "ends")):
            as_of += timedelta(days=400)
            span = _YEAR
        if low is not None and demand.above:
            low += timedelta(seconds=step)
        if high is not None and demand.below:
            high -= timedelta(seconds=1)
        first = low if low is not None else (high or as_of) - timedelta(seconds=span)
        if kind == "date":
            first = datetime.combine(first.date(), datetime.min.time(), UTC)
            if low is not None and first < low:
                first += timedelta(days=1)
        if high is not None:
            span = max(0, min(span, int((high - first).total_seconds())))
            return Choices(
                max(1, int((high - first).total_seconds()) // step + 1),
                lambda n: form(first + timedelta(seconds=n * step)),
                f"times from {form(first)} to {form(high)}",
                max(1, span // step),
            )
        return moments(first, span, step, form, f"times from {form(first)}")

    def _array(self, element: Kind, demand: Demand) -> Choices | None:
        one = self.of(element)
        if one is None:
            return None
        length = max(demand.shortest, 2)
        if length > 16 or one.size < 1:
            return None
        return combined([one] * length, lambda parts: "{" + ",".join(map(_in_array, parts)) + "}", "lists")

    def _composite(self, kind: Kind) -> Choices | None:
        parts = [self.of(part) for part in kind.parts]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        return combined(found, lambda values: "(" + ",".join(map(_in_row, values)) + ")", "rows")

    def _range(self, kind: Kind) -> Choices | None:
        """Ranges that do not touch each other: the exclusion constraints that there are ask for that."""
        inner = kind.parts[0] if kind.name == "range" else kind.parts[0].parts[0]
        bound = self.of(Kind(inner.name, inner.sql, inner.modifiers))
        if bound is None or bound.size < 4:
            return None
        brackets = ("{[", ")}") if kind.name == "multirange" else ("[", ")")
        count = bound.size // 4

        def nth(number: int) -> str:
            low, high = bound.nth(number * 4), bound.nth(number * 4 + 2)
            return f"{brackets[0]}{_in_row(low)},{_in_row(high)}{brackets[1]}"

        return Choices(count, nth, "ranges that do not overlap", (bound.common or bound.size) // 4)

    def _probed(self, kind: Kind) -> Choices | None:
        """A type that is unknown here: whatever it reads."""
        found = self.probe(kind.sql, _SAMPLES)
        return one_of(found) if found else None


_SAMPLES = (
    "1",
    "2",
    "a",
    "b",
    "1.0",
    "[1,2]",
    "{1,2}",
    "(1,2)",
    "POINT(1 2)",
    "POLYGON((0 0,0 1,1 1,0 0))",
    "a=>1",
    "a.b",
    "2026-01-01",
    "10.0.0.1",
    "{}",
    "",
)


def _all_match(choices: Choices, patterns: Sequence[str]) -> bool:
    """Whether a sample of values matches, as far as Python reads the patterns; the database has the last word."""
    try:
        found = [re.compile(_CLASS.sub(lambda name: _PYTHON.get(name[1], ""), pattern)) for pattern in patterns]
    except re.error:
        return False
    sample = [choices.nth(place * choices.size // 64) for place in range(64)]
    return all(one.search(text) for one in found for text in sample)


_CLASS = re.compile(r"\[:(\w+):\]")
_PYTHON = {"space": r"\s", "digit": "0-9", "alpha": "a-zA-Z", "alnum": "a-zA-Z0-9", "lower": "a-z", "upper": "A-Z"}


def _longest(kind: Kind, demand: Demand) -> int | None:
    limits = [n for n in (demand.longest, 63 if kind.name == "name" else None) if n is not None]
    if kind.name in ("character varying", "character", "bpchar") and kind.modifiers:
        limits.append(kind.modifiers[0])
    elif kind.name == "character":
        limits.append(1)
    return min(limits) if limits else None


def _usual(name: str) -> tuple[int, int] | None:
    """What a number of that name usually is."""
    last = name.lower().rpartition("_")[2]
    if last in ("quantity", "qty", "count", "position", "sequence", "priority", "level", "version", "attempts"):
        return 1, 20
    if last in ("year",):
        return 1990, 2026
    if last in ("age",):
        return 18, 90
    if last in ("rating", "stars", "score"):
        return 1, 5
    if last in ("price", "amount", "total", "cost", "fee"):
        return 1, 500
    if last in ("percent", "percentage", "lat", "latitude"):
        return 0, 90
    return None


def _decimal(text: str | None) -> Decimal | None:
    try:
        found = None if text is None else Decimal(text)
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None


def _moment(text: str | None) -> datetime | None:
    try:
        found = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found is None else found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _in_array(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _in_row(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'


def _json(demand: Demand) -> Choices:
    kind = demand.json_type
    if kind == "array":
        return Choices(10**6, lambda n: json.dumps([n]), "lists", 1000)
    if kind == "string":
        return Choices(10**6, lambda n: json.dumps(f"text {n}"), "texts", 1000)
    if kind == "number":
        return Choices(10**6, str, "numbers", 1000)
    return Choices(10**6, lambda n: json.dumps({"n": n}), "documents", 1000)


def _hashed(key: int, number: int, bits: int) -> int:
    value = 0
    for part in range((bits + 63) // 64):
        value = value << 64 | mix(key + part * 7919 + (number + 1) * 0x9E3779B97F4A7C15)
    return value & ((1 << bits) - 1)


def _bytes(key: int, demand: Demand) -> Choices:
    """So many bytes as are demanded, 16 if nothing is said; the last eight are the value's number."""
    length = demand.shortest if demand.shortest > 16 else min(16, demand.longest if demand.longest is not None else 16)
    if length < 8:
        return Choices(256**length, lambda n: f"\\x{n:0{2 * length}x}" if length else "\\x", "bytes")
    return Choices(HUGE, lambda n: f"\\x{_hashed(key, n, 8 * length - 64):0{2 * length - 16}x}{n:016x}", "bytes")


def _plain(kind: Kind, key: int) -> Choices | None:
    """Types that need nothing but their number."""
    name, size = kind.name, (kind.modifiers or (0,))[0]

    def hashed(number: int, bits: int) -> int:
        return _hashed(key, number, bits)

    if name == "boolean":
        return one_of(["true", "false"])
    if name == "uuid":

        def marked(number: int) -> str:
            value = hashed(number, 128) & ((1 << 112) - 1) | MARK << 112
            # The number itself in the last 60 bits, permuted: no two are alike.
            value = value & ~((1 << 60) - 1) | (number * 0x2545F4914F6CDD1D ^ key) & ((1 << 60) - 1)
            text = f"{value & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62:032x}"
            return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

        return Choices(HUGE, marked, "uuids that begin with 5eed", in_order=True)
    if name in ("bit", "bit varying"):
        bits = size or (1 if name == "bit" else 8)
        return Choices(1 << min(bits, 60), lambda n: f"{n:0{bits}b}"[-bits:], "bits")
    if name.startswith("time "):
        suffix = "+00" if name.endswith("with time zone") else ""
        return Choices(_DAY, lambda n: f"{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}{suffix}", "times of day")
    if name.startswith("interval"):
        return Choices(10**6, lambda n: f"{n + 1} minutes", "intervals", 1440)
    if name == "inet":
        return Choices(
            1 << 60,
            lambda n: str(ipaddress.ip_address((0x20010DB8 << 96) + n)) if n > 250 else f"192.0.2.{n + 1}",
            "addresses of documentation networks",
            250,
        )
    if name == "cidr":
        return Choices(1 << 60, lambda n: f"{ipaddress.ip_address((0x20010DB8 << 96) + n)}/128", "networks", 1000)
    if name in ("macaddr", "macaddr8"):
        tail = 40 if name == "macaddr" else 56
        return Choices(1 << tail, lambda n: f"02{n:0{tail // 4}x}", "addresses", 1 << tail)
    if name in ("vector", "halfvec"):
        length = size or 3

        def vector(number: int) -> str:
            parts = [hashed(number * length + i, 16) / 65536 - 0.5 for i in range(length)]
            return "[" + ",".join(f"{part:.5f}" for part in parts) + "]"

        return Choices(HUGE, vector, f"vectors of {length}")
    if name == "sparsevec":
        return Choices(10**6, lambda n: f"{{1:{n + 1}}}/{size or 3}", "vectors")
    simple: dict[str, Callable[[int], str]] = {
        "xml": lambda n: f"<n>{n}</n>",
        "tsvector": lambda n: f"'word{n}'",
        "tsquery": lambda n: f"'word{n}'",
        "point": lambda n: f"({n},{n % 90})",
        "line": lambda n: f"{{1,-1,{n}}}",
        "lseg": lambda n: f"[({n},0),({n},1)]",
        "box": lambda n: f"({2 * n + 1},1),({2 * n},0)",
        "path": lambda n: f"[({n},0),({n},1),({n},2)]",
        "polygon": lambda n: f"(({2 * n},0),({2 * n},1),({2 * n + 1},1))",
        "circle": lambda n: f"<({4 * n},0),1>",
        "pg_lsn": lambda n: f"0/{n + 1:X}",
        "pg_snapshot": lambda n: f"{n + 10}:{n + 20}:",
        "txid_snapshot": lambda n: f"{n + 10}:{n + 20}:",
        "tid": lambda n: f"({n},1)",
        "jsonpath": lambda n: f'$."k{n}"',
        "hstore": lambda n: f'"n"=>"{n}"',
        "ltree": lambda n: f"top.n{n}",
        "lquery": lambda n: f"top.n{n}",
        "ltxtquery": lambda n: f"n{n}",
        "cube": lambda n: f"({n}, 1)",
        "seg": lambda n: f"{n} .. {n + 1}",
    }
    if name in simple:
        make = simple[name]
        return Choices(10**6, make, name, 1000)
    if name == '"char"':
        return one_of(list("abcdefghijklmnopqrstuvwxyz"))
    if name in ("regclass", "regtype"):
        return one_of(["pg_class", "pg_type"])
    return None
