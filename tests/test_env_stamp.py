"""The stamp in the database: who may write it, who reads it, what carries it on and what does not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from pliers_db.config import Environment, Target, without_ambient
from pliers_db.db import Connection, connect, has_tables, read_stamp, write_stamp
from pliers_db.postgres import Server, find_binaries

DEV, TEST, STAGING, PRODUCTION = Environment


def comment_of(conn: Connection) -> str | None:
    row = conn.execute(
        "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
    ).fetchone()
    return row[0] if row else None


@contextmanager
def role_of(target: Target, *, owner: bool) -> Iterator[Target]:
    """An ordinary role that owns the database, or may only connect."""
    name = f"role_{target.dbname}"
    with connect(target) as admin:
        admin.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
        if owner:
            statement = sql.SQL("alter database {} owner to {}")
            admin.execute(statement.format(sql.Identifier(target.dbname), sql.Identifier(name)))
    try:
        yield replace(target, user=name)
    finally:
        with connect(target) as admin:
            admin.execute(sql.SQL("alter database {} owner to postgres").format(sql.Identifier(target.dbname)))
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture(params=["18", pytest.param("15", marks=pytest.mark.pg15)])
def either(request: pytest.FixtureRequest) -> Target:
    """An empty database, on the embedded server and on Debian's 15."""
    found: Target = request.getfixturevalue("target" if request.param == "18" else "target15")
    return found


def test_an_owner_who_is_no_superuser_stamps_and_everybody_reads(either: Target) -> None:
    with role_of(either, owner=True) as owner, connect(owner) as conn:
        assert read_stamp(conn) is None
        write_stamp(conn, STAGING)
    with role_of(either, owner=False) as reader, connect(reader) as conn:
        stamp = read_stamp(conn)
        assert stamp is not None
        assert (stamp.environment, stamp.foreign) == (STAGING, False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            write_stamp(conn, DEV)
        assert read_stamp(conn) == stamp


def test_the_comment_of_somebody_else_is_kept(conn: Connection, target: Target) -> None:
    own = "The shop's database;\n owner: team 'blue' \\ [x]  "
    conn.execute(sql.SQL("comment on database {} is {}").format(sql.Identifier(target.dbname), sql.Literal(own)))
    for environment in (PRODUCTION, DEV):
        write_stamp(conn, environment)
        stamp = read_stamp(conn)
        assert stamp is not None
        assert stamp.environment is environment
        comment = comment_of(conn)
        assert comment is not None
        assert comment.startswith(own)
        assert comment.count("[pliers:") == 1


def test_writing_the_same_stamp_again_changes_nothing(conn: Connection) -> None:
    write_stamp(conn, DEV)
    before = conn.execute("select xmin::text from pg_shdescription").fetchall()
    write_stamp(conn, DEV)
    assert conn.execute("select xmin::text from pg_shdescription").fetchall() == before


@pytest.mark.parametrize(
    "comment",
    [
        "[pliers:environment=preview;system=1]",
        "[pliers:environment=production]",
        "pliers:environment=production;system=1",
        "[pliers:environment=;system=]",
        "",
    ],
)
def test_a_comment_that_is_no_stamp_we_know_is_none(comment: str, conn: Connection, target: Target) -> None:
    conn.execute(sql.SQL("comment on database {} is {}").format(sql.Identifier(target.dbname), sql.Literal(comment)))
    assert read_stamp(conn) is None


def test_a_stamp_of_another_cluster_is_foreign_until_it_is_said_anew(conn: Connection, target: Target) -> None:
    text = "[pliers:environment=production;system=1234567890]"
    conn.execute(sql.SQL("comment on database {} is {}").format(sql.Identifier(target.dbname), sql.Literal(text)))
    stamp = read_stamp(conn)
    assert stamp is not None
    assert (stamp.environment, stamp.foreign) == (PRODUCTION, True)
    write_stamp(conn, DEV)
    stamp = read_stamp(conn)
    assert stamp is not None
    assert (stamp.environment, stamp.foreign) == (DEV, False)


@pytest.mark.parametrize("name", ['we"ird; drop', "Größe 'x' %s {}", "UPPER case"])
def test_any_database_name_can_be_stamped(name: str, server: Server) -> None:
    identifier = sql.Identifier(name)
    with connect(server.target()) as admin:
        admin.execute(sql.SQL("create database {}").format(identifier))
        try:
            with connect(server.target(name)) as conn:
                write_stamp(conn, TEST)
                stamp = read_stamp(conn)
                assert stamp is not None
                assert stamp.environment is TEST
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(identifier))


def test_a_clone_of_a_template_has_no_stamp(server: Server, target: Target) -> None:
    with connect(target) as conn:
        write_stamp(conn, PRODUCTION)
    clone = sql.Identifier(f"{target.dbname}_clone")
    with connect(server.target()) as admin:
        admin.execute(sql.SQL("create database {} template {}").format(clone, sql.Identifier(target.dbname)))
        try:
            with connect(server.target(f"{target.dbname}_clone")) as conn:
                assert read_stamp(conn) is None
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(clone))


def test_a_renamed_database_keeps_its_stamp(server: Server, target: Target) -> None:
    """The old one, after a restore has swapped the names, is still production."""
    with connect(target) as conn:
        write_stamp(conn, PRODUCTION)
    old, new = sql.Identifier(target.dbname), sql.Identifier(f"{target.dbname}_old")
    with connect(server.target()) as admin:
        admin.execute(sql.SQL("alter database {} rename to {}").format(old, new))
        with connect(server.target(f"{target.dbname}_old")) as conn:
            stamp = read_stamp(conn)
            assert stamp is not None
            assert stamp.environment is PRODUCTION
        admin.execute(sql.SQL("alter database {} rename to {}").format(new, old))


@pytest.mark.parametrize(("options", "carried"), [([], False), (["--create"], True)])
def test_a_dump_carries_the_stamp_only_together_with_the_database(
    options: list[str], carried: bool, server: Server, target: Target
) -> None:
    """With --create it does: on another cluster it is foreign, and not believed."""
    with connect(target) as conn:
        write_stamp(conn, PRODUCTION)
    done = subprocess.run(
        [find_binaries(server.binaries.major).program("pg_dump"), *options],
        env={**without_ambient(os.environ), **target.environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("pliers:environment=production" in done.stdout) is carried


def test_it_reads_and_writes_inside_a_transaction_and_with_any_row_factory(target: Target) -> None:
    with connect(target, autocommit=False) as conn:
        conn.row_factory = dict_row  # type: ignore[assignment]
        write_stamp(conn, DEV)
        stamp = read_stamp(conn)
        assert stamp is not None
        assert not has_tables(conn)
        conn.rollback()
        assert read_stamp(conn) is None


def test_a_service_that_hides_the_cluster_identity_can_be_stamped(server: Server, target: Target) -> None:
    """Where pg_control_system() is revoked, the database's own identity stands for it."""
    with connect(target) as admin:
        admin.execute("revoke execute on function pg_control_system() from public")
    with role_of(target, owner=True) as owner, connect(owner) as conn:
        write_stamp(conn, PRODUCTION)
        stamp = read_stamp(conn)
        assert stamp is not None
        assert (stamp.environment, stamp.foreign) == (PRODUCTION, False)
        assert stamp.system_identifier.startswith("oid")


# ── something to lose ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        ("select 1", False),
        ("create table t (a int)", True),
        ("create schema s; create table s.t (a int)", True),
        ("create table t (a int) partition by list (a)", True),
        ("create materialized view m as select 1 as a", True),
        ("create temporary table t (a int)", False),
        ("create view v as select 1 as a", False),
        ("create sequence s", False),
    ],
)
def test_what_counts_as_something_to_lose(statement: str, answer: bool, conn: Connection) -> None:
    conn.execute(statement.encode())
    assert has_tables(conn) is answer


def test_a_table_counts_whoever_looks(conn: Connection, target: Target) -> None:
    conn.execute("create schema hidden; create table hidden.t (a int); revoke all on schema hidden from public")
    with role_of(target, owner=False) as reader, connect(reader) as other:
        assert has_tables(other)


def test_a_table_of_an_extension_is_no_loss(conn: Connection) -> None:
    """Extensions keep tables of their own (timescaledb, postgis…); they come back with CREATE EXTENSION."""
    conn.execute("create extension if not exists btree_gin")
    conn.execute("create table belonging (a int); alter extension btree_gin add table belonging")
    assert not has_tables(conn)
