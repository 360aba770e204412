"""How long seeding takes beside psycopg's COPY of the same rows, all constraints and indexes on, one connection.

    python benchmarks/seed.py --rows 20000 --rounds 3

``run`` plans, makes, checks, stages, inserts and enters the rows in the ledger; the raw COPY has them as bytes already.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from measure import Case, measure, print_ratios

from pliers_db.config import Environment, load_settings
from pliers_db.db import Database, connect, write_stamp
from pliers_db.postgres import scratch_server
from pliers_db.seed import run

SCHEMA = """
create table orgs (id uuid primary key, slug text not null unique);
create table users (
    org_id uuid not null references orgs, id uuid not null, name text not null, primary key (org_id, id)
);
create table forms (
    org_id uuid not null references orgs, id uuid not null, title text not null, primary key (org_id, id)
);
create table submissions (
    org_id uuid not null,
    id uuid not null,
    form_id uuid not null,
    user_id uuid,
    status text not null check (status in ('draft', 'submitted', 'approved')),
    note text,
    created_at timestamptz not null,
    submitted_at timestamptz check (submitted_at >= created_at),
    data jsonb not null,
    primary key (org_id, id),
    foreign key (org_id, form_id) references forms,
    foreign key (org_id, user_id) references users
);
create index on submissions (org_id, created_at);
create index on submissions (form_id);
create index on submissions using gin (data jsonb_path_ops);
"""
SPEC = """
fill.orgs.rows = 20
fill.users.rows = 200
fill.forms.rows = 100
fill.submissions.rows = {rows}
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000, help="submissions")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with scratch_server() as server, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "pyproject.toml").write_text("[tool.pliers-db]\n")
        (root / "seeds" / "dev").mkdir(parents=True)
        (root / "seeds" / "dev" / "50-fill.toml").write_text(SPEC.format(rows=given.rows))
        target = server.target()
        url = f"postgresql://{target.user}@:{target.port}/{target.dbname}?host={target.host}"
        settings = load_settings(env="dev", database_url=url, start=root, environ={})
        with connect(target) as conn:
            write_stamp(conn, Environment.DEVELOPMENT)
            conn.execute(SCHEMA)

            def empty() -> None:
                conn.execute("truncate orgs, users, forms, submissions; drop schema if exists pliers_seed cascade")

            def seed() -> None:
                with Database(target) as database:
                    run(database, settings)

            seed()
            tables = ("orgs", "users", "forms", "submissions")
            data = {}
            for table in tables:
                with conn.cursor() as cursor, cursor.copy(f"copy {table} to stdout".encode()) as copy:
                    data[table] = b"".join(bytes(piece) for piece in copy)

            def raw() -> None:
                for table in tables:
                    with conn.cursor() as cursor, cursor.copy(f"copy {table} from stdin".encode()) as copy:
                        for start in range(0, len(data[table]), 1 << 17):
                            copy.write(data[table][start : start + (1 << 17)])

            def seeded() -> None:
                empty()
                seed()

            times = measure(
                [Case("raw COPY", raw, empty), Case("run", seed, empty), Case("run again", seed, seeded)], given.rounds
            )
        print_ratios(
            f"{given.rows:,} submissions, 2 composite foreign keys, 4 indexes, 2 CHECKs", times, ["raw COPY", "run"]
        )


if __name__ == "__main__":
    main()
