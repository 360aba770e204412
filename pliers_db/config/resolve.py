"""Which database the sources name, laid over each other.

A URL replaces the parts (``DB_HOST``…) of its own source and of those below it; a part from a higher source
replaces that part of the URL. The TLS pair is a setting of its own: what the URL does not say, ``DB_SSLMODE`` and
``DB_SSLROOTCERT`` say, from whatever source.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pliers_db.config.environment import Environment
from pliers_db.config.secret import Secret
from pliers_db.config.sources import FLAG, PROCESS, Layer
from pliers_db.config.target import CHOICES, Target, check_hosts, check_ports
from pliers_db.config.url import nearest, parse_url
from pliers_db.errors import BadDatabaseUrl, BadSetting, InputError, TwoSources
from pliers_db.redaction import remember_secret

_PARTS = {"DB_HOST": "host", "DB_PORT": "port", "DB_NAME": "dbname", "DB_USER": "user"}
SOCKET_FOLDERS = ("/var/run/postgresql", "/tmp")
"""Where servers put their sockets by default: Debian's and Red Hat's, and PostgreSQL's own."""
_MASKED_PART = re.compile(r"://[^:/@]*:(.+)@")


def read_targets(
    layers: list[Layer], environ: Mapping[str, str], environment: Environment, sources: dict[str, str]
) -> tuple[Target | None, Target | None]:
    """The database, and the direct way to it if there is one; None and None if nothing names one.

    :param sources: takes up where each part came from.
    :raises InputError: a setting that cannot be used, or a secret given twice.
    """
    _remember(layers, environ)
    target = _read_target(layers, sources)
    direct = _read_direct(layers, sources)
    if target is None:
        if direct is not None:
            raise BadSetting(
                f"DIRECT_DATABASE_URL is set ({sources['DIRECT_DATABASE_URL']}), but no database is",
                why="It is the second way to the database that DATABASE_URL names.",
                fix="Set DATABASE_URL, too.",
                setting="DIRECT_DATABASE_URL",
                source=sources["DIRECT_DATABASE_URL"],
            )
        return None, None
    target = _complete(target, environ, sources)
    target = _with_tls(target, layers, environment, sources)
    if direct is not None:
        direct = _with_tls(_complete_direct(direct, target), layers, environment, {})
    return target, direct


def _remember(layers: list[Layer], environ: Mapping[str, str]) -> None:
    """Make every secret in sight known to the redaction, also of sources that lose or cannot be read."""
    for text in [layer.get("DB_PASSWORD") for layer in layers] + [environ.get("PGPASSWORD")]:
        remember_secret(text or "")
    for text in [layer.get(name) for layer in layers for name in ("DATABASE_URL", "DIRECT_DATABASE_URL")]:
        if found := _MASKED_PART.search(text or ""):
            remember_secret(found[1])


def _read_target(layers: list[Layer], sources: dict[str, str]) -> Target | None:
    target, above = None, layers
    for number, layer in enumerate(layers):
        url = layer.secret("DATABASE_URL")
        if layer.name == FLAG and not (url or "").strip():
            raise BadDatabaseUrl(f"{FLAG} is empty", fix="Leave it out to use DATABASE_URL.", source=FLAG)
        if url:
            target, above = _from_url(url, layer, layers, sources), layers[:number]
            break
    parts: dict[str, str] = {}
    for name, part in _PARTS.items():
        for layer in above:
            if text := layer.get(name):
                _check_part(name, text, layer.name)
                parts[part] = text
                sources[name] = layer.name
                break
    password = None
    for layer in above:
        if text := layer.secret("DB_PASSWORD"):
            password = Secret(text)
            sources["DB_PASSWORD"] = _secret_source("DB_PASSWORD", layer)
            break
    if target is None and not parts and password is None:
        return None
    target = target or Target(dbname="", host="localhost", port="5432")
    target = replace(target, **parts)  # type: ignore[arg-type]
    target = replace(target, password=password or target.password)
    if not target.dbname:
        given = sorted(_PARTS.keys() & sources.keys()) or ["DB_PASSWORD"]
        raise BadSetting(
            "The database's name is missing",
            why=f"{', '.join(given)} is set, but neither DB_NAME nor DATABASE_URL.",
            fix="Set DB_NAME.",
            setting="DB_NAME",
            source=sources[given[0]],
        )
    ports = sources.get("DB_PORT", "DATABASE_URL")
    check_ports(target.port, target.host, target.params.get("hostaddr"), lambda *e: _bad("DB_PORT", ports, *e))
    return target


def _from_url(url: str, layer: Layer, layers: list[Layer], sources: dict[str, str]) -> Target:
    name = FLAG if layer.name == FLAG else f"DATABASE_URL ({layer.name})"
    target = parse_url(url, name)
    sources["DATABASE_URL"] = _secret_source("DATABASE_URL", layer)
    # A flag should hold no password: it stands in the process list. The process environment may give it.
    beside = next((a for a in layers if a.name == PROCESS), layer) if layer.name == FLAG else layer
    if layer.name == FLAG and target.password is not None:
        return target
    password = beside.secret("DB_PASSWORD")
    if password is None:
        return target
    if target.password is not None:
        raise TwoSources(
            f"{name} holds a password, and {_secret_source('DB_PASSWORD', beside, short=True)} is set, too",
            why="Nobody could tell which of the two is used.",
            fix="Take the password out of the URL, or unset DB_PASSWORD.",
            setting="DB_PASSWORD",
            source=layer.name,
        )
    sources["DB_PASSWORD"] = _secret_source("DB_PASSWORD", beside)
    return replace(target, password=Secret(password))


def _read_direct(layers: list[Layer], sources: dict[str, str]) -> Target | None:
    """The direct URL, unless a source above it names another server or database."""
    elsewhere = ("DATABASE_URL", "DATABASE_URL_FILE", "DB_HOST", "DB_PORT", "DB_NAME")
    user: str | None = None
    password: str | None = None
    for layer in layers:
        if url := layer.secret("DIRECT_DATABASE_URL"):
            sources["DIRECT_DATABASE_URL"] = _secret_source("DIRECT_DATABASE_URL", layer)
            direct = parse_url(url, f"DIRECT_DATABASE_URL ({layer.name})")
            return replace(direct, user=user or direct.user, password=Secret(password) if password else direct.password)
        if any(layer.get(name) for name in elsewhere):
            return None
        user, password = user or layer.get("DB_USER"), password or layer.secret("DB_PASSWORD")
    return None


def _complete_direct(direct: Target, target: Target) -> Target:
    """Role and password of the database's URL, where the direct one names none."""
    direct = replace(direct, user=direct.user or target.user)
    if direct.password is None and direct.user == target.user:
        direct = replace(direct, password=target.password)
    return direct


def _complete(target: Target, environ: Mapping[str, str], sources: dict[str, str]) -> Target:
    """Socket folder, port, role and password as libpq would complete them, but visibly."""
    if target.port is None:
        sources["DB_PORT"] = "default"
        target = replace(target, port="5432")
    if target.host is None and "hostaddr" not in target.params and (folder := _socket_folder(target.port)):
        # Each libpq has a folder built in, and pg_dump's need not be psycopg's.
        sources["DB_HOST"] = "the local server's socket"
        target = replace(target, host=folder)
    if target.user is None:
        sources["DB_USER"] = "the account that runs pliers-db"
        target = replace(target, user=_account())
    if target.password is None and environ.get("PGPASSWORD"):
        sources["DB_PASSWORD"] = f"PGPASSWORD ({PROCESS})"
        target = replace(target, password=Secret(environ["PGPASSWORD"]))
    return target


def _socket_folder(port: str | None) -> str | None:
    for folder in SOCKET_FOLDERS:
        if Path(folder, f".s.PGSQL.{port}").exists():
            return folder
    return None


def _account() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise BadSetting(
            "The role is missing",
            why=f"No user is named, and the account that runs this (uid {os.geteuid()}) has no name.",
            fix="Set DB_USER, or write the user into DATABASE_URL.",
            setting="DB_USER",
        ) from None


def _with_tls(target: Target, layers: list[Layer], environment: Environment, sources: dict[str, str]) -> Target:
    mode, rootcert = target.sslmode, target.sslrootcert
    for name, own in (("DB_SSLMODE", mode), ("DB_SSLROOTCERT", rootcert)):
        if own is not None:
            sources[name] = "the URL"
            continue
        for layer in layers:
            if text := layer.get(name):
                sources[name] = layer.name
                if name == "DB_SSLMODE":
                    mode = _check_sslmode(text.strip(), layer.name)
                else:
                    rootcert = _check_rootcert(text, layer)
                break
    if environment is Environment.PRODUCTION and not target.local:
        if mode is None:
            mode, sources["DB_SSLMODE"] = "verify-full", "default of production"
        if rootcert is None and mode.startswith("verify"):
            rootcert, sources["DB_SSLROOTCERT"] = "system", "default of production"
    if rootcert == "system" and mode not in (None, "verify-full"):
        raise BadSetting(
            f"DB_SSLROOTCERT is system, but DB_SSLMODE is {mode} ({sources.get('DB_SSLMODE', 'the URL')})",
            why="libpq trusts the system's certificates only together with verify-full.",
            fix="Set DB_SSLMODE=verify-full, or name a certificate file.",
            setting="DB_SSLROOTCERT",
            source=sources.get("DB_SSLROOTCERT", "the URL"),
        )
    return replace(target, sslmode=mode, sslrootcert=rootcert)


def _check_sslmode(text: str, source: str) -> str:
    if text in CHOICES["sslmode"]:
        return text
    raise BadSetting(
        f"DB_SSLMODE is {text!r} ({source})",
        why=f"It is one of {', '.join(CHOICES['sslmode'])}.",
        fix=nearest(text, CHOICES["sslmode"]),
        setting="DB_SSLMODE",
        source=source,
    )


def _check_rootcert(text: str, layer: Layer) -> str:
    if text == "system":
        return text
    path = layer.folder / Path(text).expanduser()
    try:
        path.open("rb").close()
    except OSError as error:
        raise BadSetting(
            f"DB_SSLROOTCERT ({layer.name}) cannot be used",
            why=f"{path}: {error.strerror}.",
            fix="Correct the path or the file's permissions, or write system.",
            setting="DB_SSLROOTCERT",
            source=layer.name,
        ) from None
    return str(path)


def _check_part(name: str, text: str, source: str) -> None:
    if name == "DB_HOST":
        check_hosts(text, lambda *error: _bad(name, source, *error))
    if name == "DB_PORT":
        check_ports(text, ",".join("h" * (text.count(",") + 1)), None, lambda *error: _bad(name, source, *error))


def _bad(name: str, source: str, what: str, why: str, fix: str) -> InputError:
    return BadSetting(f"{name} ({source}): {what}", why=why, fix=fix, setting=name, source=source)


def _secret_source(name: str, layer: Layer, *, short: bool = False) -> str:
    """``process environment``, or with the file's variable: ``DB_PASSWORD_FILE (process environment)``."""
    if layer.name == FLAG:
        return FLAG
    if layer.get(name) is None:
        return f"{name}_FILE" if short else f"{name}_FILE ({layer.name})"
    return name if short else layer.name
