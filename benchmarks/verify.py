"""`migrate verify` and `migrate trace` beside applying the same migrations: ratios of one run on a running server.

python benchmarks/verify.py [--sizes 100 300] [--rounds 3]

To verify a migration takes three runs of it and three looks at the catalog; with --rows its tables are filled, too.
What a migration takes in ms stands beside the ratio as information, not as a claim: it is this machine's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

from measure import Case, measure, print_ratios
from migrate import write_corpus

from pliers_db.migrate import Folder, read_folder
from pliers_db.migrate.bench import open_bench
from pliers_db.migrate.trace import trace
from pliers_db.migrate.verify import verify
from pliers_db.postgres import Server, scratch_server


def apply(server: Server, folder: Folder) -> None:
    """Run the files as verify does, once."""
    with open_bench("bench", server.target()) as bench:
        for file in folder.migrations:
            bench.run(file)


def proven(server: Server, folder: Folder, *, rows: bool) -> None:
    """Verify all of them."""
    found = verify(folder, [m.id for m in folder.migrations], rows=rows, scratch=server.target())
    assert found.passed(strict=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with scratch_server() as server, tempfile.TemporaryDirectory() as place:
        for size in options.sizes:
            write_corpus(Path(place), size)
            folder = read_folder(Path(place) / "migrations")
            ids = [m.id for m in folder.migrations]
            cases = [
                Case("apply", partial(apply, server, folder)),
                Case("verify", partial(proven, server, folder, rows=False)),
                Case("verify --rows", partial(proven, server, folder, rows=True)),
                Case("trace", partial(trace, folder, ids, scratch=server.target())),
            ]
            times = measure(cases, options.rounds)
            print_ratios(f"{size} migrations", times, ["apply"])
            for name, each in times.items():
                print(f"  {name:<15} {statistics.median(each) / size * 1000:6.1f} ms a migration")


if __name__ == "__main__":
    main()
