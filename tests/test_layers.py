"""The rules of DESIGN.md that keep the rooms apart, read from the imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pliers_db"
# From the top down; a package may import what stands in a later row, and itself.
LAYERS = [
    {"cli"},
    {"migrate", "seed", "backup", "restore", "pitr", "health", "typegen", "queries"},
    {"catalog"},
    {"postgres"},
    {"aio"},
    {"db"},
    {"config"},
    {"log", "progress"},
    {"annotations", "errors", "redaction", "units"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
CAPABILITIES = LAYERS[1]
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno}: imports are absolute"
            found += [(node.lineno, node.module or "")]
            if node.module == "pliers_db":
                found += [(node.lineno, f"pliers_db.{alias.name}") for alias in node.names]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_module_imports_only_what_stands_below_it(file: Path) -> None:
    room = room_of(file)
    if room in ("__init__", "__main__"):
        return
    assert room in RANK, f"{room} stands in no layer"
    for line, name in imports_of(file):
        parts = name.split(".")
        if room != "cli":
            assert parts[0] not in ("typer", "rich", "click"), f"{file}:{line}: the core does not know {parts[0]}"
        if parts[0] != "pliers_db" or len(parts) < 2 or parts[1] in (room, "__version__"):
            continue
        if room in CAPABILITIES and parts[1] in CAPABILITIES:
            assert len(parts) == 2, f"{file}:{line}: a capability uses only the public names of {parts[1]}"
            continue
        assert RANK[parts[1]] > RANK[room], f"{file}:{line}: {room} may not import {parts[1]}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_core_code_never_prints(file: Path) -> None:
    if room_of(file) == "cli":
        return
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "input"), f"{file}:{node.lineno}"


def test_the_toolkit_names_no_table_of_pliers() -> None:
    """It knows PostgreSQL, not the first project that uses it."""
    names = re.compile(r"\b(submissions|workflow_runs|workflow_run_steps|form_versions|memberships)\b", re.IGNORECASE)
    for file in [*FILES, *PACKAGE.rglob("*.sql"), *PACKAGE.rglob("*.toml")]:
        found = names.search(file.read_text())
        assert found is None, f"{file} names {found and found[0]}"


def test_a_command_module_holds_no_sql_and_starts_no_process() -> None:
    sql = re.compile(r"\b(select .+ from|insert into|create table|drop |alter )\b", re.IGNORECASE)
    for file in (PACKAGE / "cli").glob("*.py"):
        assert "subprocess" not in file.read_text(), file
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "execute":
                pytest.fail(f"{file}:{node.lineno}: SQL belongs below the command line")
        assert not sql.search(_without_docstrings(file)), file


def _without_docstrings(file: Path) -> str:
    tree = ast.parse(file.read_text())
    return "\n".join(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value
        if not any(
            ast.get_docstring(owner, clean=False) == node.value
            for owner in ast.walk(tree)
            if isinstance(owner, ast.FunctionDef | ast.ClassDef | ast.Module)
        )
    )
