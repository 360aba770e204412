"""The catalog beside PostgreSQL's tools: a snapshot beside ``pg_dump --schema-only``, a digest beside COPY.

python benchmarks/catalog.py [--tables 1000] [--rows 300000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Callable

from measure import Case, measure, print_ratios

from pliers_db.catalog import diff, digest, digests, snapshot
from pliers_db.config import Target
from pliers_db.db import connect
from pliers_db.postgres import Server, scratch_server

TABLE = """
    create table t{n} (
        id bigint primary key, a text not null default 'x', b jsonb, c timestamptz default now(),
        d numeric check (d > 0), e integer[], f uuid, g text, h text, i text
    );
    create index on t{n} (a);
    create index on t{n} (g) where g is not null;
"""
BIG = """
    create table big as
    select n, md5(n::text) as a, jsonb_build_object('n', n, 'm', md5(n::text)) as b, now() as c
    from generate_series(1, {rows}) as n
"""


def dump(server: Server, target: Target, *options: str) -> Callable[[], None]:
    """Run pg_dump into nowhere."""
    at = ["-h", target.host, "-p", target.port, "-U", target.user, target.dbname]

    def run() -> None:
        with open(os.devnull, "wb") as nowhere:
            subprocess.run([server.binaries.program("pg_dump"), *options, *at], stdout=nowhere, check=True)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with scratch_server() as server, connect(server.target()) as conn:
        for first in range(0, options.tables, 100):
            numbers = range(first, min(first + 100, options.tables))
            conn.execute("".join(TABLE.format(n=n) for n in numbers).encode())
        conn.execute("analyze")
        target = server.target()
        before = snapshot(conn)
        objects = [
            Case("pg_dump --schema-only", dump(server, target, "--schema-only")),
            Case("snapshot", lambda: snapshot(conn)),
            Case("snapshot and diff", lambda: diff(before, snapshot(conn))),
            Case("digests of the empty tables", lambda: digests(conn)),
        ]
        title = f"{options.tables} tables with 10 columns, 3 indexes"
        print_ratios(title, measure(objects, options.rounds), ["pg_dump --schema-only"])

        conn.execute(BIG.format(rows=options.rows).encode())
        conn.execute("vacuum analyze big")
        with open(os.devnull, "wb") as nowhere:

            def copy() -> None:
                with conn.cursor() as cursor, cursor.copy("copy big to stdout") as rows:
                    for piece in rows:
                        nowhere.write(piece)

            contents = [
                Case("copy to nowhere", copy),
                Case("digest", lambda: digest(conn, "public.big")),
                Case("count", lambda: conn.execute("select count(*) from big").fetchall()),
            ]
            title = f"one table of {options.rows} rows"
            print_ratios(title, measure(contents, options.rounds), ["copy to nowhere"])


if __name__ == "__main__":
    main()
