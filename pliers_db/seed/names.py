"""What a text column holds, guessed by its name. Addresses and telephone numbers are nobody's (RFC 2606, 555-01xx)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pliers_db.seed.choices import Choices, combined, one_of
from pliers_db.seed.pools import pool
from pliers_db.seed.spec import Spec

Make = Callable[[Spec], Choices]


def _pool(name: str) -> Make:
    return lambda spec: one_of([str(value) for value in pool(name, spec)], name.replace("_", " "))


def _people(form: Callable[[str, str], str], what: str) -> Make:
    def make(spec: Spec) -> Choices:
        first, last = (one_of([str(v) for v in pool(name, spec)]) for name in ("first_name", "last_name"))
        return combined([first, last], lambda names: form(*names), what)

    return make


def _emails(spec: Spec) -> Choices:
    people = _people(lambda first, last: f"{_plain(first)}.{_plain(last)}", "")(spec)
    count = people.size
    return Choices(
        count * 10**6,
        lambda n: f"{people.nth(n % count)}{n // count + 1 if n >= count else ''}@example.com",
        "e-mail addresses at example.com",
        count,
    )


def _slugs(spec: Spec) -> Choices:
    words = [_plain(str(word)) for word in pool("word", spec)]
    count = len(words)
    return Choices(
        count * count * 10**6,
        lambda n: (
            f"{words[n % count]}-{words[n // count % count]}"
            + (f"-{n // (count * count) + 1}" if n >= count * count else "")
        ),
        "slugs",
        count * count,
    )


def _phones(_spec: Spec) -> Choices:
    areas = (202, 212, 303, 312, 415, 503, 617, 713)
    return Choices(800, lambda n: f"+1 {areas[n // 100]} 555 {100 + n % 100:04d}", "telephone numbers 555-01xx")


def _urls(spec: Spec) -> Choices:
    return _slugs(spec).mapped(lambda slug: f"https://www.example.com/{slug}", "addresses at example.com")


def _hosts(spec: Spec) -> Choices:
    return _slugs(spec).mapped(lambda slug: f"{slug}.example", "hosts below .example")


def _addresses(_spec: Spec) -> Choices:
    return Choices(254, lambda n: f"192.0.2.{n + 1}", "addresses of a documentation network")


def _sentences(spec: Spec) -> Choices:
    words = [str(word) for word in pool("word", spec)]
    count = len(words)

    def nth(number: int) -> str:
        parts = [words[(number // count**i + 31 * i) % count] for i in range(4)]
        return " ".join(parts).capitalize() + "."

    return Choices(count**4, nth, "sentences")


_MAKERS: Mapping[str, Make] = {
    "email": _emails,
    "mail": _emails,
    "phone": _phones,
    "mobile": _phones,
    "telephone": _phones,
    "fax": _phones,
    "url": _urls,
    "uri": _urls,
    "link": _urls,
    "website": _urls,
    "homepage": _urls,
    "slug": _slugs,
    "domain": _hosts,
    "hostname": _hosts,
    "host": _hosts,
    "ip": _addresses,
    "city": _pool("city"),
    "town": _pool("city"),
    "street": _pool("street"),
    "company": _pool("company"),
    "organization": _pool("company"),
    "organisation": _pool("company"),
    "first_name": _pool("first_name"),
    "firstname": _pool("first_name"),
    "given_name": _pool("first_name"),
    "last_name": _pool("last_name"),
    "lastname": _pool("last_name"),
    "surname": _pool("last_name"),
    "family_name": _pool("last_name"),
    "full_name": _people(lambda first, last: f"{first} {last}", "names of people"),
    "display_name": _people(lambda first, last: f"{first} {last}", "names of people"),
    "username": _people(lambda first, last: f"{_plain(first)}.{_plain(last)}", "user names"),
    "login": _people(lambda first, last: f"{_plain(first)}.{_plain(last)}", "user names"),
    "description": _sentences,
    "body": _sentences,
    "comment": _sentences,
    "note": _sentences,
    "notes": _sentences,
    "text": _sentences,
    "message": _sentences,
    "content": _sentences,
    "summary": _sentences,
    "bio": _sentences,
}
_NEEDED: Sequence[str] = ("email", "url", "slug", "hostname")
"""Also where the values must differ: there are enough of them."""


def by_name(name: str, spec: Spec, *, distinct: bool) -> Choices | None:
    """The values that a column of this name usually holds; None if the name says nothing.

    :param distinct: the values must differ.
    """
    word = name.lower()
    last = word.rpartition("_")[2]
    make = _MAKERS.get(word) or _MAKERS.get(last)
    if make is None or (distinct and word not in _NEEDED and last not in _NEEDED):
        return None
    return make(spec)


def _plain(text: str) -> str:
    return "".join(char for char in text.lower() if char.isascii() and char.isalnum()) or "someone"
