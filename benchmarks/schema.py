"""Why the Pliers schema is as it is, in figures: ids, GIN operator classes, search among the vectors of many tenants.

python benchmarks/schema.py [--rows 30000] [--tenants 100] [--rounds 5]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measure import Case, measure, print_ratios

from pliers_db.db import Connection, connect
from pliers_db.postgres import scratch_server

MIGRATIONS = Path(__file__).parent.parent / "migrations"

# Tenants of unequal size; answers as a form with a few fields gives them.
FILL = [
    "select setseed(0.5)",
    "insert into pliers.organizations (slug, name) select 'o' || n, 'O' from generate_series(1, {tenants}) as n",
    "insert into pliers.forms (organization_id, slug, title) select id, 'f', 'F' from pliers.organizations",
    """
    insert into pliers.form_versions (organization_id, form_id, version, definition, definition_sha256)
    select organization_id, id, 1, '{{"fields": []}}', sha256('') from pliers.forms
    """,
    """
    create temporary table draws as
    select s, organization_id, id as form_id
    from (select s, 1 + floor({tenants} * power(random(), 2)) as n from generate_series(1, {rows}) as s) as draw
        join (select row_number() over (order by id) as n, organization_id, id from pliers.forms) as f using (n)
    """,
    """
    insert into pliers.submissions (organization_id, form_id, form_version, data)
    select organization_id, form_id, 1, jsonb_build_object(
        'name', md5(s::text), 'city', 'c' || s % 500, 'age', s % 90, 'tags', jsonb_build_array('t' || s % 7))
    from draws
    """,
    # Random directions: nothing is harder to index, so the found neighbours are a lower bound.
    """
    insert into pliers.embeddings (organization_id, subject_type, subject_id, model, content_sha256, embedding)
    select organization_id, 'submission', pliers.uuid7(), 'all-MiniLM-L6-v2', sha256(''),
        (select array_agg(random() - 0.5 + (s + g) * 0)::vector from generate_series(1, 384) as g)
    from draws where s % 3 = 0
    """,
    "create index shared on pliers.embeddings using hnsw (embedding vector_cosine_ops)",
    "create index gin_default on pliers.submissions using gin (data)",
    "create index gin_path on pliers.submissions using gin (data jsonb_path_ops)",
    "reindex index pliers.submissions_data_idx",
    "vacuum analyze pliers.submissions",
    "vacuum analyze pliers.embeddings",
]
NEAREST = """
    select subject_id from pliers.embeddings
    where organization_id = %(tenant)s and model = 'all-MiniLM-L6-v2'
    order by embedding <=> (select embedding from pliers.embeddings where subject_id = %(like)s) limit 10
"""


def one(conn: Connection, query: str) -> Any:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def neighbours(conn: Connection, probes: list[tuple[Any, Any]], *settings: str) -> list[set[Any]]:
    """The ten nearest of each probe within its tenant."""
    with conn.transaction(force_rollback=True):
        for setting in settings:
            conn.execute(f"set local {setting}".encode())
        return [
            {row[0] for row in conn.execute(NEAREST, {"tenant": tenant, "like": subject})} for tenant, subject in probes
        ]


def vectors(conn: Connection) -> None:
    """How many of a tenant's ten nearest each way of searching finds."""
    probes = conn.execute(
        "select organization_id, (array_agg(subject_id))[1] from pliers.embeddings"
        " group by 1 order by count(*) desc limit 20"
    ).fetchall()
    exact = neighbours(conn, probes, "enable_indexscan to off")
    print("\nten nearest within a tenant, the 20 largest tenants: found on average")
    for name, settings in {
        "exact": ("enable_indexscan to off",),
        "a shared HNSW index": ("enable_bitmapscan to off", "enable_seqscan to off", "enable_sort to off"),
        "the same, iterative_scan = relaxed_order": (
            "enable_bitmapscan to off",
            "enable_seqscan to off",
            "enable_sort to off",
            "hnsw.iterative_scan to relaxed_order",
        ),
    }.items():
        found = neighbours(conn, probes, *settings)
        rows = sum(len(f) for f in found) / len(found)
        right = sum(len(f & e) for f, e in zip(found, exact, strict=True)) / len(found)
        print(f"  {name:<42} rows {rows:5.1f}   of the right ones {right:5.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with scratch_server(settings={"maintenance_work_mem": "256MB"}) as server, connect(server.target()) as conn:
        for file in sorted(f for f in MIGRATIONS.glob("*.sql") if not f.name.endswith(".rollback.sql")):
            with conn.transaction():
                conn.execute(file.read_bytes())
        for statement in FILL:
            conn.execute(statement.format(rows=options.rows, tenants=options.tenants).encode())

        many = "select count({call}) from generate_series(1, 50000)"
        ids = [
            Case("gen_random_uuid()", lambda: one(conn, many.format(call="gen_random_uuid()"))),
            Case("pliers.uuid7()", lambda: one(conn, many.format(call="pliers.uuid7()"))),
        ]
        print_ratios("50,000 ids", measure(ids, options.rounds), ["gen_random_uuid()"])

        print(f"\nGIN over the answers of {options.rows} submissions")
        base = one(conn, "select pg_relation_size('pliers.gin_default')")
        for name in ("gin_default", "gin_path", "submissions_data_idx"):
            size = one(conn, f"select pg_relation_size('pliers.{name}')")
            print(f"  {name:<24} {size / 1024 / 1024:6.1f} MB   {size / base:4.2f} of the default operator class")
        vectors(conn)


if __name__ == "__main__":
    main()
