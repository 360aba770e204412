"""Whether rows outlive a way there and back: what the tables held before and after, in words. Pure.

Two ways are looked at. Rows that were there before a migration must be the same after up and down: a rollback that
brings a dropped column back empty loses them. Rows that came after it must be the same after down and up, in what
both schemas have: a rollback that cuts a text off loses a part of it. What only `up` has (its new tables and columns)
goes with `down` by right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pliers_db.catalog import Change, Content, Difference, Snapshot, quoted
from pliers_db.migrate.roundtrip import Finding, Moment

Name = tuple[str, str]
Columns = Mapping[Name, tuple[str, ...]]


def shared_columns(before: Snapshot, after: Snapshot, among: Collection[str] | None = None) -> Columns:
    """The columns that tables have in both of two snapshots, sorted: another order of columns is no loss.

    :param among: only tables with these paths.
    """
    found = {}
    for table in before.tables:
        other = after.table(table.path)
        if table.kind not in ("table", "partitioned table") or table.partition_bound or other is None:
            continue
        if among is not None and table.path not in among:
            continue
        names = {c.name for c in table.columns} & {c.name for c in other.columns}
        if names:
            found[table.schema, table.name] = tuple(sorted(names))
    return found


def changed_tables(before: Snapshot, after: Snapshot) -> set[str]:
    """The tables of both snapshots that can hold other rows in the second one."""
    types = {t.path for t in after.types if t not in before.types}
    return {
        table.path
        for table in after.tables
        if (old := before.table(table.path)) is not None
        and (
            (old.columns, old.constraints) != (table.columns, table.constraints)
            or any(c.type.removesuffix("[]") in types for c in table.columns)
        )
    }


def empty_columns(held: Mapping[Name, Content]) -> list[str]:
    """The paths of columns that are NULL in every row: what a migration does to their values cannot be seen."""
    return [
        f"{quoted(schema)}.{quoted(table)}.{quoted(column)}"
        for (schema, table), content in held.items()
        for column, what in content.columns.items()
        if content.digest.rows and not what.values
    ]


def judge_rows(moment: Moment, before: Mapping[Name, Content], after: Mapping[Name, Content]) -> list[Finding]:
    """Say which rows are gone or not the same.

    :param moment: ROLLBACK for what has gone up and down, AGAIN for what has gone down and up.
    """
    way = "up and down" if moment is Moment.ROLLBACK else "down and up"
    found = []
    for (schema, name), held in before.items():
        path = f"{quoted(schema)}.{quoted(name)}"
        now = after.get((schema, name))
        if now is None or held == now:
            continue  # a table that is gone is a finding of the schema
        if held.digest.rows != now.digest.rows:
            text = f"table {path} held {held.digest.rows} rows, after {way} it holds {now.digest.rows}"
            found.append(_finding(moment, text, path, "rows", held.digest.rows, now.digest.rows))
            continue
        told = False
        for column, content in held.columns.items():
            other = now.columns.get(column)
            if other is None or other == content:
                continue
            told = True
            at = f"{path}.{quoted(column)}"
            if other.values < content.values:
                text = f"column {at} loses values: {content.values} of {held.digest.rows} rows held one, after {way} "
                text += f"{other.values} do" if other.values else "none does"
            else:
                text = f"column {at} holds other values after {way}"
                if other.least != content.least:
                    text += f" (the smallest was {_say(content.least)}, is {_say(other.least)})"
            found.append(_finding(moment, text, at, "values", content.least, other.least, "column"))
        if not told and held.digest != now.digest and held.columns.keys() == now.columns.keys():
            text = f"table {path}: after {way} its values stand in other rows"
            found.append(_finding(moment, text, path, "rows", held.digest.hash, now.digest.hash))
    return found


def _finding(
    moment: Moment, text: str, path: str, field: str, before: object, after: object, kind: str = "table"
) -> Finding:
    return Finding(moment, text, Difference(Change.CHANGED, kind, path, field, before, after))


def _say(value: str | None) -> str:
    return "null" if value is None else repr(value)
