"""Bad settings: exit 2 with the setting's name and source, never with a secret; .env files and their traps."""

from __future__ import annotations

from pathlib import Path

import pytest

from pliers_db.config import Secret, load_settings
from pliers_db.config.pool import POOL_DEFAULTS
from pliers_db.errors import BadSetting, NoProject
from tests.fix_settings import Sandbox

BAD_VALUES = {
    "DB_PORT": ["0", "65536", "-1", "5432x", "٣", "²", "5432 5433", "1,2", "9" * 5000],
    "DB_HOST": ["localhost:5432", "[::1]", "ss@db", "a b", "postgresql://x/y", "db/x", "a,,b"],
    "DB_SSLMODE": ["verify_full", "REQUIRE", "no-verify", "true"],
    "DB_SSLROOTCERT": ["/no/such/file.pem", "/"],
    "DB_POOL_MIN": ["-1", "two", "1.5", "²", "99999", "9" * 5000],
    "DB_POOL_MAX": ["0", "ten", ""],
    "DB_POOL_TIMEOUT": ["5", "0", "0s", "-1s", "5 days", "1e3s", "٣s", "9" * 20 + "s"],
    "DB_CONNECT_TIMEOUT": ["5", "0", "10ms", "soon"],
    "DB_IDLE_TIMEOUT": ["60", "0", "1d"],
    "DB_MAX_LIFETIME": ["0s", "1000h", "forever"],
    "DB_STATEMENT_TIMEOUT": ["30", "30sec", "-1", "∞"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values if value]
)
@pytest.mark.parametrize("source", ["process environment", ".env"])
def test_a_bad_value_is_named_with_its_source(name: str, value: str, source: str, sandbox: Sandbox) -> None:
    values = {"DB_HOST": "db", "DB_NAME": "shop", "DB_USER": "app", "DB_PASSWORD": "a-secret", name: value}
    if source == ".env":
        sandbox.file(".env", "".join(f"{key}='{text}'\n" for key, text in values.items()))
    else:
        sandbox.environ |= values
    error = sandbox.refusal()
    assert isinstance(error, BadSetting)
    assert name in error.message
    assert source in error.message
    assert error.why
    assert "a-secret" not in f"{error.message} {error.why} {error.fix}"


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DB_POOL_MIN", "0", "min_size", 0),
        ("DB_POOL_MAX", " 20 ", "max_size", 20),
        ("DB_POOL_TIMEOUT", "500ms", "checkout_timeout", 0.5),
        ("DB_CONNECT_TIMEOUT", "1.5s", "connect_timeout", 1.5),
        ("DB_IDLE_TIMEOUT", "10min", "idle_timeout", 600.0),
        ("DB_MAX_LIFETIME", "2 h", "max_lifetime", 7200.0),
        ("DB_STATEMENT_TIMEOUT", "0", "statement_timeout", 0.0),
    ],
)
def test_a_limit_is_read_in_its_unit(name: str, text: str, field: str, value: float, sandbox: Sandbox) -> None:
    sandbox.environ[name] = text
    assert getattr(sandbox.load().pool, field) == value


def test_a_pool_that_cannot_be_is_refused(sandbox: Sandbox) -> None:
    sandbox.environ["DB_POOL_MIN"] = "5"
    sandbox.file(".env", "DB_POOL_MAX=3\n")
    error = sandbox.refusal()
    assert "DB_POOL_MIN is 5 (process environment)" in error.message
    assert "DB_POOL_MAX, 3 (.env)" in error.message


def test_every_environment_has_sound_defaults() -> None:
    for pool in POOL_DEFAULTS.values():
        assert 0 <= pool.min_size <= pool.max_size
        assert pool.connect_timeout <= pool.checkout_timeout < pool.idle_timeout < pool.max_lifetime
    assert (POOL_DEFAULTS[next(iter(POOL_DEFAULTS))].min_size, POOL_DEFAULTS[next(iter(POOL_DEFAULTS))].max_size) == (
        2,
        10,
    )


def test_parts_without_a_database_name_are_refused(sandbox: Sandbox) -> None:
    sandbox.file(".env", "DB_HOST=db\n")
    error = sandbox.refusal()
    assert "DB_HOST" in error.why
    assert "DB_NAME" in error.fix


def test_lists_of_hosts_and_ports_fit(sandbox: Sandbox) -> None:
    sandbox.environ |= {"DB_NAME": "shop", "DB_USER": "app", "DB_HOST": "a,b", "DB_PORT": "1,2"}
    assert str(sandbox.load().target) == "app@a:1,b:2/shop"
    sandbox.environ["DB_PORT"] = "5433"
    assert str(sandbox.load().target) == "app@a:5433,b:5433/shop"
    sandbox.environ["DB_PORT"] = "1,2,3"
    assert "3 ports for 2 hosts" in sandbox.refusal().message


def test_system_certificates_need_full_checking(sandbox: Sandbox) -> None:
    sandbox.environ |= {"DATABASE_URL": "postgresql://a@b/c", "DB_SSLROOTCERT": "system"}
    target = sandbox.load().target
    assert target
    assert target.parameters()["sslmode"] == "verify-full"
    sandbox.environ["DB_SSLMODE"] = "require"
    assert "DB_SSLROOTCERT is system" in sandbox.refusal().message


def test_an_empty_url_flag_is_a_mistake_not_a_fallback(sandbox: Sandbox) -> None:
    sandbox.environ["DATABASE_URL"] = "postgresql://a@b/c"
    assert "--database-url is empty" in sandbox.refusal(database_url="").message


# ── .env files ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("DB_PASSWORD='pliers-version3-2025!'", "pliers-version3-2025!"),
        ("DB_PASSWORD=pliers-version3-2025!", "pliers-version3-2025!"),
        ('DB_PASSWORD="pliers-version3-2025!"', "pliers-version3-2025!"),
        ("export DB_PASSWORD=word", "word"),
        ("DB_PASSWORD = word", "word"),
        ("DB_PASSWORD='${HOME}'", "${HOME}"),
        ("DB_PASSWORD=${HOME}", "${HOME}"),
        ("DB_PASSWORD='a#b \"c\" \\n'", 'a#b "c" \\n'),
        ("DB_PASSWORD=abc#def", "abc#def"),
        ("DB_PASSWORD='abc #def'", "abc #def"),
        ("DB_PASSWORD=abc #def", "abc"),  # as every reader of .env files; config check says so
        ("\ufeffDB_PASSWORD=word", "word"),
        ("DB_PASSWORD=word\r", "word"),
    ],
)
def test_a_value_is_taken_as_it_stands(
    line: str, value: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/expanded")
    (sandbox.root / ".env").write_bytes(f"{line}\nDB_NAME=shop\nDB_USER=app\n".encode())
    target = sandbox.load().target
    assert target
    assert target.password == Secret(value)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b"DB_NAME=shop\n\nDB_PASSWORD='a-secret\nDB_USER=app\n", ".env, line 3,"),
        (b"DB_NAME=shop\n= a-secret\n", ".env, line 2,"),
        (b"DB_PASSWORD=\xff\xfea-secret\n", ".env cannot be read"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_not_shown(text: bytes, where: str, sandbox: Sandbox) -> None:
    (sandbox.root / ".env").write_bytes(text)
    error = sandbox.refusal()
    assert where in error.message
    assert "a-secret" not in f"{error.message} {error.why} {error.fix} {error.__cause__}"


def test_files_are_read_from_the_root_alone_and_not_into_the_process(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = sandbox.root / "project"
    below = project / "a" / "b"
    below.mkdir(parents=True)
    (project / "pliers-db.toml").write_text("")
    sandbox.file(".env", "DATABASE_URL=postgresql://above@b/c\n")
    sandbox.file("project/a/.env", "DATABASE_URL=postgresql://below@b/c\n")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert Sandbox(below).load().target is None
    sandbox.file("project/.env", "DATABASE_URL=postgresql://root@b/c\n")
    assert str(Sandbox(below).load().target) == "root@b:5432/c"
    import os

    assert "DATABASE_URL" not in os.environ


def test_settings_of_the_program_itself_are_not_read_from_files(sandbox: Sandbox) -> None:
    sandbox.file(".env", "PGBIN=/elsewhere\nPLIERS_DEBUG=1\n")
    from pliers_db.config.sources import read_env_file

    assert read_env_file(sandbox.root / ".env").values == {}


# ── the project's own file ──────────────────────────────────────────────────────────────────────────────────
def test_the_project_is_found_from_any_folder_below(sandbox: Sandbox) -> None:
    sandbox.file("pyproject.toml", '[tool.pliers-db]\nname = "shop"\nmigrations = "db/migrations"\n')
    below = sandbox.root / "src" / "deep"
    below.mkdir(parents=True)
    project = Sandbox(below).load().project
    assert (project.root, project.name) == (sandbox.root, "shop")
    assert project.migrations == sandbox.root / "db" / "migrations"


def test_the_search_ends_at_the_repository(sandbox: Sandbox) -> None:
    sandbox.file("pliers-db.toml", 'name = "outer"\n')
    inner = sandbox.root / "inner"
    (inner / ".git").mkdir(parents=True)
    (inner / "src").mkdir()
    assert Sandbox(inner / "src").load().project.root == inner
    (inner / ".git").rmdir()
    assert Sandbox(inner / "src").load().project.name == "outer"


def test_a_folder_that_is_gone_is_named(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = sandbox.root / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(NoProject) as caught:
        load_settings(environ={})
    assert caught.value.exit_code == 2
    monkeypatch.undo()


def test_a_package_inside_the_repository_belongs_to_the_projects_settings(sandbox: Sandbox) -> None:
    sandbox.file("pliers-db.toml", 'name = "outer"\n')
    sandbox.file("packages/one/pyproject.toml", '[project]\nname = "one"\n')
    assert Sandbox(sandbox.root / "packages" / "one").load().project.name == "outer"


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ('migration = "db"', "Unknown key 'migration'", "Did you mean migrations?"),
        ('backup_dir = "x"', "Unknown key 'backup_dir'", "Did you mean backup?"),
        ("[sed]\na = 1", "Unknown key 'sed'", "Did you mean seed?"),
        ('zzz = "x"', "Unknown key 'zzz'", "Remove zzz."),
        ('database_url = "postgresql://u:a-secret@h/d"', "Unknown key 'database_url'", "Use .env."),
        ('password = "a-secret"', "Unknown key 'password'", "Use .env."),
        ("name = 5", "name in", 'Write name = "'),
        ('migrations = ""', "migrations in", 'Write migrations = "migrations".'),
        ("migrations = [", "cannot be read", "Correct"),
    ],
)
@pytest.mark.parametrize("file", ["pliers-db.toml", "pyproject.toml"])
def test_a_mistake_in_the_projects_file_is_named(
    text: str, message: str, fix: str, file: str, sandbox: Sandbox
) -> None:
    if file == "pyproject.toml":
        text = f"[tool.pliers-db]\n{text}".replace("[sed]", "[tool.pliers-db.sed]")
    sandbox.file(file, text)
    error = sandbox.refusal()
    assert message in error.message
    assert file in f"{error.message} {error.details}"
    assert fix in error.fix
    assert "a-secret" not in f"{error.message} {error.why} {error.fix}"


def test_a_section_names_an_unknown_key(sandbox: Sandbox) -> None:
    sandbox.file("pliers-db.toml", "[backup]\nkepe = 3\n")
    project = sandbox.load().project
    assert project.section("backup") == {"kepe": 3}
    with pytest.raises(BadSetting, match="Unknown key 'kepe'") as caught:
        project.section("backup", ["keep", "days"])
    assert caught.value.fix == "Did you mean keep?"
    assert project.section("seed", ["x"]) == {}


def test_a_section_that_is_no_table_is_named(sandbox: Sandbox) -> None:
    sandbox.file("pyproject.toml", "[tool.pliers-db]\nbackup = 3\n")
    with pytest.raises(BadSetting) as caught:
        sandbox.load().project.section("backup")
    assert caught.value.fix == "Write [tool.pliers-db.backup]."


def test_a_path_may_be_absolute(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.file("pliers-db.toml", f'backups = "{tmp_path}/elsewhere"\n')
    assert sandbox.load().project.backups == tmp_path / "elsewhere"
