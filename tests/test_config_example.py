"""What is documented is what is read: .env.example, docker-compose.dev.yml and docs/configuration.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pliers_db.config import Secret, parse_url
from pliers_db.config.check import check_settings
from pliers_db.config.describe import describe
from pliers_db.config.pool import POOL_FIELDS
from pliers_db.config.variables import KNOWN, VARIABLES
from tests.fix_settings import Sandbox

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / ".env.example"
COMPOSE = ROOT / "docker-compose.dev.yml"
LINE = re.compile(r"^(# )?([A-Z][A-Z_]+)=(.*)$", re.MULTILINE)


def example_lines() -> dict[str, tuple[bool, str]]:
    """Each variable of the example: whether it is active, and its value."""
    return {name: (not comment, value.strip("'")) for comment, name, value in LINE.findall(EXAMPLE.read_text())}


def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    assert set(example_lines()) == KNOWN


def test_no_variable_is_read_that_is_not_known() -> None:
    name = re.compile(r"""["']((?:PLIERS|DB|DATABASE|DIRECT)_[A-Z_]+[A-Z])["'=]""")
    for file in (ROOT / "pliers_db").rglob("*.py"):
        if file.name != "variables.py":
            assert set(name.findall(file.read_text())) <= KNOWN | {"DB_", "PLIERS_"}, file


def test_the_page_names_every_variable() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for name in VARIABLES:
        assert f"`{name}`" in page, name


def test_the_example_is_the_known_development_set_up(sandbox: Sandbox) -> None:
    sandbox.file(".env", EXAMPLE.read_text())
    found = sandbox.load()
    assert found.environment == "development"
    assert str(found.target) == "pliers_user@host.docker.internal:5432/pliers_dev"
    assert found.target
    assert found.target.password == Secret("pliers-version3-2025!")
    assert check_settings(start=sandbox.root, environ={}).findings == ()


def test_the_url_of_the_example_names_the_same_database(sandbox: Sandbox) -> None:
    lines = example_lines()
    sandbox.file(".env", EXAMPLE.read_text())
    found = sandbox.load().target
    assert found
    for name in ("DATABASE_URL", "DIRECT_DATABASE_URL"):
        target = parse_url(lines[name][1])
        assert (target.host, target.port, target.dbname, target.user, target.password) == (
            found.host,
            found.port,
            found.dbname,
            found.user,
            found.password,
        )


def test_what_is_commented_out_is_the_default_of_development(sandbox: Sandbox) -> None:
    sandbox.file(".env", EXAMPLE.read_text())
    default = sandbox.load()
    assert default.target
    for name, (active, value) in example_lines().items():
        sandbox.environ = {name: value}
        if name in POOL_FIELDS or name == "ENV":
            assert not active, name
            found = sandbox.load()
            assert (found.pool, found.environment, found.target) == (default.pool, default.environment, default.target)
        elif name == "DB_SSLMODE":
            assert default.target.parameters()["sslmode"] == value


def test_every_variable_is_described(sandbox: Sandbox) -> None:
    assert {setting.name for setting in describe(sandbox.load(), {})} >= set(VARIABLES) - {"ENV"}


# ── docker-compose.dev.yml ──────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def service() -> dict[str, object]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"]["postgres"])


def test_docker_gives_the_server_that_the_example_names(service: dict[str, dict[str, str]]) -> None:
    lines = {name: value for name, (_, value) in example_lines().items()}
    assert service["environment"]["POSTGRES_DB"] == lines["DB_NAME"]
    assert service["environment"]["POSTGRES_USER"] == lines["DB_USER"]
    assert service["environment"]["POSTGRES_PASSWORD"] == lines["DB_PASSWORD"]
    assert f"{lines['DB_PORT']}:5432" in service["ports"]
    assert lines["DB_HOST"] == "host.docker.internal"


def test_docker_runs_the_known_image_under_the_known_names(service: dict[str, object]) -> None:
    assert service["image"] == "pgvector/pgvector:pg15"
    assert service["container_name"] == "pliers-postgres-dev"
    assert service["networks"] == ["pliers-network"]
    assert yaml.safe_load(COMPOSE.read_text())["networks"] == {"pliers-network": {"name": "pliers-network"}}


def test_dockers_data_is_beside_the_embedded_servers_and_sees_the_backups(service: dict[str, object]) -> None:
    assert service["volumes"] == ["./data/postgres:/var/lib/postgresql/data", "./backups:/backups"]


def test_docker_is_healthy_when_that_role_gets_into_that_database(service: dict[str, dict[str, list[str]]]) -> None:
    test = service["healthcheck"]["test"]
    assert test == ["CMD", "pg_isready", "--username=pliers_user", "--dbname=pliers_dev"]


def test_compose_substitutes_nothing_in_the_file() -> None:
    assert "$" not in COMPOSE.read_text()
