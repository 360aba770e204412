"""The locks that `plan` and `lint` read from a statement are those that PostgreSQL takes."""

from __future__ import annotations

import pytest
from pglast import parser

from pliers_db.db import Connection
from pliers_db.migrate.tablelocks import Lock, table_locks

TABLES = """
create schema elsewhere;
create table a (id int primary key, b int not null, c text, constraint a_check check (b > 0) not valid);
create table other (id int primary key);
create index a_b_idx on a (b);
create table p (k int primary key) partition by list (k);
create table p1 partition of p for values in (1);
create table p2 (k int not null primary key);
create view v as select id from a;
create materialized view m as select id from a;
create unique index m_id on m (id);
create function f() returns trigger language plpgsql as 'begin return new; end';
create trigger t before insert on a for each row execute function f();
"""
STATEMENTS = [
    "alter table a add column d int",
    "alter table a drop column c",
    "alter table a alter b set not null",
    "alter table a alter b type bigint",
    "alter table a alter b set default 1",
    "alter table a alter b set statistics 10",
    "alter table a alter b set (n_distinct = 5)",
    "alter table a set (fillfactor = 70)",
    "alter table a reset (fillfactor)",
    "alter table a alter c set storage plain",
    "alter table a validate constraint a_check",
    "alter table a drop constraint a_check",
    "alter table a add constraint k unique (b)",
    "alter table a add constraint fk foreign key (b) references other",
    "alter table a add constraint fk foreign key (b) references other not valid",
    "alter table a add column e int references other",
    "alter table a disable trigger t",
    "alter table a enable always trigger t",
    "alter table a cluster on a_b_idx",
    "alter table a set unlogged",
    "alter table a enable row level security",
    "alter table a owner to current_user",
    "alter table a replica identity full",
    "alter table a rename to a2",
    "alter table a rename column b to b2",
    "alter table a set schema elsewhere",
    "alter index a_b_idx rename to i2",
    "alter index a_b_idx set (fillfactor = 70)",
    "alter view v rename to v2",
    "alter table p attach partition p2 for values in (2)",
    "alter table p detach partition p1",
    "create index on a (c)",
    "create trigger t2 before insert on a for each row execute function f()",
    "create policy po on a",
    "create rule r as on insert to a do nothing",
    "create statistics s on b, c from a",
    "create table n (id int primary key, a int references other)",
    "create table n partition of p for values in (3)",
    "create table n () inherits (a)",
    "comment on table a is 'x'",
    "comment on column a.b is 'x'",
    "comment on constraint a_check on a is 'x'",
    "comment on trigger t on a is 'x'",
    "drop table a cascade",
    "drop view v",
    "drop materialized view m",
    "drop index a_b_idx",
    "drop trigger t on a",
    "truncate a",
    "refresh materialized view m",
    "refresh materialized view concurrently m",
    "reindex table a",
    "reindex index a_b_idx",
    "cluster a using a_b_idx",
    "lock table a in share mode",
    "lock table a, other in exclusive mode",
    "insert into a values (1, 1)",
    "update a set b = 2",
    "delete from a",
    "merge into a using other o on a.id = o.id when matched then delete",
]


def test_each_statement_takes_the_locks_that_are_said(conn: Connection) -> None:
    conn.autocommit = True
    conn.execute(TABLES)
    wrong = []
    for statement in STATEMENTS:
        said = {lock.relation: lock.mode for lock in table_locks(parser.parse_sql(statement)[0].stmt)}
        assert said, statement
        seen: dict[str, int] = {}
        with conn.transaction(force_rollback=True):
            oids = dict(conn.execute("select oid, relname from pg_class where relnamespace = 'public'::regnamespace"))
            conn.execute(statement)
            for oid, mode in conn.execute(
                "select relation, mode from pg_locks where pid = pg_backend_pid() and locktype = 'relation'"
            ):
                if oid in oids:
                    number = Lock[_words(mode)].value
                    seen[oids[oid]] = max(seen.get(oids[oid], 0), number)
        for name, mode in said.items():
            if seen.get(name) != mode:
                real = Lock(seen[name]) if name in seen else None
                wrong.append(f"{statement}: {name} is said {mode}, is {real}")
        strong = {
            name for name, mode in seen.items() if mode >= Lock.SHARE and name in ("a", "other", "p", "p2", "v", "m")
        }
        if missing := strong - set(said) - _of_index(statement):
            wrong.append(f"{statement}: nothing is said of {missing}")
    assert not wrong, "\n".join(wrong)


def _words(mode: str) -> str:
    """``AccessExclusiveLock`` as ``ACCESS_EXCLUSIVE``."""
    name = mode.removesuffix("Lock")
    return "".join("_" + c if c.isupper() and n else c for n, c in enumerate(name)).upper()


def _of_index(statement: str) -> set[str]:
    """A statement that names an index locks its table, which only the database knows; CASCADE goes where it will."""
    return {"a"} if "index a_b_idx" in statement else {"v", "m"} if "cascade" in statement else set()


@pytest.mark.parametrize(
    ("statement", "mode"),
    [
        ("create index concurrently i on a (b)", Lock.SHARE_UPDATE_EXCLUSIVE),
        ("drop index concurrently a_b_idx", Lock.SHARE_UPDATE_EXCLUSIVE),
        ("reindex table concurrently a", Lock.SHARE_UPDATE_EXCLUSIVE),
        ("vacuum a", Lock.SHARE_UPDATE_EXCLUSIVE),
        ("vacuum (full) a", Lock.ACCESS_EXCLUSIVE),
    ],
)
def test_what_runs_outside_a_transaction_is_known_from_the_manual(statement: str, mode: Lock) -> None:
    (lock,) = table_locks(parser.parse_sql(statement)[0].stmt)
    assert lock.mode is mode


def test_what_locks_nothing_and_what_is_not_sql_take_no_lock() -> None:
    for statement in ("create table n (id int)", "select 1", "create extension vector", "grant select on a to public"):
        assert table_locks(parser.parse_sql(statement)[0].stmt) == ()
    assert table_locks(None) == ()
