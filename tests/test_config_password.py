"""A password reaches the server unchanged in every form it can be given in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pliers_db.config import Secret
from pliers_db.db import connect
from pliers_db.errors import ConnectFailed
from pliers_db.postgres import Server
from tests.fix_settings import Sandbox
from tests.fix_tcp import PASSWORD, USER

FORMS = [
    "raw URL",
    "quoted URL",
    "URL in a file",
    "URL file",
    "parts",
    "parts in a file",
    "password file",
    "PGPASSWORD",
]
NASTY = "a@b/c%41?d#e&f g'h\"i\\j$k`l!é"


def give(form: str, password: str, port: str, sandbox: Sandbox) -> None:
    """Write the settings down in one of the forms."""
    quoted = password if form == "raw URL" else quote(password, safe="")
    url = f"postgresql://{USER}:{quoted}@127.0.0.1:{port}/app"
    parts = {"DB_HOST": "127.0.0.1", "DB_PORT": port, "DB_NAME": "app", "DB_USER": USER}
    if form == "URL in a file":
        sandbox.file(".env", f"DATABASE_URL={url}\n")
    elif form == "URL file":
        sandbox.environ["DATABASE_URL_FILE"] = str(sandbox.file("url", f"{url}\n"))
    elif "URL" in form:
        sandbox.environ["DATABASE_URL"] = url
    elif form == "parts in a file":
        escaped = password.replace("\\", "\\\\").replace("'", "\\'")
        sandbox.file(".env", "".join(f"{k}={v}\n" for k, v in parts.items()) + f"DB_PASSWORD='{escaped}'\n")
    else:
        sandbox.environ |= parts
        if form == "parts":
            sandbox.environ["DB_PASSWORD"] = password
        elif form == "password file":
            sandbox.environ["DB_PASSWORD_FILE"] = str(sandbox.file("secret", f"{password}\n"))
        else:
            sandbox.environ["PGPASSWORD"] = password


@pytest.mark.parametrize("form", FORMS)
def test_the_development_password_opens_a_real_server_in_every_form(
    form: str, password_server: Server, sandbox: Sandbox
) -> None:
    assert PASSWORD == "pliers-version3-2025!"
    give(form, PASSWORD, str(password_server.port), sandbox)
    target = sandbox.load().target
    assert target
    with connect(target) as conn:
        assert conn.execute("select current_user::text").fetchone() == (USER,)


def test_a_wrong_password_does_not(password_server: Server, sandbox: Sandbox) -> None:
    give("parts", PASSWORD + "x", str(password_server.port), sandbox)
    target = sandbox.load().target
    assert target
    with pytest.raises(ConnectFailed) as caught:
        connect(target)
    assert caught.value.details["kind"] == "password"
    assert PASSWORD not in f"{caught.value.message} {caught.value.why} {caught.value.fix}"


@pytest.mark.parametrize("form", FORMS[1:])
def test_a_nasty_password_arrives_unchanged(form: str, sandbox: Sandbox) -> None:
    give(form, NASTY, "5432", sandbox)
    target = sandbox.load().target
    assert target
    assert target.password == Secret(NASTY)
    assert conninfo_to_dict(make_conninfo("", **target.parameters()))["password"] == NASTY
    assert target.environment()["PGPASSWORD"] == NASTY


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    password=st.text(
        st.characters(exclude_characters="\0\r\n\ufeff", exclude_categories=["Cs"]), min_size=1, max_size=40
    ),
    form=st.sampled_from(FORMS[1:]),
)
def test_any_password_arrives_unchanged(password: str, form: str, make_sandbox: Callable[[], Sandbox]) -> None:
    sandbox = make_sandbox()
    give(form, password, "5432", sandbox)
    target = sandbox.load().target
    assert target
    assert target.password == Secret(password)
    assert conninfo_to_dict(make_conninfo("", **target.parameters()))["password"] == password


def test_a_passfile_of_libpq_still_works(password_server: Server, sandbox: Sandbox, tmp_path: Path) -> None:
    passfile = sandbox.file("passfile", f"127.0.0.1:*:*:{USER}:{PASSWORD}\n")
    sandbox.environ["DATABASE_URL"] = (
        f"postgresql://{USER}@127.0.0.1:{password_server.port}/app?passfile={quote(str(passfile))}"
    )
    target = sandbox.load().target
    assert target
    with connect(target) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
