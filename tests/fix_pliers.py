"""The Pliers database: migrated once for the run, cloned for each test that asks.

The files are sent as they are, one transaction each, so that the schema can be tested without the migration runner.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from pliers_db.postgres import Server

MIGRATIONS = Path(__file__).parent.parent / "migrations"
_numbers = itertools.count(1)


def migration_files(*, vector: bool = True) -> list[Path]:
    """The migrations in their order. :param vector: also those that need pgvector."""
    files = sorted(f for f in MIGRATIONS.glob("*.sql") if not f.name.endswith(".rollback.sql"))
    return [f for f in files if vector or "create extension if not exists vector" not in f.read_text()]


def run_file(conn: Connection, file: Path) -> None:
    """Run one file in one transaction."""
    with conn.transaction():
        conn.execute(file.read_bytes())


def apply_migrations(conn: Connection, files: Iterable[Path] | None = None) -> None:
    """Bring a database up, with all files by default."""
    for file in migration_files() if files is None else files:
        run_file(conn, file)


def rollback_of(file: Path) -> Path:
    return file.with_suffix(".rollback.sql")


@contextmanager
def _template(server: Server, *, vector: bool) -> Iterator[str]:
    name = f"pliers_{os.getpid()}"
    with connect(server.target()) as admin:
        admin.execute(f"create database {name}")
        with connect(server.target(name)) as conn:
            apply_migrations(conn, migration_files(vector=vector))
        yield name
        admin.execute(f"drop database {name} with (force)")


@contextmanager
def clone(server: Server, template: str) -> Iterator[Target]:
    """A copy of a database that nobody is connected to."""
    name = f"{template}_{next(_numbers)}"
    with connect(server.target()) as admin:
        admin.execute(f"create database {name} template {template}")
    yield server.target(name)
    with connect(server.target()) as admin:
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def pliers_template(server: Server) -> Iterator[str]:
    """Name of the migrated database to clone; never connect to it."""
    with _template(server, vector=True) as name:
        yield name


@pytest.fixture(scope="session")
def pliers_template15(server15: Server) -> Iterator[str]:
    """The same on PostgreSQL 15, without what needs pgvector."""
    with _template(server15, vector=False) as name:
        yield name


@pytest.fixture
def pliers(server: Server, pliers_template: str) -> Iterator[Target]:
    """A Pliers database of the test's own: every migration applied, no rows."""
    with clone(server, pliers_template) as target:
        yield target


@pytest.fixture
def pliers_conn(pliers: Target) -> Iterator[Connection]:
    """A connection (autocommit) to it."""
    with connect(pliers) as conn:
        yield conn


@pytest.fixture
def pliers15(server15: Server, pliers_template15: str) -> Iterator[Target]:
    """A Pliers database on PostgreSQL 15, without embeddings; mark the test ``pg15``."""
    with clone(server15, pliers_template15) as target:
        yield target


@pytest.fixture(scope="module")
def pliers_shared(server: Server, pliers_template: str) -> Iterator[Connection]:
    """A connection to a Pliers database that the tests of one module share."""
    with clone(server, pliers_template) as target, connect(target) as conn:
        yield conn


@pytest.fixture(scope="module")
def pliers_shared15(server15: Server, pliers_template15: str) -> Iterator[Connection]:
    """The same on PostgreSQL 15."""
    with clone(server15, pliers_template15) as target, connect(target) as conn:
        yield conn


@pytest.fixture(params=["18", pytest.param("15", marks=pytest.mark.pg15)])
def pliers_both(request: pytest.FixtureRequest) -> Connection:
    """A shared connection, once on 18 and once on 15. What a test writes it must take back: see `rolled_back`."""
    conn: Connection = request.getfixturevalue("pliers_shared" if request.param == "18" else "pliers_shared15")
    return conn


@pytest.fixture
def rolled_back(pliers_both: Connection) -> Iterator[Connection]:
    """The shared connection inside a transaction that is rolled back, with the rows of `WORLD` in place."""
    with pliers_both.transaction(force_rollback=True):
        for table, row in WORLD:
            insert(pliers_both, table, row)
        yield pliers_both


def insert(conn: Connection, table: str, row: dict[str, Any], *, check_now: bool = False) -> None:
    """Insert one row into a table of schema pliers. :param check_now: also what is deferred to the commit."""
    columns = ", ".join(row)
    values = ", ".join(f"%({column})s" for column in row)
    conn.execute(f"insert into pliers.{table} ({columns}) values ({values})".encode(), row)
    if check_now:
        conn.execute("set constraints all immediate")


def an_id(number: int) -> str:
    """A readable id."""
    return f"01a00000-0000-7000-8000-{number:012}"


ACME, OTHER = an_id(1), an_id(2)
ANN, BEN = an_id(11), an_id(12)
FORM, OTHER_FORM = an_id(21), an_id(22)
SUBMISSION, OTHER_SUBMISSION = an_id(31), an_id(32)
WORKFLOW, RUN = an_id(41), an_id(51)
DIGEST = bytes(32)

# Two tenants, and in the first one a row in every table that others refer to.
WORLD: list[tuple[str, dict[str, Any]]] = [
    ("organizations", {"id": ACME, "slug": "acme", "name": "Acme"}),
    ("organizations", {"id": OTHER, "slug": "other", "name": "Other"}),
    ("users", {"id": ANN, "email": "ann@example.com", "display_name": "Ann"}),
    ("users", {"id": BEN, "email": "ben@example.com", "display_name": "Ben"}),
    ("memberships", {"organization_id": ACME, "user_id": ANN, "role": "owner", "status": "active"}),
    ("forms", {"organization_id": ACME, "id": FORM, "slug": "contact", "title": "Contact", "created_by": ANN}),
    ("forms", {"organization_id": OTHER, "id": OTHER_FORM, "slug": "contact", "title": "Contact"}),
    *(
        (
            "form_versions",
            {
                "organization_id": organization,
                "form_id": form,
                "version": 1,
                "definition": '{"fields": []}',
                "definition_sha256": DIGEST,
            },
        )
        for organization, form in ((ACME, FORM), (OTHER, OTHER_FORM))
    ),
    ("submissions", {"organization_id": ACME, "id": SUBMISSION, "form_id": FORM, "form_version": 1}),
    ("submissions", {"organization_id": OTHER, "id": OTHER_SUBMISSION, "form_id": OTHER_FORM, "form_version": 1}),
    ("workflows", {"organization_id": ACME, "id": WORKFLOW, "form_id": FORM, "name": "Thank you"}),
    (
        "workflow_runs",
        {
            "organization_id": ACME,
            "id": RUN,
            "workflow_id": WORKFLOW,
            "workflow_version": 1,
            "definition": '{"steps": []}',
            "submission_id": SUBMISSION,
            "idempotency_key": "first",
        },
    ),
]
