"""The documentation is run: each page in a fresh copy of this project, on an embedded server of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fix_cli import KEPT
from tests.test_cli_manners import LEAVES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COPIED = ("migrations", "seeds", "pyproject.toml", ".env.example", "docker-compose.dev.yml", "README.md", "docs")
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"\s+# exit (\d+)\s*$")


@dataclass(frozen=True)
class Example:
    line: int
    command: str
    code: int


def examples_of(page: Path) -> list[Example]:
    text = page.read_text()
    found = []
    for block in BLOCK.finditer(text):
        start = text.count("\n", 0, block.start(1)) + 1
        for offset, line in enumerate(block[1].splitlines()):
            if line.startswith("$ "):
                expected = EXIT.search(line)
                command = EXIT.sub("", line[2:])
                found.append(Example(start + offset, command, int(expected[1]) if expected else 0))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_example_of_a_page_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    examples = examples_of(page)
    if not examples:
        return
    project = tmp_path / "fresh clone"
    project.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, project / name)
        elif source.exists():
            shutil.copy(source, project / name)
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "pliers-db"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pliers_db "$@"\n')
    program.chmod(0o755)
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    python_path = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH", "")]))
    env |= {"NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": python_path, "PATH": f"{programs}:{env['PATH']}"}
    try:
        for example in examples:
            done = subprocess.run(
                ["bash", "-c", example.command],
                cwd=project,
                env=env,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=180,
            )
            where = f"{page.name}:{example.line}: {example.command}"
            assert done.returncode == example.code, f"{where}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr, f"{where}\n{done.stderr}"
    finally:
        subprocess.run([program, "server", "stop"], cwd=project, env=env, capture_output=True, check=False)


@pytest.mark.parametrize("words", [words for words, _ in LEAVES])
def test_every_command_stands_in_the_docs_with_an_example(words: str) -> None:
    used = [example.command for page in PAGES for example in examples_of(page)]
    spelled = re.compile(rf"\bpliers-db {re.escape(words)}(\s|$)")
    assert any(spelled.search(command) for command in used), f"no example of pliers-db {words}"


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in readme, f"README does not lead to {page.name}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
