"""Bad input at the command line: the exit code, what it says, and that nothing was touched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pliers_db.db import Connection
from pliers_db.postgres import scratch_server
from tests.fix_cli import Cli, url_of
from tests.fix_migrate import Write, applied_ids, tables


def test_a_missing_folder_is_exit_2_and_names_the_command(cli: Cli, project: Path) -> None:
    shutil.rmtree(project / "migrations")
    for command in ("status", "up", "down", "redo"):
        result = cli("migrate", command, "--json")
        assert result.code == 2
        assert result.json["error"]["code"] == "migrate.none"
        assert "migrate new" in result.json["error"]["fix"]


def test_a_syntax_error_shows_file_line_column_and_a_caret(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "create table a ();")
    write("0002_b", "-- größer\ncreate table b (id int);\n\n  alter tabel b add c int;\n")
    result = cli("migrate", "up")
    assert result.code == 6
    assert "0002_b.sql:4:9: syntax error at or near" in result.err
    lines = result.err.splitlines()
    at = next(n for n, line in enumerate(lines) if "4 |   alter tabel" in line)
    assert lines[at + 1].index("^") == lines[at].index("tabel")
    assert "1 migration before it applied (last 0001_a)" in result.err
    assert applied_ids(conn) == ["0001_a"]
    assert tables(conn) == {"a"}


def test_an_error_without_a_position_still_names_its_statement(cli: Cli, write: Write, conn: Connection) -> None:
    write(
        "0001_a",
        "create table a (id int primary key);\n\n-- twice\ninsert into a values (1);\ninsert into a\nvalues (1);",
    )
    result = cli("migrate", "up", "--json")
    assert result.code == 6
    error = result.json["error"]
    assert "0001_a.sql:5:1: duplicate key value" in error["message"]
    assert "5 | insert into a" in error["why"]
    assert "Key (id)=(1) already exists" in error["why"]
    assert error["details"]["sqlstate"] == "23505"
    assert tables(conn) == set()


def test_an_error_inside_a_function_body_shows_where_it_was_called(cli: Cli, write: Write) -> None:
    write("0001_a", "do $$\nbegin\n  perform 1 / 0;\nend $$;")
    result = cli("migrate", "up")
    assert result.code == 6
    assert "division by zero" in result.err
    assert "line 3 at PERFORM" in result.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("create table a (", "0001_a.sql:1:17: syntax error"),
        ("select 'open", "0001_a.sql:1:8: unterminated quoted string"),
        ("select 1 /* open", "unterminated /* comment"),
        ("select $$open", "unterminated dollar-quoted string"),
        ("create table a ();\ncreate table", "0001_a.sql:2:13: syntax error"),
        ("create table a ();\ninsert into a values ('open", "0001_a.sql:2:23: "),
        ('select 1 as "open', "0001_a.sql:1:13: unterminated quoted identifier"),
        ("select E'open\\'", "0001_a.sql:1:8: unterminated quoted string"),
        ('select U&"open', "0001_a.sql:1:8: "),
        ("select 1;\nselect (1 + (2)", "0001_a.sql:2:16: "),
    ],
)
def test_what_is_left_open_cannot_swallow_the_record(
    text: str, says: str, cli: Cli, write: Write, conn: Connection
) -> None:
    write("0001_a", text)
    result = cli("migrate", "up")
    assert result.code == 6, result.err
    assert says in result.err
    assert applied_ids(conn) == []
    assert tables(conn) == set()


def test_a_deferred_constraint_is_checked_with_its_migration(cli: Cli, write: Write, conn: Connection) -> None:
    write(
        "0001_a",
        "create table a (id int primary key, up int references a deferrable initially deferred);\n"
        "insert into a values (1, 2);",
    )
    result = cli("migrate", "up")
    assert result.code == 6
    assert "violates foreign key constraint" in result.err
    assert tables(conn) == set()
    write(
        "0001_a",
        "create table a (id int primary key, up int references a deferrable initially deferred);\n"
        "insert into a values (1, 2), (2, 1);",
    )
    assert cli("migrate", "up").code == 0


def test_all_files_are_checked_before_the_first_runs(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "create table a ();")
    write("0002_b", "create table b (); commit;")
    result = cli("migrate", "up", "--json")
    assert result.code == 2
    assert result.json["error"]["code"] == "migrate.bad-sql"
    assert applied_ids(conn) == []
    assert tables(conn) == set()


@pytest.mark.parametrize(
    ("rollback", "code"),
    [(b"-- transactional: no\ndrop table b;", "migrate.bad-directive"), (b"-- caf\xe9", "migrate.unreadable")],
)
def test_a_rollback_file_that_cannot_be_read_stops_up_before_anything_is_touched(
    rollback: bytes, code: str, cli: Cli, abc: list[str], project: Path, conn: Connection
) -> None:
    """It would be stored with its migration."""
    (project / "migrations" / "0002_b.rollback.sql").write_bytes(rollback)
    result = cli("migrate", "up", "--json")
    assert result.code == 2
    assert result.json["error"]["code"] == code
    assert "0002_b.rollback.sql:1" in result.json["error"]["message"]
    assert conn.execute("select count(*) from pg_class where relname ~ '^_?(yoyo|pliers)'").fetchone() == (0,)


def test_what_the_server_refuses_inside_a_transaction_names_the_directive(cli: Cli, write: Write) -> None:
    """Seen only by the server: the statement hides in a DO block."""
    write("0001_a", "do $$ begin execute 'create database other'; end $$;")
    result = cli("migrate", "up")
    assert result.code == 6
    assert "cannot" in result.err


def test_a_lock_that_is_not_to_be_had_gives_up_and_says_how_to_go_on(cli: Cli, write: Write, conn: Connection) -> None:
    conn.execute("create table taken (id int)")
    write("0001_a", "create table a ();\nalter table taken add x int;")
    with conn.transaction():
        conn.execute("lock table taken in access share mode")
        result = cli("migrate", "up", "--lock-timeout", "0.2", "--retries", "0", "--json")
    assert result.code == 6
    assert "0001_a.sql:2:1: canceling statement due to lock timeout" in result.json["error"]["message"]
    assert "--retries" in result.json["error"]["fix"]
    assert tables(conn) == {"taken"}


def test_a_statement_timeout_holds_for_migrations_only_when_asked(cli: Cli, write: Write, conn: Connection) -> None:
    write("0001_a", "select pg_sleep(1);")
    assert cli("migrate", "up", "--statement-timeout", "0.2").code == 6
    assert cli("migrate", "up", env={"DB_STATEMENT_TIMEOUT": "300ms"}).code == 0


def test_a_statement_by_statement_migration_that_fails_part_way_is_exit_7(
    cli: Cli, write: Write, conn: Connection
) -> None:
    """And nothing is undone behind anybody's back: stock yoyo would run the rollback's DROP here."""
    conn.execute("create table u (id int); create table u_backup (id int); insert into u values (1), (1)")
    write(
        "0001_u",
        "-- transactional: false\ncreate index concurrently i1 on u (id);\ncreate index concurrently i2 on u (id);\n"
        "create unique index concurrently i3 on u (id);\n",
        "drop table u_backup;\ndrop index i1;\n",
    )
    result = cli("migrate", "up", "--json")
    assert result.code == 7
    error = result.json["error"]
    assert error["code"] == "migrate.partial"
    assert "0001_u.sql:4:1: could not create unique index" in error["message"]
    assert error["details"]["statement"] == 3
    assert applied_ids(conn) == []
    assert tables(conn) == {"u", "u_backup"}
    assert conn.execute("select to_regclass('i1') is not null").fetchone() == (True,)


def test_a_statement_by_statement_migration_that_fails_at_once_is_exit_6(cli: Cli, write: Write) -> None:
    write("0001_a", "-- transactional: false\nvacuum nowhere;\nvacuum;")
    result = cli("migrate", "up")
    assert result.code == 6, result.err
    assert "0001_a.sql:2:1: relation" in result.err


def test_a_read_only_database_is_refused_before_anything_runs(cli: Cli, abc: list[str], conn: Connection) -> None:
    conn.execute(f'alter database "{conn.info.dbname}" set default_transaction_read_only = on')
    result = cli("migrate", "up", "--json")
    assert result.code == 3
    assert result.json["error"]["code"] == "migrate.read-only"
    assert cli("migrate", "status").code == 0
    assert tables(conn) == set()


def test_a_role_that_may_not_create_is_told_which_grant_it_lacks(cli: Cli, abc: list[str], conn: Connection) -> None:
    name = f"weak_{conn.info.backend_pid}"
    conn.execute(f"create role {name} login")
    try:
        url = cli.env["DATABASE_URL"].replace("postgresql://postgres@", f"postgresql://{name}@")
        result = cli("migrate", "up", "--json", env={"DATABASE_URL": url})
        assert result.code == 3
        assert f"grant create on schema public to {name}" in result.json["error"]["fix"]
    finally:
        conn.execute(f"drop role {name}")


def test_a_role_that_may_not_write_the_record_is_told_so_before_anything_runs(
    cli: Cli, abc: list[str], conn: Connection
) -> None:
    name = f"weak_{conn.info.backend_pid}"
    cli("migrate", "up", "--to", "0001_a")
    conn.execute(f"create role {name} login; grant all on schema public to {name}")
    conn.execute(f"grant select on all tables in schema public to {name}")
    try:
        url = cli.env["DATABASE_URL"].replace("postgresql://postgres@", f"postgresql://{name}@")
        result = cli("migrate", "up", "--json", env={"DATABASE_URL": url})
        assert result.code == 3
        assert result.json["error"]["code"] == "migrate.privilege"
        assert f"grant insert on public._yoyo_migration to {name}" in result.json["error"]["fix"]
        assert tables(conn) == {"a"}
        assert cli("migrate", "status", env={"DATABASE_URL": url}).code == 0
    finally:
        conn.execute(f"drop owned by {name}; drop role {name}")


def test_no_command_can_be_forced_to_record_what_failed(cli: Cli) -> None:
    """yoyo's ``apply --force`` marks a migration as applied that was not."""
    for command in ("up", "down", "redo", "repair"):
        assert "--force" not in cli("migrate", command, "--help").out


@pytest.mark.slow
def test_a_standby_is_refused_and_still_tells_the_status(cli: Cli, abc: list[str]) -> None:
    with scratch_server() as primary:
        env = {"DATABASE_URL": url_of(primary.target())}
        assert cli("migrate", "up", "--to", "0002_b", env=env).code == 0
        primary.stop()
        (primary.data / "standby.signal").touch()
        primary.start()
        for command in ("up", "down"):
            result = cli("migrate", command, "--json", env=env)
            assert result.code == 3
            assert result.json["error"]["code"] == "migrate.read-only"
            assert "standby" in result.json["error"]["message"]
        status = cli("migrate", "status", "--json", env=env)
        assert (status.json["applied"], status.json["pending"]) == (2, 1)
