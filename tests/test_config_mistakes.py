"""Every mistake in a URL or setting that research/health.md §3 lists, a row each: exit 2, with the setting's name and
where it stands, and without the secret. What each may look like besides is in test_config_url, _values and _sources.
"""

from __future__ import annotations

import traceback

import pytest

from tests.fix_settings import Sandbox

SECRET = "Hunter2-Hunter2"
PARTS = {"DB_HOST": "db", "DB_NAME": "shop", "DB_USER": "app"}
PRODUCTION = {"PLIERS_ENV": "production", "DB_PASSWORD": SECRET, **PARTS}

ROWS: dict[str, tuple[dict[str, str], str, str]] = {
    # what is wrong: what is set, the setting that is named, a word of the fix
    "an @ in the password": ({"DATABASE_URL": f"postgresql://app:{SECRET}@x@db/shop"}, "DATABASE_URL", "%40"),
    "a / in the password": ({"DATABASE_URL": f"postgresql://app:{SECRET}/x@db/shop"}, "DATABASE_URL", "%2F"),
    "a % in the password": ({"DATABASE_URL": f"postgresql://app:{SECRET}%x@db/shop"}, "DATABASE_URL", "%25"),
    "a blank in the password": ({"DATABASE_URL": f"postgresql://app:{SECRET} x@db/shop"}, "DATABASE_URL", "%20"),
    "no user": ({"DATABASE_URL": f"postgresql://:{SECRET}@db/shop"}, "DATABASE_URL", "USER"),
    "no host and no database": ({"DATABASE_URL": f"postgresql://app:{SECRET}"}, "DATABASE_URL", "postgresql://"),
    "another kind of URL": ({"DATABASE_URL": f"mysql://app:{SECRET}@db/shop"}, "DATABASE_URL", "postgresql://"),
    "a service, which would come from the shell's own files": (
        {"DATABASE_URL": f"postgresql://app:{SECRET}@db/shop?service=x"},
        "DATABASE_URL",
        "host",
    ),
    "the URL and its file": (
        {"DATABASE_URL": f"postgresql://app:{SECRET}@db/shop", "DATABASE_URL_FILE": "f"},
        "DATABASE_URL_FILE",
        "Unset",
    ),
    "a password and its file": ({**PARTS, "DB_PASSWORD": SECRET, "DB_PASSWORD_FILE": "f"}, "DB_PASSWORD_FILE", ""),
    "a password file that is not there": ({**PARTS, "DB_PASSWORD_FILE": "/no/such"}, "DB_PASSWORD_FILE", "path"),
    "a TLS mode that does not exist": (
        {**PARTS, "DB_PASSWORD": SECRET, "DB_SSLMODE": "on"},
        "DB_SSLMODE",
        "verify-full",
    ),
    "certificates that are not there": ({**PRODUCTION, "DB_SSLROOTCERT": "/no/ca.pem"}, "DB_SSLROOTCERT", "system"),
    "the system's certificates, half checked": (
        {**PRODUCTION, "DB_SSLROOTCERT": "system", "DB_SSLMODE": "require"},
        "DB_SSLROOTCERT",
        "verify-full",
    ),
    "an unknown environment": (
        {**PARTS, "DB_PASSWORD": SECRET, "PLIERS_ENV": "porduction"},
        "PLIERS_ENV",
        "production",
    ),
    "a port that is none": ({**PARTS, "DB_PASSWORD": SECRET, "DB_PORT": "99999"}, "DB_PORT", ""),
    "a limit without a unit": ({**PARTS, "DB_PASSWORD": SECRET, "DB_POOL_TIMEOUT": "5"}, "DB_POOL_TIMEOUT", "s"),
    "a pool smaller than its minimum": (
        {**PARTS, "DB_PASSWORD": SECRET, "DB_POOL_MIN": "5", "DB_POOL_MAX": "2"},
        "DB_POOL_MIN",
        "",
    ),
}


@pytest.mark.parametrize("source", ["process environment", ".env"])
@pytest.mark.parametrize("what", ROWS)
def test_it_is_exit_2_with_name_and_source_and_without_the_secret(what: str, source: str, sandbox: Sandbox) -> None:
    values, name, fix = ROWS[what]
    given = dict(values)
    if source == ".env":
        if name != "PLIERS_ENV" and "PLIERS_ENV" in given:
            sandbox.environ["PLIERS_ENV"] = given.pop("PLIERS_ENV")
        sandbox.file(".env", "".join(f"{key}='{value}'\n" for key, value in given.items()))
    else:
        sandbox.environ |= given
    error = sandbox.refusal()
    assert name in error.message
    assert source in error.message
    assert fix in error.fix
    shown = "".join(traceback.format_exception(error)) + f"{error.message} {error.why} {error.fix} {error.details}"
    assert "Hunter2" not in shown


def test_a_protected_environment_without_a_database_says_what_to_set(sandbox: Sandbox) -> None:
    sandbox.environ["PLIERS_ENV"] = "production"
    assert "Set DATABASE_URL, or DB_HOST" in sandbox.refusal().fix
