"""Search by meaning is exact within a tenant; approximate search is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from pliers_db.db import Connection
from tests.fix_pliers import ACME, DIGEST, OTHER, apply_migrations, insert, migration_files, run_file

MODEL = "all-MiniLM-L6-v2"
EXACT = (
    "select chunk from pliers.embeddings where organization_id = %s and model = %s"
    " order by embedding <=> %s::vector limit 5"
)
APPROXIMATE = (
    "select organization_id::text, chunk from pliers.embeddings where model = 'all-MiniLM-L6-v2'"
    " order by embedding::halfvec(384) <=> %s::halfvec(384) limit 5"
)
HNSW = "embeddings_minilm_idx"


def direction(step: int) -> str:
    """Vectors that turn away from the first one step by step."""
    return str([1.0, step / 10] + [0.0] * 382)


@pytest.fixture
def filled(pliers_shared: Connection) -> Iterator[Connection]:
    with pliers_shared.transaction(force_rollback=True):
        for organization, slug in ((ACME, "acme"), (OTHER, "other")):
            insert(pliers_shared, "organizations", {"id": organization, "slug": slug, "name": slug})
            for chunk in range(40):
                insert(
                    pliers_shared,
                    "embeddings",
                    {
                        "organization_id": organization,
                        "subject_type": "form",
                        "subject_id": organization,
                        "model": MODEL,
                        "chunk": chunk,
                        "content_sha256": DIGEST,
                        "embedding": direction(chunk if organization == ACME else chunk + 100),
                    },
                )
        pliers_shared.execute("set local enable_seqscan to off")
        yield pliers_shared


def plan_of(conn: Connection, query: str, values: list[str]) -> str:
    return "\n".join(line for (line,) in conn.execute(f"explain {query}".encode(), values))


def test_a_tenant_finds_its_nearest_exactly(filled: Connection) -> None:
    values = [OTHER, MODEL, direction(0)]  # all of the other tenant's vectors are nearer
    assert filled.execute(EXACT, values).fetchall() == [(chunk,) for chunk in range(5)]


def test_no_approximate_index_takes_the_place_of_the_exact_search(filled: Connection) -> None:
    filled.execute("set local enable_sort to off")
    assert HNSW not in plan_of(filled, EXACT, [OTHER, MODEL, direction(0)])


def test_the_cast_to_halfvec_asks_for_the_approximate_index(filled: Connection) -> None:
    assert HNSW in plan_of(filled, APPROXIMATE, [direction(0)])
    assert filled.execute(APPROXIMATE, [direction(0)]).fetchall() == [(ACME, chunk) for chunk in range(5)]


def test_a_vector_of_another_length_is_refused(filled: Connection) -> None:
    with pytest.raises(psycopg.errors.DataException, match="expected 384 dimensions"):
        filled.execute("update pliers.embeddings set embedding = '[1,2,3]'")


def test_a_pgvector_without_halfvec_is_refused_with_the_cure(conn: Connection) -> None:
    *before, embeddings = migration_files()
    assert "embeddings" in embeddings.name
    apply_migrations(conn, before)
    conn.execute("create extension vector")
    conn.execute("set allow_system_table_mods to on")
    for version, fine in (("0.6.2", False), ("0.10.0", True), ("1.0", True), ("0.7.0-dev", True)):
        conn.execute("update pg_extension set extversion = %s where extname = 'vector'", [version])
        if fine:
            with conn.transaction(force_rollback=True):
                run_file(conn, embeddings)
            continue
        with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
            run_file(conn, embeddings)
        assert caught.value.diag.message_primary == "pgvector 0.6.2 is too old: halfvec needs 0.7"
        assert caught.value.diag.message_hint == "alter extension vector update"
