"""Reading and writing a database URL, and saying what is wrong with one without showing its password.

What is accepted is read exactly as libpq reads it (fe-connect.c, ``conninfo_uri_parse_options``; a property test
holds the two together). Refused is what libpq would take silently for something else than its author meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from urllib.parse import quote, unquote

from pliers_db.config.secret import Secret
from pliers_db.config.target import CHOICES, Target, check_hosts, check_ports
from pliers_db.errors import BadDatabaseUrl

SCHEMES = ("postgresql", "postgres")
_WHOLE = frozenset(
    {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "connect_timeout"}
)
PARAMETERS = frozenset(
    {"application_name", "channel_binding", "client_encoding", "dbname", "gssdelegation", "gssencmode", "gsslib"}
    | {"host", "hostaddr", "krbsrvname", "load_balance_hosts", "max_protocol_version", "min_protocol_version"}
    | {"options", "passfile", "port", "require_auth", "requirepeer", "ssl_max_protocol_version"}
    | {"ssl_min_protocol_version", "sslcert", "sslcertmode", "sslcrl", "sslcrldir", "sslkey", "sslmode"}
    | {"sslnegotiation", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout", "user"}
    | _WHOLE
)
"""The libpq parameters that a URL may carry. Not among them: secrets, and what points elsewhere (``service``)."""

_SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_FOREIGN = {
    "schema": "Write options=-csearch_path%3DNAME.",
    "sslaccept": "Write sslmode=verify-full.",
    "pgbouncer": "Leave it out, and give the direct way as DIRECT_DATABASE_URL.",
    "connection_limit": "Leave it out and set DB_POOL_MAX.",
    "pool_timeout": "Leave it out and set DB_POOL_TIMEOUT.",
    "charset": "Write client_encoding=UTF8.",
    "search_path": "Write options=-csearch_path%3DNAME.",
    "service": "Write the host and the database into the URL.",
}
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODE = "In a password write @ as %40, / as %2F, % as %25, or give it apart as DB_PASSWORD."
_SHAPE = "Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE."

_Bad = Callable[..., BadDatabaseUrl]


def parse_url(url: str, source: str = "DATABASE_URL") -> Target:
    """Read ``postgresql://user:password@host:port/dbname?param=value``.

    :param source: the setting that holds the URL, for errors.
    :raises BadDatabaseUrl: never repeats the URL or a part that may belong to the password.
    """

    def bad(what: str, why: str, fix: str = _ENCODE) -> BadDatabaseUrl:
        return BadDatabaseUrl(f"{source}: {what}", why=why, fix=fix, source=source)

    rest = _after_scheme(url.strip(), bad)
    userinfo, location = _split_credentials(rest, bad)
    user, colon, password = userinfo.partition(":")
    if "?" in user:
        raise bad("there is a '?' in the user name", "A '?' begins the parameters.", "Write ? as %3F. " + _ENCODE)
    if colon and password and not user:
        raise bad("there is a password but no user", "Nothing stands before the ':'.", _SHAPE)
    if "#" in location:
        raise bad("there is a '#' after the credentials", "Programs disagree on what follows a '#'.", "Write # as %23.")
    place, _, query = location.partition("?")
    authority, _, path = place.partition("/")
    if "/" in path:
        raise bad(
            "there is a second '/' after the host", "libpq would read it as a part of the database name.", _ENCODE
        )
    found = {key: _decode(text, bad) for key, text in _authority(authority, bad).items()}
    found["user"] = _decode(user, bad)
    found["dbname"] = _decode(path, bad)
    found |= _parameters(query, bad)  # as in libpq, a parameter wins over the same thing in front
    if not found["dbname"]:
        raise bad("the database name is missing", "Nothing follows the host.", "Add /DATABASE at the end.")
    check_hosts(found.get("host"), bad)
    check_ports(found.get("port"), found.get("host"), found.get("hostaddr"), bad)
    timeout = found.pop("connect_timeout", None)
    secret = _decode(password, bad)
    return Target(
        dbname=found.pop("dbname"),
        host=found.pop("host", None) or None,
        port=found.pop("port", None) or None,
        user=found.pop("user") or None,
        password=Secret(secret) if secret else None,
        sslmode=found.pop("sslmode", None),
        sslrootcert=found.pop("sslrootcert", None),
        connect_timeout=float(timeout) if timeout else None,
        params=found,
    )


def format_url(target: Target, *, reveal: bool = False) -> str:
    """A URL that `parse_url`, libpq and most drivers read back as the same target.

    :param reveal: write the password in clear; else asterisks stand in its place.
    """
    query = dict(target.params)
    host, port = target.host or "", target.port or ""
    if "/" in host or "," in host or "," in port:  # sockets and host lists are read by more programs as parameters
        query |= {"host": host} | ({"port": port} if port else {})
        host = port = ""
    for name in ("sslmode", "sslrootcert"):
        if value := getattr(target, name):
            query[name] = value
    if target.connect_timeout is not None:
        query["connect_timeout"] = str(max(1, round(target.connect_timeout)))
    credentials = quote(target.user or "", safe="")
    if target.password:
        credentials += ":" + (quote(target.password.reveal(), safe="") if reveal else str(target.password))
    where = f"[{quote(host, safe=':')}]" if ":" in host else quote(host, safe="")
    parameters = "&".join(f"{key}={quote(value, safe='/,:')}" for key, value in query.items())
    return (
        f"postgresql://{credentials}{'@' if credentials else ''}{where}{':' if port else ''}{port}"
        f"/{quote(target.dbname, safe='')}{'?' if parameters else ''}{parameters}"
    )


def _after_scheme(text: str, bad: _Bad) -> str:
    """What follows ``postgresql://``; says what was meant instead."""
    if text[:1] in "\"'" and text:
        raise bad("the quotes belong to the value", "This source does not take quotes off.", "Write it without quotes.")
    scheme, separator, rest = text.partition("://")
    if not separator:
        if re.match(r"\s*\w+\s*=", text):
            raise bad("this is a list of key=value, not a URL", "Only the URL form is read.", _SHAPE)
        raise bad("not a PostgreSQL URL", "It does not begin with postgresql:// or postgres://.", _SHAPE)
    if scheme not in SCHEMES:
        why = "It does not begin with postgresql:// or postgres://."
        if scheme.lower().removeprefix("jdbc:").partition("+")[0] in SCHEMES:
            why = "The part before :// is another program's spelling (SQLAlchemy, JDBC) or in capitals."
        raise bad("not a PostgreSQL URL", why, _SHAPE)
    if any(c.isspace() or not c.isprintable() for c in rest):
        raise bad("there is a blank or control character in the URL", "libpq refuses blanks.", "Write a blank as %20.")
    return rest


def _split_credentials(rest: str, bad: _Bad) -> tuple[str, str]:
    """What stands before and after the ``@``. libpq ends the credentials at the first ``@`` or ``/``."""
    end = next((i for i, c in enumerate(rest) if c in "@/"), len(rest))
    if rest[end : end + 1] != "@":
        if "@" in rest:
            raise bad(
                "there is an unescaped '/' before the '@'",
                "libpq ends the host at the first '/': it would not see the user and password.",
            )
        return "", rest
    if "@" in rest[end + 1 :]:
        raise bad(
            "there is an unescaped '@' in the user or password",
            "libpq ends the password at the first '@' and would silently take what follows as the host.",
        )
    return rest[:end], rest[end + 1 :]


def _authority(authority: str, bad: _Bad) -> dict[str, str]:
    """Split ``a:1,b:2`` or ``[::1]:5432`` as libpq does: commas part hosts, a port ends at the comma."""
    hosts: list[str] = []
    ports: list[str] = []
    for item in authority.split(","):
        match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]*))(?::(.*))?", item)
        if match is None:
            raise bad("the host cannot be read", "HOST:PORT, H1:P1,H2:P2 or [IPV6]:PORT is expected.", _SHAPE)
        hosts.append(match[1] or match[2])
        ports.append(match[3] or "")
        if ports[-1] and re.fullmatch(r"[0-9]+", ports[-1]) is None:
            # It may be a password whose @HOST was forgotten: not shown.
            raise bad("the port is not a number", "What follows HOST: is the port.", _SHAPE)
    found = {"host": ",".join(hosts), "port": ",".join(ports)}
    return {key: value for key, value in found.items() if value}


def _parameters(query: str, bad: _Bad) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in query.removesuffix("&").split("&") if query else []:
        key, equals, value = item.partition("=")
        key, value = _decode(key, bad), _decode(value, bad)
        if key in _SECRETS:
            raise bad(
                f"{key} stands among the parameters",
                "Query strings end up in logs.",
                "Write the password before the host, or as DB_PASSWORD."
                if key == "password"
                else f"Leave {key} out of the URL.",
            )
        if key == "ssl" and value == "true":  # libpq's concession to JDBC
            key, value = "sslmode", "require"
        if not equals or "=" in item.partition("=")[2]:
            raise bad("a parameter is not of the form key=value", "Parameters follow the '?', joined by '&'.",
                      "Write = in a value as %3D, & as %26, ? in a password as %3F.")  # fmt: skip
        if key not in PARAMETERS:
            raise bad(f"unknown parameter {key!r}", "libpq has no such connection parameter.", _suggest(key))
        if not value:
            raise bad(f"the parameter {key} has no value", "Nothing follows its '='.", f"Leave {key} out.")
        if key in CHOICES and value not in CHOICES[key]:
            raise bad(f"{key} is {value!r}", f"It is one of {', '.join(CHOICES[key])}.", nearest(value, CHOICES[key]))
        if key in _WHOLE and (
            re.fullmatch(r"[0-9]{1,9}", value) is None or (key == "connect_timeout" and not int(value))
        ):
            raise bad(f"{key} is {value!r}", "A whole number is expected (of seconds, for a timeout).", f"{key}=10")
        found[key] = value
    return found


def _decode(text: str, bad: _Bad) -> str:
    if _BAD_PERCENT.search(text):
        raise bad("there is a '%' that is not followed by two hex digits", "'%' begins an escape in a URL.")
    if "%00" in text:
        raise bad("there is a %00 in the URL", "PostgreSQL takes no NUL in names or passwords.")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise bad("an escape is not UTF-8", "The bytes after % do not form a character.", _ENCODE) from None


def _suggest(key: str) -> str:
    if fix := _FOREIGN.get(key):
        return fix
    near = get_close_matches(key.lower(), PARAMETERS, n=1)
    return f"Did you mean {near[0]}?" if near else "Leave it out."


def nearest(value: str, choices: tuple[str, ...]) -> str:
    near = get_close_matches(value.lower(), choices, n=1)
    return f"Did you mean {near[0]}?" if near else f"For example {choices[-1]}."
