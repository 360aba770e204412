"""Settings of a made-up project, read without the machine's own environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pliers_db.config import Settings, load_settings
from pliers_db.errors import InputError


@dataclass
class Sandbox:
    """A project folder whose files and environment a test writes."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    def file(self, name: str, text: str) -> Path:
        """Write a file below the project's root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    def load(self, **options: Any) -> Settings:
        """The settings that a command in the root would see."""
        return load_settings(start=self.root, environ=self.environ, **options)

    def refusal(self, **options: Any) -> InputError:
        """The error that a command would end with."""
        with pytest.raises(InputError) as caught:
            self.load(**options)
        assert caught.value.exit_code == 2
        assert caught.value.fix, f"no fix for: {caught.value.message}"
        return caught.value


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """An empty project, an empty environment."""
    (tmp_path / "migrations").mkdir()
    return Sandbox(tmp_path)


@pytest.fixture
def make_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Sandbox]:
    """Several of them, for property tests."""

    def make() -> Sandbox:
        root = tmp_path_factory.mktemp("project")
        (root / "migrations").mkdir()
        return Sandbox(root)

    return make
