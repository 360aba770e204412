"""A destructive command asks the database what it is: the decision, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from pliers_db.config import Environment, Stamp, check_allowed, check_restamp
from pliers_db.errors import ProtectedDatabase

DEV, TEST, STAGING, PRODUCTION = Environment


def stamp(environment: Environment, *, foreign: bool = False) -> Stamp:
    return Stamp(environment, "7312", foreign=foreign)


def ask(found: Stamp | None, environment: Environment = DEV, **more: Any) -> None:
    check_allowed(
        found,
        **{"has_tables": True, "action": "drop everything", "dbname": "shop", "environment": environment, **more},
    )


def refusal(found: Stamp | None, environment: Environment = DEV, **more: Any) -> ProtectedDatabase:
    with pytest.raises(ProtectedDatabase) as caught:
        ask(found, environment, **more)
    error = caught.value
    assert error.exit_code == 4
    assert error.message == "Refused to drop everything in shop"
    assert error.why
    assert error.fix
    return error


@pytest.mark.parametrize("environment", [DEV, TEST])
def test_a_stamped_unprotected_database_is_let_through(environment: Environment) -> None:
    ask(stamp(environment), environment)
    ask(stamp(environment), environment, confirm="shop")


@pytest.mark.parametrize("environment", [STAGING, PRODUCTION])
def test_a_protected_database_needs_its_name_typed(environment: Environment) -> None:
    error = refusal(stamp(environment), environment)
    assert error.details["reason"] == "protected"
    assert error.fix.endswith("--confirm-db shop")
    ask(stamp(environment), environment, confirm="shop")


@pytest.mark.parametrize("environment", list(Environment))
@pytest.mark.parametrize("confirm", ["", "shop2", "SHOP", " shop"])
def test_another_name_is_refused_everywhere(environment: Environment, confirm: str) -> None:
    assert refusal(stamp(environment), environment, confirm=confirm).details["reason"] == "confirm"
    assert refusal(None, environment, has_tables=False, confirm=confirm).details["reason"] == "confirm"


@pytest.mark.parametrize("environment", list(Environment))
def test_tables_without_a_stamp_are_protected_until_somebody_says_what_they_are(environment: Environment) -> None:
    error = refusal(None, environment, confirm="shop")
    assert error.details["reason"] == "unstamped"
    assert f"pliers-db env set {environment}" in error.fix


@pytest.mark.parametrize("environment", list(Environment))
def test_an_empty_database_without_a_stamp_has_nothing_to_lose(environment: Environment) -> None:
    ask(None, environment, has_tables=False)


@pytest.mark.parametrize("environment", list(Environment))
@pytest.mark.parametrize("confirm", [None, "shop"])
def test_a_stamp_of_another_cluster_is_not_believed(environment: Environment, confirm: str | None) -> None:
    error = refusal(stamp(environment, foreign=True), environment, confirm=confirm)
    assert error.details["reason"] == "foreign"
    assert f"pliers-db env set {environment}" in error.fix


@pytest.mark.parametrize("confirm", [None, "shop"])
@pytest.mark.parametrize(("is_", "believed"), [(a, b) for a in Environment for b in Environment if a is not b], ids=str)
def test_a_run_for_another_environment_is_refused(is_: Environment, believed: Environment, confirm: str | None) -> None:
    error = refusal(stamp(is_), believed, confirm=confirm)
    assert error.details["reason"] == "mismatch"
    assert f"--env {is_}" in error.fix


def test_a_name_that_the_shell_would_split_is_quoted_in_the_fix() -> None:
    error = None
    with pytest.raises(ProtectedDatabase) as caught:
        check_allowed(stamp(PRODUCTION), has_tables=True, action="x", dbname="my shop; ls", environment=PRODUCTION)
    error = caught.value
    assert error.fix.endswith("--confirm-db 'my shop; ls'")


# ── changing the stamp ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("found", "new"),
    [
        (None, DEV),
        (None, PRODUCTION),
        (stamp(DEV), PRODUCTION),
        (stamp(DEV), TEST),
        (stamp(PRODUCTION), PRODUCTION),
        (stamp(PRODUCTION, foreign=True), PRODUCTION),
        (stamp(DEV, foreign=True), DEV),
    ],
)
def test_saying_what_a_database_is_needs_no_name(found: Stamp | None, new: Environment) -> None:
    check_restamp(found, new, dbname="shop", environment=DEV)


@pytest.mark.parametrize(
    ("found", "new", "environment"),
    [
        (stamp(PRODUCTION), DEV, DEV),
        (stamp(PRODUCTION), STAGING, PRODUCTION),
        (stamp(STAGING), PRODUCTION, STAGING),
        (stamp(PRODUCTION, foreign=True), DEV, DEV),
        (None, DEV, PRODUCTION),
        (stamp(DEV), TEST, STAGING),
    ],
)
def test_leaving_a_protected_environment_needs_the_name(
    found: Stamp | None, new: Environment, environment: Environment
) -> None:
    with pytest.raises(ProtectedDatabase, match=f"Refused to stamp shop as {new}") as caught:
        check_restamp(found, new, dbname="shop", environment=environment)
    assert "--confirm-db shop" in caught.value.fix
    with pytest.raises(ProtectedDatabase):
        check_restamp(found, new, dbname="shop", environment=environment, confirm="other")
    check_restamp(found, new, dbname="shop", environment=environment, confirm="shop")
