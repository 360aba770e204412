"""Which source wins, setting by setting, and that each value knows where it came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pliers_db.config import Environment, Secret
from pliers_db.errors import NoDatabase, TwoSources, UnknownEnvironment
from tests.fix_settings import Sandbox

URL = "postgresql://app:{0}@{0}.example:5432/{0}"


# ── precedence ──────────────────────────────────────────────────────────────────────────────────────────────
ORDER = {
    Environment.DEVELOPMENT: [".env.development.local", ".env.development", ".env.local", ".env"],
    Environment.TEST: [".env.test.local", ".env.test", ".env"],
    Environment.STAGING: [".env.staging.local", ".env.staging", ".env.local", ".env"],
    Environment.PRODUCTION: [".env.production.local", ".env.production", ".env.local", ".env"],
}


@pytest.mark.parametrize("environment", list(Environment))
def test_flag_then_process_then_files_then_default(environment: Environment, sandbox: Sandbox) -> None:
    names = ORDER[environment]
    for name in {*names, ".env.local", ".env.development", ".env.test"}:
        sandbox.file(name, f"DATABASE_URL={URL.format('elsewhere')}\n")
    for position, name in enumerate(names):
        sandbox.file(name, f"DATABASE_URL={URL.format(f'file{position}')}\n")
    sandbox.environ["DATABASE_URL"] = URL.format("process")

    def seen(url: str | None = None) -> tuple[str | None, str | None]:
        found = sandbox.load(env=environment.value, database_url=url)
        return (found.target.dbname if found.target else None), found.sources.get("DATABASE_URL")

    assert seen(URL.format("flag")) == ("flag", "--database-url")
    assert seen() == ("process", "process environment")
    del sandbox.environ["DATABASE_URL"]
    for position, name in enumerate(names):
        assert seen() == (f"file{position}", name)
        (sandbox.root / name).unlink()
    if environment.protected:
        with pytest.raises(NoDatabase):
            seen()
    elif environment is Environment.TEST:
        assert (sandbox.root / ".env.local").exists()  # there, and not read
        assert seen() == (None, None)


LAYERS = ["process environment", ".env.development.local", ".env.development", ".env.local", ".env"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.dictionaries(
        st.sampled_from(["DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "DB_POOL_MAX"]),
        st.lists(st.sampled_from(range(5)), min_size=1, unique=True),
        min_size=1,
    )
)
def test_each_part_comes_from_the_highest_source_that_has_it(
    where: dict[str, list[int]], make_sandbox: Callable[[], Sandbox]
) -> None:
    sandbox = make_sandbox()
    texts = [""] * 5
    where.setdefault("DB_NAME", [4])
    for name, positions in where.items():
        for position in positions:
            texts[position] += f"{name}={20 + position}\n"
    for layer, text in zip(LAYERS[1:], texts[1:], strict=True):
        sandbox.file(layer, text)
    sandbox.environ = dict(line.split("=") for line in texts[0].splitlines())
    found = sandbox.load()
    assert found.target is not None
    got = {
        "DB_HOST": found.target.host,
        "DB_PORT": found.target.port,
        "DB_NAME": found.target.dbname,
        "DB_USER": found.target.user,
        "DB_PASSWORD": found.target.password and found.target.password.reveal(),
        "DB_POOL_MAX": str(found.pool.max_size),
    }
    for name, positions in where.items():
        assert got[name] == str(20 + min(positions)), name
        assert found.sources[name] == LAYERS[min(positions)], name


def test_a_part_from_above_replaces_that_part_of_a_url(sandbox: Sandbox) -> None:
    sandbox.file(".env", "DATABASE_URL=postgresql://app:first-secret@db:5433/shop?application_name=x\n")
    sandbox.file(".env.local", "DB_PASSWORD=second-secret\n")
    sandbox.environ["DB_NAME"] = "other"
    found = sandbox.load()
    assert str(found.target) == "app@db:5433/other"
    assert found.target
    assert found.target.password == Secret("second-secret")
    assert found.target.params == {"application_name": "x"}
    assert found.sources["DB_NAME"] == "process environment"
    assert found.sources["DB_PASSWORD"] == ".env.local"


def test_a_url_replaces_the_parts_beside_and_below_it(sandbox: Sandbox) -> None:
    sandbox.file(".env", "DB_HOST=db\nDB_NAME=dev\nDB_USER=me\nDB_PASSWORD=of-the-dev-server\n")
    sandbox.environ |= {"DATABASE_URL": "postgresql://app@prod.example/shop", "DB_HOST": "ignored"}
    found = sandbox.load()
    assert str(found.target) == "app@prod.example:5432/shop"
    assert found.target
    assert found.target.password is None, "the password of another server must not be sent there"


def test_an_empty_value_counts_as_absent(sandbox: Sandbox) -> None:
    sandbox.file(".env", "DATABASE_URL=postgresql://app@db/shop\nDB_POOL_MAX=\n")
    sandbox.environ |= {"DATABASE_URL": "", "DB_PASSWORD": "", "PLIERS_ENV": "", "DB_POOL_MAX": ""}
    found = sandbox.load()
    assert found.sources["DATABASE_URL"] == ".env"
    assert found.pool.max_size == 10


def test_the_url_of_a_flag_takes_its_password_from_the_environment(sandbox: Sandbox) -> None:
    """So that it need not stand in the process list."""
    sandbox.environ |= {"DATABASE_URL": "postgresql://a:of-another@b/c", "DB_PASSWORD": "given-apart"}
    found = sandbox.load(database_url="postgresql://app@db/shop")
    assert found.target
    assert found.target.password == Secret("given-apart")
    assert found.sources["DB_PASSWORD"] == "process environment"


def test_the_tls_settings_hold_for_a_url_from_anywhere(sandbox: Sandbox) -> None:
    authority = sandbox.file("certs/ca.pem", "x")
    sandbox.file(".env.production", "DB_SSLROOTCERT=certs/ca.pem\n")
    sandbox.environ |= {"DATABASE_URL": "postgresql://app@db/shop", "PLIERS_ENV": "production"}
    found = sandbox.load()
    assert found.target
    assert (found.target.sslmode, found.target.sslrootcert) == ("verify-full", str(authority))
    assert found.sources["DB_SSLMODE"] == "default of production"
    assert found.sources["DB_SSLROOTCERT"] == ".env.production"


def test_what_the_url_says_about_tls_goes_before(sandbox: Sandbox) -> None:
    sandbox.environ |= {"DATABASE_URL": "postgresql://app@db/shop?sslmode=require", "DB_SSLMODE": "disable"}
    target = sandbox.load().target
    assert target
    assert target.sslmode == "require"


# ── defaults ────────────────────────────────────────────────────────────────────────────────────────────────
def test_without_anything_development_and_test_use_the_embedded_server(sandbox: Sandbox) -> None:
    sandbox.file("pliers-db.toml", 'name = "My Shop"\n')
    assert sandbox.load().embedded
    assert sandbox.load().embedded_database == "my_shop_dev"
    assert sandbox.load(env="ci").embedded_database == "my_shop_test"


@pytest.mark.parametrize("name", ["staging", "production"])
def test_without_anything_a_protected_environment_is_an_error(name: str, sandbox: Sandbox) -> None:
    error = sandbox.refusal(env=name)
    assert isinstance(error, NoDatabase)
    assert "DATABASE_URL" in error.fix


def test_production_checks_the_server_unless_said_otherwise(sandbox: Sandbox) -> None:
    sandbox.environ |= {"PLIERS_ENV": "production", "DATABASE_URL": "postgresql://app@db/shop"}
    target = sandbox.load().target
    assert target
    assert (target.sslmode, target.sslrootcert) == ("verify-full", "system")
    sandbox.environ["DB_SSLMODE"] = "require"
    target = sandbox.load().target
    assert target
    assert (target.sslmode, target.sslrootcert) == ("require", None)


def test_production_over_a_socket_needs_no_tls(sandbox: Sandbox) -> None:
    sandbox.environ |= {"PLIERS_ENV": "production", "DB_HOST": "/run/db", "DB_NAME": "shop", "DB_USER": "app"}
    target = sandbox.load().target
    assert target
    assert target.sslmode is None


def test_an_address_in_place_of_a_host_is_no_socket(sandbox: Sandbox) -> None:
    sandbox.environ |= {"PLIERS_ENV": "production", "DATABASE_URL": "postgresql://app@/shop?hostaddr=192.0.2.1"}
    target = sandbox.load().target
    assert target
    assert target.sslmode == "verify-full"
    assert str(target) == "app@192.0.2.1:5432/shop"


def test_the_trusted_certificates_are_a_file_that_is_there(sandbox: Sandbox) -> None:
    """The OpenSSL in psycopg's wheel looks for the system's certificates where no system has them."""
    sandbox.environ |= {"PLIERS_ENV": "production", "DATABASE_URL": "postgresql://app@db/shop"}
    target = sandbox.load().target
    assert target
    given = target.parameters()
    assert given["sslmode"] == "verify-full"
    assert given["sslrootcert"] == "system" or Path(given["sslrootcert"]).is_file()
    assert target.environment()["PGSSLROOTCERT"] == given["sslrootcert"]


def test_role_and_port_are_completed_visibly(sandbox: Sandbox) -> None:
    sandbox.environ["DATABASE_URL"] = "postgresql://db/shop"
    found = sandbox.load()
    assert found.target
    assert found.target.user
    assert found.target.port == "5432"
    assert found.sources["DB_USER"] == "the account that runs pliers-db"


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"DATABASE_URL": URL.format("a"), "DATABASE_URL_FILE": "x"}, "DATABASE_URL and DATABASE_URL_FILE"),
        ({"DB_NAME": "a", "DB_PASSWORD": "one-secret", "DB_PASSWORD_FILE": "x"}, "DB_PASSWORD and DB_PASSWORD_FILE"),
        ({"DATABASE_URL": URL.format("one-secret"), "DB_PASSWORD": "two-secret"}, "DB_PASSWORD is set, too"),
        ({"DATABASE_URL": URL.format("a"), "DB_PASSWORD_FILE": "secret"}, "DB_PASSWORD_FILE is set, too"),
        (
            {"DATABASE_URL": URL.format("a"), "DIRECT_DATABASE_URL": URL.format("a"), "DIRECT_DATABASE_URL_FILE": "x"},
            "DIRECT_DATABASE_URL and DIRECT_DATABASE_URL_FILE",
        ),
    ],
)
@pytest.mark.parametrize("source", ["process environment", ".env"])
def test_one_secret_from_two_places_is_refused(
    values: dict[str, str], names: str, source: str, sandbox: Sandbox
) -> None:
    values = {k: str(sandbox.file("secret", "three-secret")) if v == "secret" else v for k, v in values.items()}
    if source == ".env":
        sandbox.file(".env", "".join(f"{name}={value}\n" for name, value in values.items()))
    else:
        sandbox.environ |= values
    error = sandbox.refusal()
    assert isinstance(error, TwoSources)
    assert names in error.message
    assert source in error.message
    assert "-secret" not in f"{error.message} {error.why} {error.fix} {error.details}"


def test_two_sources_of_different_rank_are_no_contradiction(sandbox: Sandbox) -> None:
    sandbox.file(".env", "DB_NAME=a\nDB_PASSWORD=below\n")
    sandbox.environ["DB_PASSWORD_FILE"] = str(sandbox.file("secret", "above\n"))
    found = sandbox.load()
    assert found.target
    assert found.target.password == Secret("above")
    assert found.sources["DB_PASSWORD"] == "DB_PASSWORD_FILE (process environment)"


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"word", "word"),
        (b"word\n", "word"),
        (b"word\r\n", "word"),
        (b" wo rd \n", " wo rd "),
        (b"\xef\xbb\xbfword", "word"),
    ],
)
def test_a_secret_file_loses_one_line_end_and_nothing_else(content: bytes, password: str, sandbox: Sandbox) -> None:
    (sandbox.root / "secret").write_bytes(content)
    sandbox.file(".env", "DB_NAME=shop\nDB_PASSWORD_FILE=secret\n")  # relative to the project, like the file
    target = sandbox.load().target
    assert target
    assert target.password == Secret(password)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a-secret\nb-secret\n", "more than one line"),
        (b"a-secret\0", "more than one line"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 70_000, "longer than any secret"),
    ],
)
def test_a_secret_file_that_is_none_is_named(content: bytes | None, why: str, sandbox: Sandbox) -> None:
    path = sandbox.root / "secret"
    if content is not None:
        path.write_bytes(content)
    sandbox.environ |= {"DB_NAME": "shop", "DB_PASSWORD_FILE": str(path)}
    error = sandbox.refusal()
    assert error.message == "DB_PASSWORD_FILE (process environment) cannot be used"
    assert why in error.why
    assert "-secret" not in error.why


def test_a_folder_as_secret_file_is_named(sandbox: Sandbox) -> None:
    sandbox.environ |= {"DB_NAME": "shop", "DB_PASSWORD_FILE": str(sandbox.root)}
    assert "directory" in sandbox.refusal().why


# ── the direct way ──────────────────────────────────────────────────────────────────────────────────────────
def test_the_direct_url_completes_itself_from_the_database(sandbox: Sandbox) -> None:
    sandbox.environ |= {
        "DATABASE_URL": "postgresql://app:a-secret@pooler:6432/shop",
        "DIRECT_DATABASE_URL": "postgresql://db:5432/shop",
    }
    found = sandbox.load()
    assert found.direct
    assert str(found.direct_target) == "app@db:5432/shop"
    assert found.direct.password == Secret("a-secret")
    assert found.direct.connect_timeout == 5.0


def test_the_password_of_one_role_is_not_given_to_another(sandbox: Sandbox) -> None:
    sandbox.environ |= {
        "DATABASE_URL": "postgresql://app:a-secret@pooler:6432/shop",
        "DIRECT_DATABASE_URL": "postgresql://owner@db:5432/shop",
    }
    direct = sandbox.load().direct
    assert direct
    assert direct.password is None


@pytest.mark.parametrize("above", [{"DATABASE_URL": "postgresql://x@y/z"}, {"DB_HOST": "y"}, {"DB_NAME": "z"}])
def test_a_direct_url_below_another_database_is_forgotten(above: dict[str, str], sandbox: Sandbox) -> None:
    """Else migrations would go to one database and the application to another."""
    sandbox.file(".env", "DATABASE_URL=postgresql://a@pooler/b\nDIRECT_DATABASE_URL=postgresql://a@direct/b\n")
    assert sandbox.load().direct is not None
    sandbox.environ |= above
    assert sandbox.load().direct is None
    assert sandbox.load(database_url="postgresql://a@b/c").direct is None


def test_a_password_from_above_goes_into_both_urls(sandbox: Sandbox) -> None:
    sandbox.file(".env", "DATABASE_URL=postgresql://a:old-one@p/b\nDIRECT_DATABASE_URL=postgresql://a:old-one@d/b\n")
    sandbox.environ["DB_PASSWORD"] = "new-one"
    found = sandbox.load()
    assert found.target
    assert found.direct
    assert found.target.password == found.direct.password == Secret("new-one")


def test_a_direct_url_alone_is_an_error(sandbox: Sandbox) -> None:
    sandbox.environ["DIRECT_DATABASE_URL"] = "postgresql://a@b/c"
    assert "DATABASE_URL" in sandbox.refusal().fix


def test_production_checks_the_server_on_the_direct_way_too(sandbox: Sandbox) -> None:
    sandbox.environ |= {
        "PLIERS_ENV": "production",
        "DATABASE_URL": "postgresql://a@pooler/c",
        "DIRECT_DATABASE_URL": "postgresql://a@db/c",
    }
    direct = sandbox.load().direct
    assert direct
    assert direct.sslmode == "verify-full"


# ── which environment ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("dev", "development"),
        ("LOCAL", "development"),
        ("Development", "development"),
        (" ci ", "test"),
        ("testing", "test"),
        ("stage", "staging"),
        ("prod", "production"),
        ("PRODUCTION", "production"),
    ],
)
def test_an_environment_is_known_by_the_names_people_use(name: str, environment: str, sandbox: Sandbox) -> None:
    sandbox.environ |= {"PLIERS_ENV": name, "DATABASE_URL": "postgresql://a@b/c"}
    assert sandbox.load().environment == environment


@pytest.mark.parametrize(
    ("process", "base", "found", "source"),
    [
        (
            {"PLIERS_ENV": "test", "ENV": "prod"},
            "PLIERS_ENV=stage\nENV=dev\n",
            "test",
            "PLIERS_ENV (process environment)",
        ),
        ({"ENV": "prod"}, "PLIERS_ENV=stage\nENV=dev\n", "staging", "PLIERS_ENV (.env)"),
        ({"ENV": "prod"}, "ENV=dev\n", "production", "ENV (process environment)"),
        ({}, "ENV=test\n", "test", "ENV (.env)"),
        ({"ENV": "/etc/shrc"}, "", "development", "default"),  # the start-up file of a POSIX shell
        ({"ENV": "~/.kshrc"}, "ENV=test\n", "test", "ENV (.env)"),
        ({}, "", "development", "default"),
    ],
)
def test_pliers_env_goes_before_env(
    process: dict[str, str], base: str, found: str, source: str, sandbox: Sandbox
) -> None:
    sandbox.environ |= {"DATABASE_URL": "postgresql://a@b/c", **process}
    sandbox.file(".env", base)
    got = sandbox.load()
    assert (got.environment, got.sources["PLIERS_ENV"]) == (found, source)
    assert sandbox.load(env="dev").sources["PLIERS_ENV"] == "--env"


@pytest.mark.parametrize(
    ("name", "near"),
    [("porduction", "production"), ("prd", "prod"), ("develop", "development"), ("stagging", "staging")],
)
def test_an_unknown_environment_is_an_error_with_a_suggestion(name: str, near: str, sandbox: Sandbox) -> None:
    sandbox.environ["PLIERS_ENV"] = name
    error = sandbox.refusal()
    assert isinstance(error, UnknownEnvironment)
    assert near in error.fix
    assert "PLIERS_ENV, process environment" in error.message
