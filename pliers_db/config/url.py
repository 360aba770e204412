"""Reading a database URL, and saying what is wrong with one without showing its password."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote

from pliers_db.config.secret import Secret
from pliers_db.config.target import Target
from pliers_db.errors import BadDatabaseUrl

SCHEMES = ("postgresql", "postgres")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODE = "In a password write @ as %40, / as %2F, % as %25, or give it apart as DB_PASSWORD."


def parse_url(url: str, source: str = "DATABASE_URL") -> Target:
    """Read ``postgresql://user:password@host:port/dbname?param=value``.

    :param source: the setting that holds the URL, for errors.
    :raises BadDatabaseUrl: never repeats the URL itself.
    """

    def bad(what: str, why: str, fix: str = _ENCODE) -> BadDatabaseUrl:
        return BadDatabaseUrl(f"{source}: {what}", why=why, fix=fix)

    text = url.strip()
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise bad(
            "not a PostgreSQL URL",
            "It does not begin with postgresql:// or postgres://.",
            "Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE.",
        )
    if any(c.isspace() for c in text):
        raise bad("there is a blank in the URL", "libpq refuses blanks.", "Write a blank as %20.")
    rest, _, query = rest.partition("?")
    if "@" in query:
        raise bad("a '?' stands in the password", "The URL ends at the first '?'.", "Write ? as %3F. " + _ENCODE)
    if "#" in rest:
        raise bad("there is a '#' in the URL", "Programs disagree on what follows a '#'.", "Write # as %23.")
    if rest.count("@") > 1:
        raise bad(
            "there is an unescaped '@' in the user or password",
            "Everything after the first '@' would be read as the host, silently.",
        )
    userinfo, at, location = rest.rpartition("@")
    authority, slash, path = location.partition("/")
    if not at and "@" not in rest and ":" in authority.partition("[")[0]:
        before, _, after = authority.rpartition(":")
        if after and not after.isdigit() and "," not in authority:
            raise bad(f"the port of host {before!r} is not a number", "HOST:PORT is expected after ://.")
    if "/" in userinfo:
        raise bad("there is an unescaped '/' in the user or password", "The host would end at that '/'.")
    for part in (userinfo, location):
        if _BAD_PERCENT.search(part):
            raise bad("there is a '%' that is not followed by two hex digits", "'%' begins an escape in a URL.")
    user, colon, password = userinfo.partition(":")
    hosts, ports = _hosts_and_ports(authority, bad)
    if slash and "/" in path:
        raise bad("there is a '/' in the database name", "The name is what follows the host's '/'.")
    params = dict(parse_qsl(query, keep_blank_values=True))
    dbname = unquote(path) or params.pop("dbname", "")
    if not dbname:
        raise bad("the database name is missing", "Nothing follows the host.", "Add /DATABASE at the end.")
    if "password" in params:
        raise bad("the password stands in the query", "Query strings end up in logs.", "Put it before the host.")
    timeout = params.pop("connect_timeout", None)
    return Target(
        dbname=dbname,
        host=hosts or params.pop("host", None),
        port=ports or params.pop("port", None),
        user=unquote(user) or params.pop("user", None),
        password=Secret(unquote(password)) if colon and password else None,
        sslmode=params.pop("sslmode", None),
        sslrootcert=params.pop("sslrootcert", None),
        connect_timeout=float(timeout) if timeout and timeout.isdigit() else None,
        params=params,
    )


def _hosts_and_ports(authority: str, bad: Callable[..., BadDatabaseUrl]) -> tuple[str | None, str | None]:
    """Split ``a:1,b:2`` or ``[::1]:5432`` as libpq does."""
    hosts: list[str] = []
    ports: list[str] = []
    for item in authority.split(",") if authority else []:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:]*)(?::(\d*))?", item)
        if match is None or (match[2] and not 0 < int(match[2]) < 65536):
            raise bad(
                "the host or port cannot be read", "HOST:PORT, HOST1:PORT1,HOST2:PORT2 or [IPV6]:PORT is expected."
            )
        hosts.append(unquote(match[1]).strip("[]"))
        ports.append(match[2] or "")
    host = ",".join(hosts) or None
    port = ",".join(ports) if any(ports) else None
    return host, port
