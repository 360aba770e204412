"""Two hundred migrations of real size: up, all the way down and up again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, Database
from pliers_db.migrate import down, read_folder, read_status, up
from pliers_db.postgres import Server
from tests.fix_corpus import write_history

OURS = ("_yoyo*", "yoyo_lock", "_pliers*")


def run_program(server: Server, name: str, *words: str | Path) -> str:
    done = subprocess.run([server.binaries.program(name), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def schema_of(server: Server, target: Target) -> str:
    """What ``pg_dump -s`` says, without the tables of the record and the token that is another in each dump."""
    words = [f"--exclude-table=public.{name}" for name in OURS]
    dump = run_program(
        server, "pg_dump", "-s", *words, "-h", target.host, "-p", target.port, "-U", target.user, target.dbname
    )
    return "\n".join(line for line in dump.splitlines() if "restrict " not in line)


@pytest.mark.slow
def test_two_hundred_migrations_up_down_and_up_give_the_schema_that_psql_gives(
    project: Path, server: Server, target: Target, conn: Connection
) -> None:
    ids = write_history(project / "migrations", modules=20)
    assert len(ids) == 200
    empty = schema_of(server, target)
    files = [word for i in ids for word in ("-f", project / "migrations" / f"{i}.sql")]
    conn.execute("create database by_psql")
    try:
        of_psql = target.with_database("by_psql")
        where = ("-h", target.host, "-p", target.port, "-U", target.user, "-d", "by_psql")
        run_program(server, "psql", "-Xq", "-v", "ON_ERROR_STOP=1", *where, *files)
        expected = schema_of(server, of_psql)
    finally:
        conn.execute("drop database by_psql with (force)")
    assert expected.count("CREATE ") > 700

    folder = read_folder(project / "migrations")
    with Database(target) as database:
        assert [d.id for d in up(database, folder, environment=Environment.TEST).applied] == ids
        assert schema_of(server, target) == expected
        assert read_status(database, folder).clean
        undone = down(database, folder, environment=Environment.TEST, steps=len(ids), allow_data_loss=True)
        assert [d.id for d in undone.rolled_back] == ids[::-1]
        assert schema_of(server, target) == empty
        up(database, folder, environment=Environment.TEST)
    assert schema_of(server, target) == expected
