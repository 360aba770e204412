"""pgvector: columns that cannot be searched, indexes that do not fit, versions with known faults."""

from __future__ import annotations

import pytest

from pliers_db.db import connect
from pliers_db.health import Outcome
from tests.fix_health import Outcomes
from tests.test_health_schema import lay


def test_a_database_without_pgvector_is_skipped_not_ok(either: Outcomes) -> None:
    for check in ("pgvector", "vectors"):
        assert either(check).outcome is Outcome.SKIPPED


@pytest.mark.parametrize(
    ("version", "outcome"), [("0.8.1", "fail"), ("0.8.2", "warn"), ("0.8.6", "warn"), ("0.8.7", "ok"), ("0.10.0", "ok")]
)
def test_a_version_with_known_faults_is_found(judge: Outcomes, version: str, outcome: str) -> None:
    lay(judge, "create extension vector", f"update pg_extension set extversion = '{version}' where extname = 'vector'")
    assert judge("pgvector").outcome == outcome


def test_many_vectors_without_an_index_are_found_and_an_index_mends_it(judge: Outcomes) -> None:
    lay(
        judge,
        "create extension vector",
        "create table docs (id int, e vector(3))",
        "insert into docs select i, array[i, 1, 2]::vector from generate_series(1, 11000) i",
        "analyze docs",
    )
    result = judge("vectors")
    assert result.outcome is Outcome.WARN
    lay(judge, result.fix)
    assert judge.found("vectors") == []


def test_few_vectors_need_no_index(judge: Outcomes) -> None:
    lay(
        judge,
        "create extension vector",
        "create table docs (id int, e vector(3))",
        "insert into docs values (1, '[1,2,3]')",
    )
    lay(judge, "analyze docs")
    assert judge.found("vectors") == []
    assert judge("vectors").examined == 1


def test_a_column_without_dimensions_is_found_and_giving_them_mends_it(judge: Outcomes) -> None:
    lay(judge, "create extension vector", "create table docs (id int, e vector)")
    result = judge("vectors")
    assert result.outcome is Outcome.WARN
    lay(judge, result.fix.replace("(N)", "(3)"))
    assert judge.found("vectors") == []


def test_an_ivfflat_index_that_the_table_has_outgrown_is_found(judge: Outcomes) -> None:
    lay(
        judge,
        "create extension vector",
        "create table docs (id int, e vector(2))",
        "create index docs_e on docs using ivfflat (e vector_l2_ops) with (lists = 1)",
        "insert into docs select i, array[i, i]::vector from generate_series(1, 12000) i",
        "analyze docs",
    )
    result = judge("vectors")
    assert [f.about for f in result.findings] == ["public.docs_e lists"]
    lay(judge, *result.fix.removesuffix(";").split("; "))
    assert judge.found("vectors") == []


def test_an_index_larger_than_shared_buffers_is_found(judge: Outcomes) -> None:
    lay(
        judge,
        "create extension vector",
        "create table docs (id int, e vector(3)); create index docs_e on docs using hnsw (e vector_l2_ops)",
    )
    with connect(judge.target) as conn:
        conn.execute("update pg_class set relpages = 1000000 where oid = 'docs_e'::regclass")
        assert judge.found("vectors") == ["public.docs_e size"]
        conn.execute("update pg_class set relpages = 10 where oid = 'docs_e'::regclass")
    assert judge.found("vectors") == []


def test_the_parts_of_a_partitioned_table_count_together(judge: Outcomes) -> None:
    lay(
        judge,
        "create extension vector",
        "create table docs (id int, e vector(2)) partition by range (id)",
        "create table docs1 partition of docs for values from (0) to (6000)",
        "create table docs2 partition of docs for values from (6000) to (20000)",
        "insert into docs select i, array[i, i]::vector from generate_series(1, 12000) i",
        "analyze docs1; analyze docs2",
    )
    assert judge.found("vectors") == ["public.docs.e index"]
