"""`migrate trace`: what statements do to the tables that are there, seen on a scratch server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pliers_db.db import Connection, connect
from pliers_db.migrate import read_folder
from pliers_db.migrate.impact import (
    Dropped,
    Effect,
    Kind,
    Observed,
    Relation,
    Rewrite,
    Size,
    fails,
    headline,
    interpret,
)
from pliers_db.migrate.trace import Tracing, read_sizes, trace
from pliers_db.postgres import Server, scratch_server
from tests.fix_cli import Cli, url_of
from tests.fix_migrate import Write

GB = 1024**3
BASE = """
    create table users (id int primary key, name text);
    create table t (
        id int primary key, a varchar(10), b int, c int not null, d text, user_id int, e int, f int, g int,
        h varchar(10)
    );
    create view uv as select id, d from t;
    create materialized view mv as select id from t;
    create table pm (at date not null, n int) partition by range (at);
    create table pm_1 partition of pm for values from ('2026-01-01') to ('2026-02-01');
    create table pm_2 partition of pm for values from ('2026-02-01') to ('2026-03-01');
    create table gone (id int primary key);
"""
AX = "ACCESS EXCLUSIVE on public.t: every query on it waits, reads too"
SRX = "INSERT, UPDATE and DELETE wait; reads go on"
# Each in a migration of its own, after BASE.
CASES: dict[str, tuple[str, list[str]]] = {
    "a longer varchar": ("alter table t alter a type varchar(20)", [AX]),
    "a shorter varchar": (
        "alter table t alter h type varchar(5)",
        [AX, "rewrites public.t: the column's values are stored in another way"],
    ),
    "a constant default": ("alter table t add x1 int not null default 5", [AX]),
    "a volatile default": (
        "alter table t add x2 float default random()",
        [AX, "rewrites public.t: the new column has another value in each row"],
    ),
    "a virtual column": ("alter table t add x3 int generated always as (b + 1) virtual", [AX]),
    "a stored column": (
        "alter table t add x4 int generated always as (b + 1) stored",
        [AX, "rewrites public.t: the new column has another value in each row"],
    ),
    "a wider integer": (
        "alter table t alter e type bigint",
        [AX, "rewrites public.t: the column's values are stored in another way"],
    ),
    "SET NOT NULL": (
        "alter table t alter b set not null",
        [AX, "reads all of public.t: to prove that no value is NULL"],
    ),
    "a CHECK": (
        "alter table t add constraint k1 check (c > 0)",
        [AX, "reads all of public.t: to check each row against the constraint"],
    ),
    "a CHECK that is not valid yet": ("alter table t add constraint k2 check (c > 1) not valid", [AX]),
    "its validation": (
        "alter table t validate constraint k2",
        [
            "SHARE UPDATE EXCLUSIVE on public.t: reads and writes go on; VACUUM and other changes of the schema wait",
            "reads all of public.t: to check each row against the constraint",
        ],
    ),
    "a foreign key": (
        "alter table t add constraint fk1 foreign key (user_id) references users",
        [
            f"SHARE ROW EXCLUSIVE on public.t: {SRX}",
            f"SHARE ROW EXCLUSIVE on public.users: {SRX}",
            "reads all of public.t: to check each reference",
        ],
    ),
    "a foreign key that is not valid yet": (
        "alter table t add constraint fk2 foreign key (e) references users not valid",
        [f"SHARE ROW EXCLUSIVE on public.t: {SRX}", f"SHARE ROW EXCLUSIVE on public.users: {SRX}"],
    ),
    "a new table that refers to one": (
        "create table child (id int primary key, t_id int references t)",
        [f"SHARE ROW EXCLUSIVE on public.t: {SRX}"],
    ),
    "an index": (
        "create index t_b on t (b)",
        [f"SHARE on public.t: {SRX}", "reads all of public.t: to build the index"],
    ),
    "an index built anew": (
        "reindex index t_b",
        [
            "ACCESS EXCLUSIVE on public.t_b: every query that could use it waits, reads too",
            f"SHARE on public.t: {SRX}",
            "builds public.t_b anew",
            "reads all of public.t: to build the index",
        ],
    ),
    "an index that goes": ("drop index t_b", [AX]),
    "a column that goes with what hangs on it": (
        "alter table t drop d cascade",
        [
            AX,
            "ACCESS EXCLUSIVE on public.uv: every query on it waits, reads too",
            "CASCADE drops view public.uv",
        ],
    ),
    "a table that goes": (
        "drop table gone",
        ["ACCESS EXCLUSIVE on public.gone: every query on it waits, reads too"],
    ),
    "an update": ("update t set c = 1", ["reads all of public.t: to find the rows that it changes"]),
    "a partitioned table": (
        "alter table pm alter n type bigint",
        [
            "ACCESS EXCLUSIVE on public.pm and 2 partitions: every query on it waits, reads too",
            "rewrites public.pm and 2 partitions: the column's values are stored in another way",
        ],
    ),
    "a view that is computed anew": (
        "refresh materialized view mv",
        [
            "ACCESS EXCLUSIVE on public.mv: every query on it waits, reads too",
            "rewrites public.mv",
            "reads all of public.t: to compute the view",
        ],
    ),
    "TRUNCATE": (
        "truncate users cascade",
        [
            "ACCESS EXCLUSIVE on public.child: every query on it waits, reads too",
            AX,
            "ACCESS EXCLUSIVE on public.users: every query on it waits, reads too",
            "empties public.child",
            "empties public.t",
            "empties public.users",
        ],
    ),
    "a comment": (
        "comment on table t is 'x'",
        ["SHARE UPDATE EXCLUSIVE on public.t: reads and writes go on; VACUUM and other changes of the schema wait"],
    ),
    "an insert": ("insert into users values (1, 'x')", []),
    "a table of its own": ("create table own (id int); alter table own add x float default random()", []),
}


@pytest.fixture(scope="module")
def playground() -> Iterator[Server]:
    with scratch_server() as server:
        yield server


@pytest.fixture
def watch(project: Path, playground: Server) -> Callable[..., Tracing]:
    """Trace migrations of the project: ``watch("0002_b")``; no id: all."""

    def watch(*ids: str, sizes: dict[str, Size] | None = None) -> Tracing:
        folder = read_folder(project / "migrations")
        asked = ids or [m.id for m in folder.migrations]
        return trace(folder, asked, sizes=sizes, scratch=playground.target())

    return watch


def texts(found: Tracing, number: int = 0) -> list[str]:
    return [effect.text for effect in found.migrations[number].effects]


# ── what is seen ────────────────────────────────────────────────────────────────────────────────────────────
def test_locks_rewrites_scans_and_victims_are_seen(write: Write, watch: Callable[..., Tracing]) -> None:
    write("0001_base", BASE)
    ids = [f"{number:04}_case" for number in range(2, len(CASES) + 2)]
    for migration_id, (sql, _) in zip(ids, CASES.values(), strict=True):
        write(migration_id, sql)
    found = watch(*ids)
    assert found.complete, [m.reason for m in found.migrations]
    assert {name: texts(found, n) for n, name in enumerate(CASES)} == {name: said for name, (_, said) in CASES.items()}


def test_a_lock_is_held_until_the_migration_ends_and_told_once(write: Write, watch: Callable[..., Tracing]) -> None:
    write("0001_base", BASE)
    write("0002_two", "alter table t add x int;\n\n-- the second\nalter table t add y int; select 1;")
    (migration,) = watch("0002_two").migrations
    assert [(s.line, [e.text for e in s.effects]) for s in migration.steps] == [
        (1, [f"{AX}, until the 2 statements after it are done"]),
        (4, []),
        (4, []),
    ]


def test_a_role_and_a_search_path_of_the_migration_are_no_obstacle(write: Write, watch: Callable[..., Tracing]) -> None:
    owned = "create role trace_app; alter table t owner to trace_app; grant all on schema public to trace_app;"
    write("0001_base", f"{BASE}; {owned}")
    change = "alter table public.t alter h type text, alter c type bigint, drop d cascade;"
    write("0002_as", f"set local role trace_app; set local search_path = ''; {change}")
    found = watch("0002_as")
    assert "rewrites public.t: the column's values are stored in another way" in texts(found)
    assert "CASCADE drops view public.uv" in texts(found)


def test_outside_a_transaction_what_was_not_watched_says_so(write: Write, watch: Callable[..., Tracing]) -> None:
    write("0001_base", BASE)
    write(
        "0002_outside",
        "-- transactional: false\ncreate index concurrently t_c on t (c);\n"
        "alter table t add z float default random();\nvacuum full t;\nvacuum;\ndrop index concurrently t_c;",
    )
    (migration,) = watch("0002_outside").migrations
    light = "reads and writes go on; VACUUM and other changes of the schema wait (by the documentation, not observed)"
    heavy = "every query on it waits, reads too (by the documentation, not observed)"
    assert [([e.text for e in s.effects], s.note) for s in migration.steps] == [
        (
            [
                f"SHARE UPDATE EXCLUSIVE on public.t: {light}",
                "reads all of public.t: twice, to build the index (by the documentation, not observed)",
            ],
            "",
        ),
        ([AX, "rewrites public.t: the new column has another value in each row"], ""),
        (
            [
                f"ACCESS EXCLUSIVE on public.t: {heavy}",
                "rewrites public.t: VACUUM FULL (by the documentation, not observed)",
            ],
            "",
        ),
        ([], "runs outside a transaction: its locks are gone before they can be read"),
        ([f"SHARE UPDATE EXCLUSIVE on public.t: {light}"], ""),
    ]


def test_what_cannot_run_is_never_passed_over(write: Write, watch: Callable[..., Tracing]) -> None:
    write("0001_base", BASE)
    write("0002_maps", "select 1;\ncreate extension no_such_extension;")
    write("0003_later", "select 1;")
    found = watch("0002_maps", "0003_later")
    assert [m.reason.partition(": ")[0] for m in found.migrations] == [
        "0002_maps.sql:2",
        "0002_maps before it does not run",
    ]
    assert not found.complete


# ── with sizes ──────────────────────────────────────────────────────────────────────────────────────────────
def test_sizes_of_a_database_are_read_without_writing(conn: Connection, server: Server) -> None:
    conn.execute(f"{BASE}; insert into t (id, c) select n, n from generate_series(1, 5000) n")
    conn.execute("insert into pm select '2026-01-05', n from generate_series(1, 1000) n; analyze")
    sizes = read_sizes(server.target(conn.info.dbname))
    heap = conn.execute("select pg_table_size('t'), pg_indexes_size('t')").fetchone()
    assert (sizes["public.t"].heap, sizes["public.t"].indexes, sizes["public.t"].rows) == (*(heap or ()), 5000)
    assert sizes["public.pm"].heap == sizes["public.pm_1"].heap + sizes["public.pm_2"].heap > 0


def test_the_worst_is_told_with_its_size() -> None:
    relations = {1: Relation(1, "public.orders", "table"), 2: Relation(2, "public.orders_pkey", "index", table=1)}
    sizes = {"public.orders": Size(30 * GB, 12 * GB, 10**8)}
    seen = Observed(
        locks=frozenset({(1, "AccessExclusiveLock"), (2, "AccessExclusiveLock"), (9, "AccessExclusiveLock")}),
        rewrites=(Rewrite(1, 4), Rewrite(9, 4)),
        refiled=frozenset({1, 2}),
        scans=frozenset({1, 9}),
        dropped=(Dropped("index", "public.i", False, False), Dropped("view", "public.v", False, True)),
    )
    effects = interpret(seen, relations, sizes=sizes)
    assert [e.text for e in effects] == [
        "ACCESS EXCLUSIVE on public.orders (42.0 GB): every query on it waits, reads too",
        "rewrites public.orders (42.0 GB): the column's values are stored in another way",
        "CASCADE drops view public.v",
    ]
    assert headline(effects) == "ACCESS EXCLUSIVE and a rewrite of 42.0 GB on public.orders"
    scan = interpret(Observed(scans=frozenset({1})), relations, sizes=sizes, purpose="to look")
    assert [e.text for e in scan] == ["reads all of public.orders (30.0 GB): to look"]


def test_a_full_scan_under_a_strong_lock_is_worse_than_the_lock_of_a_larger_table() -> None:
    def lock(path: str, size: int) -> Effect:
        return Effect(Kind.LOCK, path, "ACCESS EXCLUSIVE", "", size)

    effects = [lock("big", 9 * GB), lock("small", GB), Effect(Kind.SCAN, "small", bytes=GB)]
    assert headline(effects) == "ACCESS EXCLUSIVE and a full scan of 1.0 GB on small"
    assert headline([]) == ""


def test_fail_on_names_what_must_not_be() -> None:
    rewrite, scan = Effect(Kind.REWRITE, "t"), Effect(Kind.SCAN, "t")
    lock, light = Effect(Kind.LOCK, "t", "ACCESS EXCLUSIVE"), Effect(Kind.LOCK, "t", "SHARE UPDATE EXCLUSIVE")
    assert [fails([e], {"rewrite"}) for e in (rewrite, scan, lock, light)] == [True, False, False, False]
    assert [fails([e], {"scan"}) for e in (rewrite, scan, lock, light)] == [True, True, False, False]
    assert [fails([e], {"access-exclusive"}) for e in (rewrite, scan, lock, light)] == [False, False, True, False]
    assert not fails([rewrite, scan, lock], set())


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────
def test_the_command_reads_sizes_tells_the_worst_and_fails_on_demand(
    cli: Cli, write: Write, conn: Connection, playground: Server, server: Server
) -> None:
    write("0001_base", "create table t (id int primary key, n int);")
    assert cli("migrate", "up").code == 0
    conn.execute("insert into t select n from generate_series(1, 20000) n; analyze t")
    write("0002_wider", "alter table t alter n type bigint;\ncomment on table t is 'wide';")
    write("0003_nothing", "create table other (id int);")
    where = ("--scratch", url_of(playground.target()), "--sizes-from", url_of(server.target(conn.info.dbname)))
    done = cli("migrate", "trace", "--pending", *where)
    lines = done.out.splitlines()
    assert done.code == 0, done.err
    assert lines[0].startswith("0002_wider: ACCESS EXCLUSIVE and a rewrite of 1.2 MB on public.t")
    assert lines[1:4] == [
        "  line 1: alter table t alter n type bigint",
        "      ACCESS EXCLUSIVE on public.t (1.2 MB): every query on it waits, reads too,"
        " until the statement after it is done",
        "      rewrites public.t (1.2 MB): the column's values are stored in another way",
    ]
    assert lines[4] == "0003_nothing: nothing to what was there"
    refused = cli("migrate", "trace", "0002", "0003", *where, "--fail-on", "rewrite", "--json")
    assert refused.code == 1
    assert [(m["id"], m["fails"]) for m in refused.json["migrations"]] == [
        ("0002_wider", True),
        ("0003_nothing", False),
    ]
    with connect(server.target(conn.info.dbname)) as reader:
        assert reader.execute("select to_regclass('other'), to_regnamespace('pliers_trace')").fetchone() == (None, None)


def test_sizes_behind_a_lock_are_an_error(cli: Cli, abc: list[str], conn: Connection, server: Server) -> None:
    conn.execute("create table locked (id int)")
    with connect(server.target(conn.info.dbname)) as other, other.transaction():
        other.execute("lock table locked")
        url = url_of(server.target(conn.info.dbname))
        done = cli("migrate", "trace", "--sizes-from", url, "--json")
    assert (done.code, done.json["error"]["code"]) == (3, "migrate.sizes")
