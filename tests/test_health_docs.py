"""The documentation of the checks and the checks themselves say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pliers_db.health import CHECKS, Check, Level
from pliers_db.health.session import load

PAGE = Path(__file__).parent.parent / "docs" / "health.md"
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("check", CHECKS, ids=[c.id for c in CHECKS])
def test_every_check_has_a_section_with_its_facts(check: Check) -> None:
    section = SECTIONS.get(check.id)
    assert section is not None, f"docs/health.md lacks ### {check.id}"
    assert f"{check.title}. {check.facts}" in " ".join(section.split()), f"{check.title}. {check.facts}"
    assert "Mend: " in section


def test_no_section_describes_a_check_that_is_gone() -> None:
    assert set(SECTIONS) == {c.id for c in CHECKS}


def test_the_sections_stand_in_the_order_of_the_report() -> None:
    assert list(SECTIONS) == [c.id for c in CHECKS]


@pytest.mark.parametrize("check", CHECKS, ids=[c.id for c in CHECKS])
def test_every_check_is_whole(check: Check) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]+", check.id)
    assert check.title[0].isupper()
    assert not check.title.endswith(".")
    assert check.fix
    assert bool(check.sql) != bool(check.probe), "its facts come from SQL or from a probe"
    if check.sql:
        assert load(check.sql)
    assert check.worst in Level


def test_ids_and_limits_are_unique() -> None:
    limits = [name for check in CHECKS for name in check.limits]
    assert len(set(limits)) == len(limits)
    assert len({c.id for c in CHECKS}) == len(CHECKS)
