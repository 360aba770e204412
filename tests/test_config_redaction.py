"""No secret in any output: messages, logs, tracebacks, in whatever form a program writes it."""

from __future__ import annotations

import io
import json
import logging
import pickle
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from pliers_db.config import Secret, parse_url
from pliers_db.errors import BadSetting
from pliers_db.log import RedactingFilter, configure_logging, get_logger, redact
from pliers_db.redaction import MASK, forget_secrets, redact_all

KNOWN = "pliers-version3-2025!"
NASTY = "p@ss/w%rd'\"\\ é#?&\x7f\x01"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    forget_secrets()
    yield
    forget_secrets()


def written(secret: str) -> list[str]:
    """The forms in which programs repeat a password."""
    return [
        f"fatal: {secret} is wrong",
        f"{secret!r}",
        json.dumps({"x": f"a {secret} b"}),
        json.dumps({"x": f"a {secret} b"}, ensure_ascii=False),
        quote(secret, safe=""),
        make_conninfo("", host="h", password=secret),
        f"postgresql://u:{quote(secret, safe='')}@h/db",
        "select '" + secret.replace("'", "''") + "'",
    ]


@pytest.mark.parametrize("secret", [KNOWN, NASTY])
def test_a_secret_is_scrubbed_in_every_form_once_it_was_made(secret: str) -> None:
    texts = written(secret)
    assert any(redact(text) == text for text in texts[:2]), "nothing is known yet"
    Secret(secret)
    for text in texts:
        scrubbed = redact(text)
        assert MASK in scrubbed
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]):
            assert form not in scrubbed, text


@given(
    secret=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0*"), min_size=10, max_size=40),
    before=st.text(max_size=5),
    after=st.text(max_size=5),
)
def test_no_secret_of_ten_characters_survives(secret: str, before: str, after: str) -> None:
    forget_secrets()
    Secret(secret)
    forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    for text in written(secret):
        scrubbed = redact(f"{before} {text} {after}")
        assert not [form for form in forms if form in scrubbed]


@pytest.mark.parametrize(
    "text",
    [
        "cannot connect to postgresql://user:hunter2@host/db",
        "postgres://user:hunter2@ss@host/db",
        "postgresql://user:hunter2/x@host/db",
        "postgresql+psycopg://user:hunter2@host",
        "s3://key:hunter2@bucket",
        "host=h password=hunter2 dbname=d",
        "host=h password='hunter2 \\' x' dbname=d",
        "PGPASSWORD=hunter2 pg_dump",
        "DB_PASSWORD=hunter2",
        "sslpassword=hunter2",
        '{"password": "hunter2"}',
        "?user=u&password=hunter2&sslmode=require",
        'invalid percent-encoded token: "%hunter2"',
    ],
)
def test_an_unknown_password_is_scrubbed_where_passwords_stand(text: str) -> None:
    assert "hunter2" not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "connection to server at 10.0.0.1, port 5432 failed",
        'password authentication failed for user "app"',
        "see https://example.com/a@b and mail me@example.com",
        "postgresql://user@host:5432/db",
        "Set DB_PASSWORD, or DB_PASSWORD_FILE.",
        "12:30:11 ok",
    ],
)
def test_ordinary_words_are_left_alone(text: str) -> None:
    assert redact(text) == text


def test_a_trivial_password_does_not_maim_ordinary_words() -> None:
    for weak in ("dev", "postgres", "test", "market", ""):
        Secret(weak)
    text = 'role "postgres" on the development market of marketing'
    assert redact(text) == 'role "postgres" on the development ******** of marketing'
    assert redact("postgresql://postgres:postgres@h/d") == "postgresql://postgres:********@h/d"


def test_one_secret_that_begins_with_another_is_scrubbed_whole() -> None:
    Secret("longer-secret")
    Secret("longer-secret-indeed")
    assert redact("x longer-secret-indeed x") == f"x {MASK} x"


def test_a_bounded_number_of_secrets_is_remembered() -> None:
    for number in range(1500):
        Secret(f"secret-number-{number:05}")
    assert redact("secret-number-01499") == MASK
    assert redact("secret-number-00000") == "secret-number-00000"


def test_json_like_values_are_scrubbed_through_and_through() -> None:
    Secret(KNOWN)
    assert redact_all({"a": [KNOWN, (KNOWN, 1)], "b": None}) == {"a": [MASK, [MASK, 1]], "b": None}


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret(KNOWN)
    assert KNOWN not in f"{secret} {secret!r} {secret!s} {[secret]}"
    assert secret.reveal() == KNOWN
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_password_in_a_url_is_known_from_then_on() -> None:
    parse_url(f"postgresql://u:{KNOWN}@h/db")
    assert redact(f"boom {KNOWN}") == f"boom {MASK}"


# ── logs ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def _quiet() -> Iterator[None]:
    yield
    root = logging.getLogger("pliers_db")
    root.handlers.clear()
    root.propagate = True
    root.setLevel(logging.NOTSET)


def log_everything(environ: dict[str, str]) -> str:
    Secret(KNOWN)
    stream = io.StringIO()
    configure_logging(environ, stream)
    logger = get_logger("pliers_db.test.log")
    try:
        raise ValueError(f"inside {KNOWN}")
    except ValueError:
        logger.exception("message %s %s", KNOWN, {"k": KNOWN}, extra={"url": f"postgresql://u:{KNOWN}@h", "tries": 2})
    return stream.getvalue()


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("form", ["json", "text"])
def test_message_arguments_fields_and_traceback_are_scrubbed(form: str) -> None:
    out = log_everything({"PLIERS_LOG": form})
    assert KNOWN not in out
    assert out.count(MASK) >= 4
    assert "Traceback" in out


@pytest.mark.usefixtures("_quiet")
def test_json_lines_are_one_object_each() -> None:
    out = log_everything({"PLIERS_LOG": "json"})
    (line,) = out.splitlines()
    entry = json.loads(line)
    assert entry["level"] == "error"
    assert entry["logger"] == "pliers_db.test.log"
    assert entry["tries"] == 2
    assert entry["time"].endswith("Z")
    assert "ValueError" in entry["exception"]


@pytest.mark.usefixtures("_quiet")
def test_a_handler_of_the_applications_own_gets_scrubbed_records(caplog: pytest.LogCaptureFixture) -> None:
    Secret(KNOWN)
    with caplog.at_level("INFO", logger="pliers_db"):
        get_logger("pliers_db.test.own").info("with %s", KNOWN)
    assert KNOWN not in caplog.text
    assert "with ********" in caplog.text


@pytest.mark.usefixtures("_quiet")
def test_the_level_is_chosen_and_the_filter_stands_once() -> None:
    stream = io.StringIO()
    configure_logging({"PLIERS_LOG_LEVEL": "WARN"}, stream)
    configure_logging({"PLIERS_LOG_LEVEL": "WARN"}, stream)
    logger = get_logger("pliers_db.test.level")
    assert get_logger("pliers_db.test.level") is logger
    assert len([f for f in logger.filters if isinstance(f, RedactingFilter)]) == 1
    logger.info("not this")
    logger.warning("this once")
    assert stream.getvalue().count("this") == 1


@pytest.mark.parametrize(("name", "value"), [("PLIERS_LOG", "xml"), ("PLIERS_LOG_LEVEL", "loud")])
def test_an_unknown_format_or_level_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=f"{name} is '{value}'"):
        configure_logging({name: value})
