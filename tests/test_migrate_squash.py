"""`migrate squash`: many migrations as one, proved; and what databases make of it that have all, some or none."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target
from pliers_db.db import Connection, Database
from pliers_db.errors import BadSquash, CannotCompare, HistoryConflict, NoRollback, SchemaDiffers
from pliers_db.migrate import down, read_folder, read_status, up
from pliers_db.migrate import squash as squashing
from pliers_db.migrate.drift import drift
from pliers_db.migrate.squash import Squash, make_squash, write_squash
from pliers_db.postgres import Server, scratch_server
from tests.fix_cli import Cli, Result
from tests.fix_migrate import Write, applied_ids, marks, tables


@pytest.fixture(scope="module")
def playground() -> Iterator[Server]:
    with scratch_server() as server:
        yield server


@pytest.fixture
def database(target: Target) -> Iterator[Database]:
    with Database(target) as database:
        yield database


@pytest.fixture
def make(project: Path, playground: Server) -> Callable[[str], Squash]:
    return lambda to: make_squash(read_folder(project / "migrations"), to, scratch=playground.target())


@pytest.fixture
def squash(project: Path, make: Callable[[str], Squash]) -> Callable[[str], str]:
    """Squash up to an id, onto the disk."""

    def squash(to: str) -> str:
        made = make(to)
        write_squash(read_folder(project / "migrations"), made)
        return made.file.id

    return squash


@pytest.fixture
def go_up(project: Path, database: Database) -> Callable[..., object]:
    return lambda **o: up(database, read_folder(project / "migrations"), environment=Environment.TEST, **o)


@pytest.fixture
def four(write: Write) -> list[str]:
    write("0001_a", "create table a (id int primary key, name text); insert into a values (1, 'x;'), (2, null);")
    write("0002_b", "-- depends: 0001_a\ncreate table b (id serial, a int references a); insert into b (a) values (1);")
    write(
        "0003_i", "-- transactional: false\n-- depends: 0002_b\ncreate index concurrently i on b (a);", "drop index i;"
    )
    write("0004_d", "-- depends: 0002_b 0003_i\ncreate table d (id int references a);")
    return ["0001_a", "0002_b", "0003_i", "0004_d"]


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_database_that_has_all_gets_a_record_and_nothing_runs(
    four: list[str],
    squash: Callable[[str], str],
    go_up: Callable[..., object],
    conn: Connection,
    project: Path,
    database: Database,
    playground: Server,
    yoyo: Callable[..., Result],
) -> None:
    go_up(to="0003")
    conn.execute("delete from b; insert into a values (3, 'mine')")
    assert squash("0003") == "0003_squash"
    assert files(project / "migrations") == [
        "0003_squash.sql",
        "0004_d.rollback.sql",
        "0004_d.sql",
        *(f"squashed/0003_squash/{i}{end}" for i in four[:3] for end in (".rollback.sql", ".sql")),
    ]
    folder = read_folder(project / "migrations")
    assert folder.migrations[1].text.startswith("-- depends: 0003_squash\n")
    status = read_status(database, folder)
    assert [(e.id, e.state) for e in status.entries] == [("0003_squash", "squashed"), ("0004_d", "pending")]
    outcome = go_up()
    assert outcome.recorded == ("0003_squash",)  # type: ignore[attr-defined]
    assert [d.id for d in outcome.applied] == ["0004_d"]  # type: ignore[attr-defined]
    assert read_status(database, folder).clean
    assert [e.id for e in read_status(database, folder).entries] == ["0003_squash", "0004_d"]
    # An older copy of the folder, or stock yoyo, finds what it knows.
    assert applied_ids(conn) == ["0001_a", "0002_b", "0003_i", "0003_squash", "0004_d"]
    assert marks(yoyo("list")) == {"0003_squash": "A", "0004_d": "A"}
    assert yoyo("apply").code == 0
    assert conn.execute("select count(*) from a").fetchone() == (3,)
    assert conn.execute("select count(*) from b").fetchone() == (0,)
    assert not drift(database, folder, scratch=playground.target()).found
    down(database, folder, environment=Environment.TEST)
    with pytest.raises(NoRollback, match="0003_squash has no rollback"):
        down(database, folder, environment=Environment.TEST)


def test_a_new_database_is_made_by_the_one_file_with_rows_sequences_and_roles(
    four: list[str],
    write: Write,
    squash: Callable[[str], str],
    conn: Connection,
    yoyo: Callable[..., Result],
    target: Target,
    project: Path,
) -> None:
    role = f"{target.dbname}_reader"
    write("0003_r", f'create role "{role}" nologin; grant select on b to "{role}";', "select 1;")
    for name in ("0003_i.sql", "0003_i.rollback.sql"):
        (project / "migrations" / name).unlink()
    write("0004_d", "-- depends: 0002_b\ncreate table d (id int references a);")
    squash("0003")
    try:
        assert yoyo("apply").code == 0  # stock yoyo runs the file, too
        assert marks(yoyo("list")) == {"0003_squash": "A", "0004_d": "A"}
        assert conn.execute("select id, name from a order by 1").fetchall() == [(1, "x;"), (2, None)]
        assert conn.execute("insert into b (a) values (2) returning id").fetchone() == (2,)
        assert conn.execute("select has_table_privilege(%s, 'b', 'select')", [role]).fetchone() == (True,)
    finally:
        conn.execute(f'drop owned by "{role}"; drop role "{role}"')


def test_a_database_that_has_only_some_is_refused_with_what_it_lacks(
    four: list[str], squash: Callable[[str], str], go_up: Callable[..., object], cli: Cli, conn: Connection
) -> None:
    go_up(to="0002")
    squash("0003")
    refused = cli("migrate", "up", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "migrate.history")
    assert "0003_squash replaces 3 migrations, of which this database lacks 1" in refused.json["error"]["message"]
    assert "0003_i" in refused.json["error"]["why"]
    assert applied_ids(conn) == ["0001_a", "0002_b"]
    assert tables(conn) == {"a", "b"}
    assert cli("migrate", "status", "--check").code == 1


def test_what_cannot_be_proved_is_refused_and_the_folder_stays(
    four: list[str], write: Write, make: Callable[[str], Squash], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(project / "migrations")
    with pytest.raises(BadSquash, match="nothing to squash"):
        make("0001")
    write("0005_e", "create table e (x int); insert into e select generate_series(1, 1000);")
    with monkeypatch.context() as patch:
        patch.setattr(squashing, "MAX_BYTES", 10_000)
        with pytest.raises(BadSquash, match="The one file would have"):
            make("0005")
    # A dump that lost a row, and one that lost an index.
    for lost, told in (
        ("INSERT INTO public.b", "rows of public.b: 1 "),
        ("CREATE INDEX i", "index public.b.i was removed"),
    ):
        with monkeypatch.context() as patch:
            keep = lambda s, lost=lost: not s.startswith(lost)  # noqa: E731
            patch.setattr(squashing, "clean", lambda *a, real=squashing.clean, keep=keep: tuple(filter(keep, real(*a))))
            with pytest.raises(SchemaDiffers) as refused:
                make("0004")
            assert told in refused.value.why
    write("0006_f", "create table f (x no_type);")
    with pytest.raises(CannotCompare, match="0006_f does not run"):
        make("0006")
    assert [f for f in files(project / "migrations") if f < "0005"] == before


def test_a_kill_between_the_new_file_and_the_old_ones_leaves_a_folder_that_works(
    four: list[str], go_up: Callable[..., object], project: Path, conn: Connection
) -> None:
    dies = (  # as soon as the one file has its name
        "import os, pathlib, pliers_db.migrate.squash as s; from pliers_db.migrate import read_folder\n"
        "s.tidy = lambda *a: os.kill(os.getpid(), 9)\n"
        "folder = read_folder(pathlib.Path('migrations')); s.write_squash(folder, s.make_squash(folder, '0003'))"
    )
    assert subprocess.run([sys.executable, "-c", dies], cwd=project).returncode == -signal.SIGKILL
    folder = read_folder(project / "migrations")
    assert [m.id for m in folder.migrations] == ["0003_squash", "0004_d"]
    assert folder.migrations[1].depends == ("0003_squash",)
    assert len([w for w in folder.warnings if "counts no more, 0003_squash replaces it" in w]) == 3
    assert len([w for w in folder.warnings if "0004_d.sql depends on what 0003_squash replaces" in w]) == 1
    go_up()
    assert applied_ids(conn) == ["0003_squash", "0004_d"]
    squashing.tidy(folder.path, folder.migrations[0], folder.migrations)
    assert read_folder(folder.path).warnings == ()


def test_the_command_makes_and_tells_it_and_a_squash_can_be_squashed(four: list[str], cli: Cli, project: Path) -> None:
    done = cli("migrate", "squash", "--to", "0003")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "0003_squash.sql replaces 3 migrations: same schema, roles and 3 rows."
    again = cli("migrate", "squash", "--to", "0004", "--json")
    assert again.json["replaces"] == ["0003_squash", "0004_d"]
    assert cli("migrate", "up", "--json").json["applied"][0]["id"] == "0004_squash"


def test_an_edited_squash_says_so(
    four: list[str], squash: Callable[[str], str], go_up: Callable[..., object], project: Path
) -> None:
    go_up(to="0003")
    squash("0003")
    go_up()
    path = project / "migrations" / "0003_squash.sql"
    path.write_text(path.read_text() + "create table more ();\n")
    with pytest.raises(HistoryConflict, match="was edited"):
        (project / "migrations" / "0005_x.sql").write_text("create table x ();")
        go_up()
