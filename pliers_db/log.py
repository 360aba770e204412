"""Logging: stdlib loggers under ``pliers_db``, scrubbed of every known secret.

A library user attaches handlers to ``logging.getLogger("pliers_db")`` as usual. The command line calls
`configure_logging`: ``PLIERS_LOG`` is ``text`` or ``json`` (one object a line), ``PLIERS_LOG_LEVEL`` a level.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any

from pliers_db.errors import BadSetting
from pliers_db.redaction import redact, redact_all

__all__ = ["RedactingFilter", "configure_logging", "get_logger", "redact"]

ROOT = "pliers_db"
DRIVER = "psycopg"  # warns of connections that were lost; the error that follows says it better
FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_traceback = logging.Formatter()


class RedactingFilter(logging.Filter):
    """Scrubs message, arguments, extra fields and traceback of a record, before any handler sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = _traceback.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)  # every stdlib formatter prefers this to exc_info
        for name, value in _extra(record).items():
            setattr(record, name, redact_all(value))
        return True


class TextFormatter(logging.Formatter):
    """``2026-11-22T18:00:00.123Z warning pliers_db.db: message key=value``"""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {key}={value}" for key, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname.lower()} {record.name}: {record.getMessage()}{extra}"
        return f"{line}\n{record.exc_text}" if record.exc_text else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the ``extra`` fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_text:
            entry["exception"] = record.exc_text
        return json.dumps(entry, default=str, ensure_ascii=False)


def get_logger(name: str) -> logging.Logger:
    """The logger of a module (``get_logger(__name__)``), with the redaction filter on it."""
    logger = logging.getLogger(name)
    # A filter of the parent logger is not asked for a child's records, so each has its own.
    if not any(isinstance(f, RedactingFilter) for f in logger.filters):
        logger.addFilter(RedactingFilter())
    return logger


def configure_logging(environ: Mapping[str, str] | None = None, stream: IO[str] | None = None) -> None:
    """Write the records of ``pliers_db.*`` to stderr, as ``PLIERS_LOG`` and ``PLIERS_LOG_LEVEL`` say.

    With neither of them set nothing is written: a command says what matters itself. One alone is enough (text, info).

    :param environ: default: ``os.environ``.
    :param stream: default: stderr.
    :raises BadSetting: a format or level that is not known.
    """
    environ = os.environ if environ is None else environ
    form = _choice(environ, "PLIERS_LOG", FORMATS)
    level = _choice(environ, "PLIERS_LOG_LEVEL", LEVELS, {"warn": "warning"})
    handler: logging.Handler = logging.NullHandler()  # without any handler Python would print warnings by itself
    if form is not None or level is not None:
        handler = logging.StreamHandler(stream or sys.stderr)
        handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
        handler.addFilter(RedactingFilter())
    for name in (ROOT, DRIVER):
        logger = logging.getLogger(name)
        logger.propagate = False
        for old in list(logger.handlers):
            if isinstance(old, logging.StreamHandler | logging.NullHandler):
                logger.removeHandler(old)
        logger.addHandler(handler)
        if not isinstance(handler, logging.NullHandler):
            logger.setLevel((level or "info").upper())


def _choice(
    environ: Mapping[str, str], name: str, choices: tuple[str, ...], aliases: Mapping[str, str] | None = None
) -> str | None:
    value = environ.get(name, "").strip().lower()
    value = (aliases or {}).get(value, value)
    if value and value not in choices:
        raise BadSetting(
            f"{name} is {value!r} (process environment)",
            why=f"It is one of {', '.join(choices)}.",
            fix=f"Set {name}={choices[0]}.",
            setting=name,
        )
    return value or None


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
