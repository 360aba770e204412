"""A database URL is read as libpq reads it, or refused with the reason and without the password."""

from __future__ import annotations

import string
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pliers_db.config import Secret, Target, format_url, parse_url
from pliers_db.errors import BadDatabaseUrl

KNOWN = "pliers-version3-2025!"
# No NUL (PostgreSQL has none in text) and no lone surrogates (no bytes).
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)


def as_libpq(url: str) -> dict[str, Any]:
    """What libpq makes of a URL; empty values are its defaults."""
    return {key: value for key, value in conninfo_to_dict(url).items() if value}


def as_ours(target: Target) -> dict[str, Any]:
    found: dict[str, Any] = dict(target.params)
    for name in ("dbname", "host", "port", "user", "sslmode", "sslrootcert"):
        found[name] = getattr(target, name)
    found["password"] = target.password.reveal() if target.password else None
    found["connect_timeout"] = None if target.connect_timeout is None else f"{target.connect_timeout:.0f}"
    return {key: value for key, value in found.items() if value}


# ── agreement with libpq ────────────────────────────────────────────────────────────────────────────────────
@given(password=TEXT)
@example(password=KNOWN)
@example(password="a@b:c/d%e?f#g&h i+j=k,l[m]n\\o'p\"q")
@example(password="%41")
@example(password=" ")
def test_any_password_survives_a_url_that_quotes_it(password: str) -> None:
    target = Target("shop", host="db.example", port="5433", user="app", password=Secret(password))
    url = format_url(target, reveal=True)
    assert parse_url(url) == target
    assert as_libpq(url)["password"] == password
    assert conninfo_to_dict(make_conninfo("", **target.parameters()))["password"] == password


@given(
    dbname=TEXT,
    user=TEXT,
    host=st.sampled_from(["localhost", "127.0.0.1", "::1", "fe80::1%eth0", "/tmp/my sockets", "a,b", "é.example"]),
    port=st.sampled_from([None, "5432", "1"]),
    options=st.none() | TEXT,
)
def test_any_target_survives_a_url_in_our_eyes_and_libpqs(
    dbname: str, user: str, host: str, port: str | None, options: str | None
) -> None:
    params = {"options": options} if options else {}
    target = Target(dbname, host=host, port=port, user=user, sslmode="require", connect_timeout=7.0, params=params)
    url = format_url(target)
    assert parse_url(url) == target
    assert as_ours(target) == as_libpq(url)


PIECE = st.sampled_from([*"@:/?&=#%,+!é[].ab1", "%40", "%2F", "%25", "%ff", "%00", "5432", "[::1]"])
JUMBLE = st.lists(PIECE, max_size=4).map("".join)
PARAMETER = st.sampled_from(
    ["sslmode=require", "ssl=true", "host=x", "host=%2Ftmp", "port=1", "dbname=x", "connect_timeout=3", "a=b", "&", "="]
)
PARTS = st.tuples(
    st.sampled_from(["", "u@", "u:p@", "u:p?#&=+,[@", ":p@", "@"]),
    st.sampled_from(["", "h", "h:1", "h:", "h,i", "h:1,i:2", "h:,i:2", "[::1]:3", "[::1],h", "%2Ftmp", "/"]),
    st.sampled_from(["/db", "/d%20b", "/", ""]),
    st.lists(PARAMETER, max_size=3).map(lambda found: "?" + "&".join(found)) | st.just(""),
)


def _spoil(parts: tuple[str, ...], place: int, jumble: str) -> str:
    """Half of the URLs stay as they are, so that about a quarter is accepted."""
    return "".join((*parts[:place], jumble, *parts[place + 1 :]) if place < len(parts) else parts)


TAIL = st.builds(_spoil, PARTS, st.integers(0, 7), JUMBLE)


@settings(max_examples=1000)
@given(tail=TAIL)
@example(tail="u:p@[::1]:3,h2:4/db?sslmode=require&")
@example(tail="h:,h2:4/db")
@example(tail=",/db")
@example(tail="u:p@h/db?host=a,b&port=1,2")
@example(tail="u:p?x#y@h/db")
@example(tail="u@h/db?options=-c+x")
@example(tail="u@h/db?dbname=other&user=v")
def test_what_is_accepted_is_what_libpq_reads(tail: str) -> None:
    url = f"postgresql://{tail}"
    try:
        target = parse_url(url)
    except BadDatabaseUrl:
        return  # stricter than libpq is allowed, different from it is not
    assert as_ours(target) == as_libpq(url)


@given(text=st.text(string.printable, max_size=40))
def test_no_text_makes_the_parser_fall_over(text: str) -> None:
    for url in (text, f"postgresql://{text}"):
        with suppress(BadDatabaseUrl):
            parse_url(url)


def test_a_parameter_wins_over_the_same_thing_in_front() -> None:
    url = "postgresql://u@one:1/a?host=two&port=2&dbname=b&user=v&sslmode=allow&sslmode=require"
    assert as_ours(parse_url(url)) == as_libpq(url)
    assert parse_url(url).host == "two"


# ── the known development password, in every form ───────────────────────────────────────────────────────────
@pytest.mark.parametrize("written", [KNOWN, quote(KNOWN, safe=""), "pliers-version3-2025%21"])
def test_the_development_password_works_raw_and_quoted(written: str) -> None:
    url = f"postgresql://pliers_user:{written}@host.docker.internal:5432/pliers_dev"
    target = parse_url(url)
    assert target.password == Secret(KNOWN)
    assert (target.host, target.port, target.user, target.dbname) == (
        "host.docker.internal",
        "5432",
        "pliers_user",
        "pliers_dev",
    )
    assert as_ours(target) == as_libpq(url)


@pytest.mark.parametrize("character", list("!:#?&$*()-_=+[]{}|;'\"<>,.~^`"))
def test_a_raw_character_that_libpq_takes_is_taken(character: str) -> None:
    url = f"postgresql://u:pass{character}word@h:5432/db"
    assert as_libpq(url)["password"] == f"pass{character}word"
    assert parse_url(url).password == Secret(f"pass{character}word")


# ── mistakes: named, explained, and not repeated ────────────────────────────────────────────────────────────
PASSWORD_MISTAKES = {
    "postgresql://user:SECRET@SECRET@host/db": ("unescaped '@'", "%40"),
    "postgresql://user:SECRET/SECRET@host/db": ("unescaped '/'", "%2F"),
    "postgresql://user:12/SECRET@host/db": ("unescaped '/'", "%2F"),
    "postgresql://user:SECRET%SECRET@host/db": ("'%'", "%25"),
    "postgresql://user:SECRET@SECRET/SECRET@host/db": ("unescaped '@'", "%40"),
    "postgresql://user:SECRET SECRET@host/db": ("blank", "%20"),
    "postgresql://user:SECRET%00@host/db": ("%00", ""),
    "postgresql://user:SECRET%ff@host/db": ("not UTF-8", ""),
    "postgresql://us?er:SECRET@host/db": ("'?' in the user", "%3F"),
    "postgresql://:SECRET@host/db": ("password but no user", "USER"),
    "postgresql://user:SECRET": ("port is not a number", "USER"),
    "postgresql://user:SECRET:SECRET": ("port is not a number", "USER"),
    "postgresql://user@host/db?password=SECRET": ("password stands among the parameters", "DB_PASSWORD"),
    "postgresql://user@host/db?sslpassword=SECRET": ("sslpassword", "Leave"),
    "postgresql://user:SECRET@/": ("database name is missing", "/DATABASE"),
    "postgresql+psycopg://user:SECRET@host/db": ("not a PostgreSQL URL", "postgresql://"),
    "jdbc:postgresql://user:SECRET@host/db": ("not a PostgreSQL URL", "postgresql://"),
    "POSTGRES://user:SECRET@host/db": ("not a PostgreSQL URL", "postgresql://"),
    "mysql://user:SECRET@host/db": ("not a PostgreSQL URL", "postgresql://"),
    "user:SECRET@host/db": ("not a PostgreSQL URL", "postgresql://"),
    "host=h password=SECRET": ("key=value", "postgresql://"),
    '"postgresql://user:SECRET@host/db"': ("quotes", "without quotes"),
    "postgresql://user:SECRET@host:abc/db": ("port is not a number", ""),
    "postgresql://user:SECRET@host:99999/db": ("port cannot be used", "5432"),
    "postgresql://user:SECRET@host:0/db": ("port cannot be used", "5432"),
    "postgresql://user:SECRET@[::1/db": ("host cannot be read", ""),
    "postgresql://user:SECRET@ho%20st/db": ("blank in the host", ""),
    "postgresql://user:SECRET@ho%40st/db": ("'@' in the host", ""),
    "postgresql://user:SECRET@host/a/b": ("second '/'", ""),
    "postgresql://user:SECRET@host/db#x": ("'#'", "%23"),
    "postgresql://user:SECRET@host/db?sslmod=require": ("unknown parameter 'sslmod'", "sslmode"),
    "postgresql://user:SECRET@host/db?schema=x": ("unknown parameter 'schema'", "search_path"),
    "postgresql://user:SECRET@host/db?service=x": ("unknown parameter 'service'", "host"),
    "postgresql://user:SECRET@host/db?sslmode=no-verify": ("sslmode is 'no-verify'", ""),
    "postgresql://user:SECRET@host/db?sslmode=": ("no value", ""),
    "postgresql://user:SECRET@host/db?sslmode": ("not of the form", "%3D"),
    "postgresql://user:SECRET@host/db?options=-csearch_path=x": ("not of the form", "%3D"),
    "postgresql://user:SECRET@host/db?connect_timeout=soon": ("connect_timeout is 'soon'", ""),
    "postgresql://user:SECRET@host/db?connect_timeout=0": ("connect_timeout is '0'", ""),
    "postgresql://user:SECRET@h1,h2/db?port=1,2,3": ("3 ports for 2 hosts", ""),
    "postgresql://user:SECRET@host/db?host=h:5432": ("with its port", ""),
    "": ("not a PostgreSQL URL", ""),
}


@pytest.mark.parametrize("url", PASSWORD_MISTAKES)
def test_a_mistake_is_explained_without_the_password(url: str) -> None:
    what, fix = PASSWORD_MISTAKES[url]
    with pytest.raises(BadDatabaseUrl) as caught:
        parse_url(url.replace("SECRET", "hunter2x"), "DATABASE_URL (.env)")
    error = caught.value
    assert error.message.startswith("DATABASE_URL (.env): ")
    assert what in error.message
    assert fix in error.fix
    assert "hunter2x" not in f"{error.message} {error.why} {error.fix} {error.details}"
    assert error.exit_code == 2


@pytest.mark.parametrize("raw", ["p@ss", "pa/ss", "50%off"])
def test_what_libpq_would_misread_is_refused(raw: str) -> None:
    """The reason for being strict: libpq takes these for something else, or prints them."""
    url = f"postgresql://user:{raw}@host/db"
    try:
        assert as_libpq(url).get("password") != raw
    except ProgrammingError as error:
        assert raw[:3] in str(error)  # noqa: PT017 - the leak that is avoided
    with pytest.raises(BadDatabaseUrl):
        parse_url(url)


def test_a_masked_url_shows_everything_but_the_password() -> None:
    target = parse_url(f"postgresql://u:{KNOWN}@h:5433/db?sslmode=require&options=-cwork_mem%3D1MB")
    assert format_url(target) == "postgresql://u:********@h:5433/db?options=-cwork_mem%3D1MB&sslmode=require"
    assert KNOWN not in repr(target)
    assert str(target) == "u@h:5433/db"
