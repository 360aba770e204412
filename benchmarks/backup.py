"""Backup, restore and verify beside PostgreSQL's own programs, as ratios of one run.

python benchmarks/backup.py [--megabytes 1000] [--rounds 3] [--only backup,restore,verify]

The database: orders (numbers, dates, text), events (jsonb with a GIN index), documents (vectors with an HNSW index) and
customers. The raw recipes are those that make files of about the usual size (at most 1.25 times that of pg_dump -Fc);
the fastest of them is the baseline.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from measure import Case, measure, print_ratios

from pliers_db.backup import Options, Repository, create_backup
from pliers_db.config import Environment, Target
from pliers_db.db import Database, connect, write_stamp
from pliers_db.postgres import Binaries, Server, find_binaries, scratch_server
from pliers_db.restore import Wishes, find_material, restore, verify

# Rows for one megabyte of pg_database_size, indexes included; measured once on 18.6.
SCHEMA = """
create extension if not exists vector;
create table customers (id int primary key, name text, email text, city text);
create table orders (id bigint primary key, customer int, placed date, total numeric(12, 2), note text);
create table events (id bigint primary key, at timestamptz, body jsonb);
create table documents (id int primary key, title text, embedding vector(384));
insert into customers select i, 'Customer ' || i, md5(i::text) || '@example.org', 'City ' || i % 400
    from generate_series(1, {n} * 200) i;
insert into orders select i, i % ({n} * 200) + 1, date '2024-01-01' + (i % 900)::int,
    (i % 9973 * 7919 % 100000) / 100.0, md5(i::text) from generate_series(1, {n} * 1200) i;
insert into events select i, now() - i * interval '7 seconds', jsonb_build_object('kind', 'k' || i % 40,
    'user', i % 9999, 'path', '/a/' || md5(i::text), 'ms', i % 1700) from generate_series(1, {n} * 600) i;
insert into documents select i, 'Title ' || i, (select array_agg(round(random()::numeric, 6)) from
    generate_series(1, 384) where i > 0)::real[]::vector from generate_series(1, {n} * 45) i;
create index on orders (customer);
create index on orders (placed, total);
create index on orders using gin (to_tsvector('simple', note));
create index on events (at);
create index on events using gin (body jsonb_path_ops);
create index on customers (email);
set maintenance_work_mem = '1GB';
create index on documents using hnsw (embedding vector_cosine_ops);
alter table orders add foreign key (customer) references customers;
vacuum analyze
"""
RECIPES: Mapping[str, list[str]] = {
    "pg_dump -Fc (as cron lines have it)": ["-Fc"],
    "pg_dump -Fc -Z1": ["-Fc", "-Z1"],
    "pg_dump -Fd -j2 -Z1": ["-Fd", "-j2", "-Z1"],
    "pg_dump -Fd -j2 zstd:1": ["-Fd", "-j2", "--compress=zstd:1"],
    "pg_dump -Fc zstd:1": ["-Fc", "--compress=zstd:1"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="backup,restore,verify")
    options = parser.parse_args()
    wanted = options.only.split(",")
    with (
        scratch_server(settings={"shared_buffers": "1GB", "max_wal_size": "8GB"}) as server,
        tempfile.TemporaryDirectory() as place,
    ):
        target = build(server, options.megabytes)
        work = Path(place)
        if "backup" in wanted:
            backups(server, target, work, options.rounds)
        if "restore" in wanted or "verify" in wanted:
            restores(server, target, work, options.rounds, wanted)


def build(server: Server, megabytes: int) -> Target:
    with connect(server.target()) as conn:
        conn.execute("create database bench")
    target = server.target("bench")
    with connect(target) as conn:
        for statement in SCHEMA.format(n=max(1, megabytes)).split(";"):
            conn.execute(statement.encode())
        write_stamp(conn, Environment.TEST)
        row = conn.execute("select pg_size_pretty(pg_database_size('bench'))").fetchone()
    print(f"database: {row[0] if row else '?'} on PostgreSQL {server.binaries.major}, {os.cpu_count()} cores")
    return target


def raw_dump(binaries: Binaries, target: Target, arguments: list[str], to: Path) -> Callable[[], None]:
    def run() -> None:
        command = [str(binaries.program("pg_dump")), *arguments, f"--file={to}"]
        subprocess.run(command, env=target.child_environment(), check=True)

    return run


def remove(path: Path) -> Callable[[], None]:
    def run() -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    return run


def size_of(path: Path) -> int:
    return sum(f.stat().st_size for f in path.rglob("*")) if path.is_dir() else path.stat().st_size


def backups(server: Server, target: Target, work: Path, rounds: int) -> None:
    binaries = find_binaries(server.binaries.major)
    cases, sizes = [], {}
    for name, arguments in RECIPES.items():
        to = work / "raw"
        remove(to)()
        try:
            raw_dump(binaries, target, arguments, to)()
        except subprocess.CalledProcessError:
            print(f"left out: {name}: this pg_dump cannot")
            continue
        sizes[name] = size_of(to)
        cases.append(Case(name, raw_dump(binaries, target, arguments, to), remove(to)))

    def ours(hashes: bool) -> Callable[[], None]:
        def run() -> None:
            with Database(target, one_shot=True) as database:
                create_backup(database, Repository(work / "backups"), Options(hashes=hashes))

        return run

    cases.append(Case("backup create --no-digests", ours(False), remove(work / "backups")))
    cases.append(Case("backup create", ours(True), remove(work / "backups")))
    times = measure(cases, rounds)
    ours(True)()
    sizes["backup create"] = Repository(work / "backups").backups()[0].manifest.size_bytes  # type: ignore[union-attr]
    cron = next(iter(RECIPES))
    for name, size in sizes.items():
        print(f"  size of {name}: {size / sizes[cron]:.2f} of -Fc")
    raw = [name for name in RECIPES if name in times and sizes[name] <= 1.25 * sizes[cron]]
    fastest = min(raw, key=lambda name: sorted(times[name])[len(times[name]) // 2])
    print_ratios("backup", times, [cron, fastest])


def restores(server: Server, target: Target, work: Path, rounds: int, wanted: list[str]) -> None:
    binaries = find_binaries(server.binaries.major)
    custom, directory = work / "raw.dump", work / "raw.dir"
    raw_dump(binaries, target, ["-Fc", "-Z1"], custom)()
    raw_dump(binaries, target, ["-Fd", "-j2", "-Z1"], directory)()
    repository = Repository(work / "backups")
    if not repository.backups():
        with Database(target, one_shot=True) as database:
            create_backup(database, repository)

    def recreate() -> None:
        with connect(server.target()) as conn:
            for (name,) in conn.execute("select datname from pg_database where datname like 'copy%'").fetchall():
                conn.execute(f'drop database "{name}" with (force)'.encode())
            conn.execute("create database copy template template0")
            conn.execute("checkpoint")

    def raw(archive: Path, arguments: list[str], settings: str = "", at: Server = server) -> Callable[[], None]:
        def run() -> None:
            command = [str(binaries.program("pg_restore")), "--dbname=copy", *arguments, str(archive)]
            environment = {**at.target("copy").child_environment(), "PGOPTIONS": settings}
            subprocess.run(command, env=environment, check=True)

        return run

    def gone() -> None:
        recreate()
        with connect(server.target()) as conn:
            conn.execute("drop database copy")

    tuned = "-c maintenance_work_mem=1GB -c max_parallel_maintenance_workers=2 -c synchronous_commit=off"
    copy = server.target("copy")

    def ours() -> None:
        material = find_material(repository, "latest", "bench")
        restore(copy, material, repository, environment=Environment.TEST, wishes=Wishes(jobs=2))

    if "restore" in wanted:
        cases = [
            Case("pg_restore (as people type it)", raw(custom, []), recreate),
            Case("pg_restore -Fd -j2, tuned", raw(directory, ["-j2"], tuned), recreate),
            Case("pg_restore -Fc -j2, tuned", raw(custom, ["-j2"], tuned), recreate),
            Case("restore", ours, gone),
        ]
        times = measure(cases, rounds)
        fastest = min(list(times)[:3], key=lambda name: sorted(times[name])[len(times[name]) // 2])
        print_ratios("restore", times, ["pg_restore (as people type it)", fastest])
    if "verify" in wanted:
        backup = repository.backups()[0]

        def raw_scratch() -> None:
            scratch = {"wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "16GB", "shared_buffers": "1GB"}
            with scratch_server(server.binaries, scratch) as other:
                with connect(other.target()) as conn:
                    conn.execute("create database copy template template0")
                raw(directory, ["-j2"], tuned, other)()

        cases = [
            Case("raw restore into a scratch server", raw_scratch),
            Case("backup verify", lambda: verify(backup, repository)),
        ]
        print_ratios("verify", measure(cases, rounds), ["raw restore into a scratch server"])


if __name__ == "__main__":
    main()
