"""Bad input, in the order of the list that it was promised for: the exit code, and a line that says what to type.

One row each, through the command line. What lies behind a row has its own tests (test_config_*, test_migrate_bad_input,
test_backup_damage, test_backup_kill …); here it is one list, so that nothing of it gets lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pliers_db.config import Target
from pliers_db.db import connect
from pliers_db.postgres import Server
from tests.fix_cli import Cli
from tests.fix_tcp import PASSWORD


@dataclass
class World:
    """A project, its database, and a server that wants a password."""

    cli: Cli
    folder: Path
    target: Target
    passwords: Server
    small_disk: Callable[[int], Path]

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def at(self, password: str, dbname: str) -> dict[str, str]:
        """The environment of a run on the server that wants a password."""
        return {"DATABASE_URL": f"postgresql://app:{password}@127.0.0.1:{self.passwords.port}/{dbname}"}

    def do(self, *command: str) -> str:
        result = self.cli(*command)
        assert result.code == 0, result.err
        return result.out

    def dump(self) -> Path:
        """The archive of a new backup."""
        with connect(self.target) as conn:
            conn.execute("create table if not exists things as select i, md5(i::text) from generate_series(1, 500) i")
        self.do("env", "set", "test")
        self.do("backup", "create")
        (found,) = self.folder.glob("backups/logical/*/*/dump.pgc*")
        return found


Arrange = Callable[[World], dict[str, str] | None]


@dataclass
class Case:
    """What is arranged, what is typed, and how it must end."""

    name: str
    command: Sequence[str]
    exit_code: int
    code: str
    fix: str
    """What the line that says what to do must hold."""
    says: Sequence[str] = ()
    """What the message or the reason must hold."""
    arrange: Arrange = lambda world: None


def _one(world: World) -> None:
    world.write("migrations/0001_a.sql", "create table a (id int);\n")


def _wrong_password(world: World) -> dict[str, str]:
    _one(world)
    return world.at("wrong-password", "app")


def _unknown_database(world: World) -> dict[str, str]:
    _one(world)
    return world.at(PASSWORD, "no%20such")


def _no_migrations(world: World) -> None:
    (world.folder / "migrations").rmdir()


def _syntax_error(world: World) -> None:
    world.write("migrations/0001_a.sql", "create table a (id int);\n\nselect 1 form a;\n")
    world.write("migrations/0001_a.rollback.sql", "drop table a;\n")


def _no_rollback(world: World) -> None:
    _one(world)
    world.do("migrate", "up")


def _corrupt(world: World) -> None:
    dump = world.dump()
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)


def _truncated(world: World) -> None:
    dump = world.dump()
    dump.write_bytes(dump.read_bytes()[:-100])


def _full_disk(world: World) -> None:
    place = world.small_disk(400)
    world.write("pliers-db.toml", f'name = "shop"\nbackups = "{place}/backups"\n')
    with connect(world.target) as conn:
        # Random bytes: no compression makes this fit.
        conn.execute(
            "create table things as select string_agg(sha512((i * n)::text::bytea), '' order by i) as bytes"
            " from generate_series(1, 500) i, generate_series(1, 60) n group by n"
        )


CASES = (
    Case(
        "unreachable host",
        ["migrate", "up", "--database-url", "postgresql://app@127.0.0.1:1/shop"],
        3,
        "db.connect",
        "Check host and port",
        ["app@127.0.0.1:1/shop", "Connection refused"],
        _one,
    ),
    Case(
        "unknown host",
        ["migrate", "status", "--database-url", "postgresql://app@db.invalid/shop"],
        3,
        "db.connect",
        "Correct DB_HOST",
        ["db.invalid"],
        _one,
    ),
    Case(
        "wrong password",
        ["migrate", "status"],
        3,
        "db.connect",
        "Check DB_USER and DB_PASSWORD",
        ["password authentication failed"],
        _wrong_password,
    ),
    Case(
        "unknown database",
        ["migrate", "status"],
        3,
        "db.connect",
        "createdb 'no such'",
        ['"no such" does not exist'],
        _unknown_database,
    ),
    Case("no migrations/", ["migrate", "up"], 2, "migrate.none", "pliers-db migrate new NAME", (), _no_migrations),
    Case(
        "syntax error in a migration",
        ["migrate", "up"],
        6,
        "migrate.failed",
        "run the same command again",
        ["migrations/0001_a.sql:3:15", "3 | select 1 form a;\n|               ^"],
        _syntax_error,
    ),
    Case(
        "missing rollback file",
        ["migrate", "down"],
        4,
        "migrate.no-rollback",
        "Write that file",
        ["0001_a"],
        _no_rollback,
    ),
    Case("corrupt backup", ["restore", "latest"], 2, "backup.corrupt", "pliers-db", ["dump."], _corrupt),
    Case("truncated backup", ["restore", "latest"], 2, "backup.corrupt", "pliers-db", ["dump."], _truncated),
    Case(
        "unknown backup id",
        ["restore", "20260101T000000Z-shop-aaaaaa"],
        2,
        "backup.not-found",
        "pliers-db backup",
        ["20260101T000000Z-shop-aaaaaa"],
    ),
    Case("disk full while dumping", ["backup", "create"], 6, "backup.disk-full", "Make room", ["free in"], _full_disk),
    Case(
        "unknown environment name",
        ["migrate", "up", "--env", "porduction"],
        2,
        "config.unknown-environment",
        "'production'",
        ["porduction"],
    ),
    Case(
        "two sources for one secret",
        ["migrate", "up"],
        2,
        "config.two-sources",
        "Unset DB_PASSWORD or DB_PASSWORD_FILE",
        ["DB_PASSWORD and DB_PASSWORD_FILE"],
        lambda world: {"DB_PASSWORD": "s3cret-one", "DB_PASSWORD_FILE": str(world.write("secret", "s3cret-two"))},
    ),
    # ── met by trying ───────────────────────────────────────────────────────────────────────────────────────────
    Case(
        "a name that PostgreSQL would cut off",
        ["restore", "latest", "--to", "x" * 64],
        2,
        "restore.bad-name",
        "shorter",
        ["64 bytes"],
        lambda world: world.dump() and None,
    ),
    Case(
        "an empty name",
        ["restore", "latest", "--to", ""],
        2,
        "restore.bad-name",
        "--to NAME",
        ["empty"],
        lambda world: world.dump() and None,
    ),
    Case(
        "the template of new databases",
        ["restore", "latest", "--to", "template1"],
        2,
        "restore.bad-name",
        "another name",
        ["template1"],
        lambda world: world.dump() and None,
    ),
    Case(
        "a file where the backups folder should be",
        ["backup", "create"],
        3,
        "server",
        "Move away",
        ["backups"],
        lambda world: world.write("backups", "") and None,
    ),
)


@pytest.fixture
def world(cli: Cli, project: Path, target: Target, password_server: Server, small_disk: Callable[[int], Path]) -> World:
    return World(cli, project, target, password_server, small_disk)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_has_its_exit_code_and_says_what_to_do(case: Case, world: World) -> None:
    env = case.arrange(world)
    told = world.cli(*case.command, env=env)
    assert told.code == case.exit_code, told.err
    assert told.out == ""
    assert "Traceback" not in told.err
    message, fix = told.err.split("  fix: ")
    assert "error: " in message
    assert case.fix in fix
    plain = re.sub(r"\n +", "\n", message)
    for text in case.says:
        assert text in plain, message
    for secret in ("wrong-password", PASSWORD, "s3cret-one", "s3cret-two"):
        assert secret not in told.err

    document = world.cli(*case.command, "--json", env=env)
    assert document.code == case.exit_code
    error = document.json["error"]
    assert error["code"] == case.code
    assert case.fix in error["fix"]


def test_a_command_outside_of_a_project_does_not_leave_a_server_there(
    tmp_path: Path, make_cli: Callable[..., Cli]
) -> None:
    """``pliers-db health`` in the wrong folder must not make ``data/embedded`` there."""
    result = make_cli(tmp_path, {})("health", "--json")
    assert result.code == 2, result.err
    assert result.json["error"]["code"] == "config.no-project"
    assert list(tmp_path.iterdir()) == []


def test_undo_and_clean_reach_what_was_restored_to_another_name(world: World) -> None:
    world.dump()
    name = f"{world.target.dbname} Ü'2"
    try:
        for _ in range(2):
            told = world.do("restore", "latest", "--to", name)
        (undo,) = [line for line in told.splitlines() if "restore undo" in line]
        assert undo.endswith("""--to '""" + name.replace("'", """'"'"'""") + "'"), undo
        assert "is " + name + " again" in world.do("restore", "undo", "--to", name)
        assert "Dropped 1 database" in world.do("restore", "clean", "--to", name)
    finally:
        with connect(world.target.with_database("postgres")) as admin:
            rows = admin.execute("select datname from pg_database where datname like %s", [name + "%"]).fetchall()
            for (left,) in rows:
                admin.execute('drop database "' + left + '" with (force)')


@pytest.mark.parametrize(
    "command",
    [("migrate", "up"), ("migrate", "down"), ("backup", "create"), ("restore", "latest"), ("restore", "clean")],
)
def test_quiet_means_silence_on_success(command: Sequence[str], world: World) -> None:
    world.write("migrations/0001_a.sql", "create table a (id int);\n")
    world.write("migrations/0001_a.rollback.sql", "drop table a;\n")
    if command != ("migrate", "up"):
        world.do("migrate", "up")
        world.do("backup", "create")
    result = world.cli(*command, "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_a_terminal_that_is_not_utf_8_gets_escapes_and_no_error(world: World) -> None:
    result = world.cli("config", "show", env={"PYTHONIOENCODING": "ascii", "DATABASE_URL": "postgresql://a@h/%C3%BC"})
    assert result.code == 0, result.err
    assert "\\xfc" in result.out
