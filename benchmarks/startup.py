"""How long a command takes to start: ratios to a bare interpreter and to stock yoyo, in one run.

python benchmarks/startup.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from measure import Case, command, measure, print_ratios

from pliers_db.postgres import scratch_server

PLIERS = [sys.executable, "-m", "pliers_db"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    bare = Case("python -c pass", command(sys.executable, "-c", "pass"))
    parsing = [
        Case("pliers-db --help", command(*PLIERS, "--help")),
        Case("pliers-db --version", command(*PLIERS, "--version")),
        Case("pliers-db migrate --help", command(*PLIERS, "migrate", "--help")),
        Case("yoyo --help", command(sys.executable, "-m", "yoyo", "--help")),
    ]
    print_ratios("Commands that need no database", measure([bare, *parsing], rounds), [bare.name])

    with tempfile.TemporaryDirectory() as name, scratch_server() as server:
        folder = Path(name)
        (folder / "migrations").mkdir()
        for number in range(10):
            (folder / "migrations" / f"2026010100000{number}_t.sql").write_text(f"create table t{number} (id int);\n")
        target = server.target()
        url = f"postgresql://{target.user}@:{target.port}/{target.dbname}?host={target.host}"
        yoyo_url = f"postgresql+psycopg://{target.user}@/{target.dbname}?host={target.host}&port={target.port}"
        env = {**os.environ, "DATABASE_URL": url, "PLIERS_ENV": "test"}
        command(*PLIERS, "migrate", "up", cwd=folder, env=env)()
        stock = [sys.executable, "-m", "yoyo", "list", "-b", "--no-config-file", "-d", yoyo_url, folder / "migrations"]
        database = [
            Case("import yoyo, psycopg_pool", command(sys.executable, "-c", "import yoyo, psycopg_pool")),
            Case("pliers-db migrate status", command(*PLIERS, "migrate", "status", cwd=folder, env=env)),
            Case("pliers-db migrate up (nothing to do)", command(*PLIERS, "migrate", "up", cwd=folder, env=env)),
            Case("yoyo list", command(*stock, cwd=folder)),
        ]
        times = measure([bare, *database], rounds)
        print_ratios("Commands that ask the database, 10 migrations", times, [bare.name, "yoyo list"])


if __name__ == "__main__":
    main()
