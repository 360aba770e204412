"""pgvector: its version, and whether searches in its columns find an index."""

from __future__ import annotations

from pliers_db.health.check import Finding, Judgement, Rows, Skip, check
from pliers_db.health.limit import Limit
from pliers_db.health.outcome import Level
from pliers_db.health.situation import Situation
from pliers_db.units import format_count, format_size

# The newest first; the CHANGELOG of pgvector, read 2026-11-22.
_FIXES = (
    ((0, 8, 7), Level.WARN, "an overflow in IVFFlat (0.8.7)"),
    ((0, 8, 3), Level.WARN, "possible damage of HNSW indexes by vacuum (0.8.3)"),
    ((0, 8, 2), Level.FAIL, "CVE-2026-3172, an overflow in parallel HNSW builds (0.8.2)"),
)


def _parse(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


@check(
    "pgvector",
    "The version of pgvector has its important fixes",
    group="vectors",
    worst=Level.FAIL,
    fix="alter extension vector update;",
    sql="server.extensions",
)
def pgvector(rows: Rows, at: Situation) -> Judgement:
    row = next((row for row in rows if row["name"] == "vector"), None)
    if row is None:
        raise Skip("pgvector is not installed")
    missing = [(level, text) for version, level, text in _FIXES if _parse(row["installed"]) < version]
    if not missing:
        return Judgement(row["installed"])
    level = Level.FAIL if any(level is Level.FAIL for level, _ in missing) else Level.WARN
    newest = ".".join(map(str, _FIXES[0][0]))
    fix = (
        "alter extension vector update;"
        if _parse(row["available"] or "0") >= _FIXES[0][0]
        else f"Install pgvector {newest} on the server, then: alter extension vector update;"
    )
    message = f"pgvector {row['installed']} lacks the fix of {', '.join(text for _, text in missing)}"
    return Judgement("", [Finding(level, "version", message, fix)])


@check(
    "vectors",
    "Searches for neighbours find an index",
    group="vectors",
    worst=Level.WARN,
    fix="create index concurrently on TABLE using hnsw (COLUMN vector_cosine_ops);",
    sql="vectors.columns",
    limits={"vectors": Limit("count", 10_000)},
)
def vectors(rows: Rows, at: Situation) -> Judgement:
    columns = {(row["table_name"], row["column_name"]) for row in rows}
    if not columns:
        raise Skip("no column holds vectors")
    findings = []
    for row in rows:
        column = f"{row['table_name']}.{row['column_name']}"
        rows_here = row["rows"] or 0.0
        if row["dimensions"] == -1 and row["type"] != "sparsevec":
            message = f"{column} has no number of dimensions and cannot be indexed"
            fix = f"alter table {row['table_name']} alter column {row['column_name']} type {row['type']}(N);"
            findings.append(Finding(Level.WARN, f"{column} dimensions", message, fix))
        elif row["index_name"] is None and (level := at.level("vectors", rows_here)):
            message = f"{column} has {rows_here:,.0f} rows and no index: each search reads all"
            operators = f"{row['type']}_cosine_ops"
            fix = f"create index concurrently on {row['table_name']} using hnsw ({row['column_name']} {operators});"
            findings.append(Finding(level, f"{column} index", message, fix))
        elif row["method"] == "ivfflat" and rows_here / 1000 > 10 * (row["lists"] or 100):
            index, lists = row["index_name"], max(1, round(rows_here / 1000))
            message = f"{index} has {row['lists'] or 100} lists for {rows_here:,.0f} rows: the table has outgrown it"
            fix = f"alter index {index} set (lists = {lists}); reindex index concurrently {index};"
            findings.append(Finding(Level.WARN, f"{index} lists", message, fix))
        if (row["bytes"] or 0.0) > row["shared_buffers"]:
            message = (
                f"{row['index_name']} ({format_size(row['bytes'])}) is larger than shared_buffers "
                f"({format_size(row['shared_buffers'])}): searches read from disk"
            )
            findings.append(
                Finding(Level.WARN, f"{row['index_name']} size", message, "Raise shared_buffers, or use halfvec.")
            )
    return Judgement(f"{format_count(len(columns), 'column')}", findings, examined=len(columns))
