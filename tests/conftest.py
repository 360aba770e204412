"""Fixtures come in families, one file each."""

import signal

import pytest

from tests.memory import free_memory, use_memory

# A shell's background job starts with SIGINT ignored, and so would every command that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

use_memory()

pytest_plugins = [
    "tests.fix_server",
    "tests.fix_cli",
    "tests.fix_embedded",
    "tests.fix_seed",
    "tests.fix_tcp",
    "tests.fix_proxy",
    "tests.fix_tls",
    "tests.fix_s3",
    "tests.fix_pgbouncer",
    "tests.fix_settings",
    "tests.fix_listener",
    "tests.fix_migrate",
    "tests.fix_pliers",
    "tests.fix_catalog",
    "tests.fix_health",
    "tests.fix_backup",
]


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    free_memory(failed=bool(getattr(config, "pliers_exit", 0)))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.pliers_exit = exitstatus  # type: ignore[attr-defined]
