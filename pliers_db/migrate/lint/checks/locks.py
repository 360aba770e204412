"""What holds up an application that is running: locks on tables that are in use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pliers_db.migrate.lint.checks.vectors import concurrently
from pliers_db.migrate.lint.view import NO_TRANSACTION, Hit, View, alone, batches, index_name, migrations
from pliers_db.migrate.sqltree import joined, name_of, option, quoted, walk
from pliers_db.migrate.tablelocks import Lock


def several_tables(view: View) -> Iterator[Hit]:
    """A strong lock on a second table while the first is held."""
    if not view.source.transactional:
        return
    from pglast import ast

    held: dict[str, Lock] = {}
    by_table: dict[str, list[str]] = {}
    for statement in view.source.statements:
        if isinstance(statement.tree, ast.CreateStmt):
            continue  # the foreign keys of a new table are checked in no time
        strong = [lock for lock in view.locks(statement) if lock.mode >= Lock.SHARE_ROW_EXCLUSIVE and not lock.index]
        new = [lock for lock in strong if lock.relation not in held]
        # A foreign key between two tables locks both in one statement; that cannot be taken apart.
        others = sorted(set(held) - {lock.relation for lock in strong})
        if new and others:
            yield Hit(
                "PL030",
                statement.start,
                f"{new[0].relation} is locked ({new[0].mode}) while {others[0]} is still held ({held[others[0]]})",
                migrations("\n".join(by_table[others[0]]), f"{statement.sql.strip()};"),
            )
        for lock in strong:
            by_table.setdefault(lock.relation, []).append(f"{statement.sql.strip()};")
        held.update((lock.relation, max(lock.mode, held.get(lock.relation, lock.mode))) for lock in strong)


def work_under_lock(view: View) -> Iterator[Hit]:
    """Statements that take long, after one that stops reads or writes."""
    if not view.source.transactional:
        return
    held: dict[str, Lock] = {}
    lockers: list[str] = []
    for statement in view.source.statements:
        if (work := _long_work(statement.tree)) and held and not _only_new(view, statement.tree):
            table, mode = next(iter(held.items()))
            yield Hit(
                "PL031",
                statement.start,
                f"{work} while {table} is locked ({mode}): {mode.stops} wait until both are done",
                migrations("\n".join(lockers), _by_itself(statement.sql, statement.tree)),
            )
        strong = [lock for lock in view.locks(statement) if lock.mode >= Lock.SHARE_ROW_EXCLUSIVE and not lock.index]
        held.update((lock.relation, max(lock.mode, held.get(lock.relation, lock.mode))) for lock in strong)
        lockers += [f"{statement.sql.strip()};"] * bool(strong)


def _long_work(tree: Any) -> str:
    from pglast import ast

    match tree:
        case ast.UpdateStmt() | ast.DeleteStmt() | ast.MergeStmt():
            return "rows are changed"
        case ast.InsertStmt(selectStmt=select) if getattr(select, "fromClause", None):
            return "rows are copied"
        case ast.IndexStmt(concurrent=False):
            return "an index is built"
        case ast.RefreshMatViewStmt(skipData=False):
            return "a view is refreshed"
    return ""


def _only_new(view: View, tree: Any) -> bool:
    from pglast import ast

    if isinstance(tree, ast.InsertStmt):
        return False
    relation = getattr(tree, "relation", None)
    return relation is not None and name_of(relation) in view.created


def _by_itself(sql: str, tree: Any) -> str:
    from pglast import ast

    if isinstance(tree, ast.IndexStmt):
        return alone(concurrently(sql, tree))
    return f"{sql.strip()};"


def every_row(view: View) -> Iterator[Hit]:
    """UPDATE and DELETE without WHERE on a table with rows."""
    from pglast import ast

    for statement in view.source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.UpdateStmt | ast.DeleteStmt) or tree.whereClause is not None:
            continue
        if name_of(tree.relation) in view.created:
            continue
        yield Hit(
            "PL032",
            statement.start,
            f"changes every row of {name_of(tree.relation)} in one transaction",
            _batches_of(tree, statement.sql.strip()),
        )


def _batches_of(tree: Any, sql: str) -> str:
    from pglast import ast
    from pglast.stream import RawStream

    table = quoted(name_of(tree.relation))
    if isinstance(tree, ast.DeleteStmt):
        return batches(table, f"delete from {table}", "true")
    column, value = quoted(str(tree.targetList[0].name)), tree.targetList[0].val
    if len(tree.targetList) == 1 and isinstance(value, ast.A_Const | ast.TypeCast) and not tree.fromClause:
        return batches(table, sql, f"{column} is distinct from {RawStream()(value)}")
    return (
        f"{NO_TRANSACTION}\n-- by ranges of the key: no row is changed twice (interrupted, it begins anew)\n"
        f"do $$\ndeclare\n    low bigint := 0;\nbegin\n    while low <= (select max(id) from {table}) loop\n"
        f"        {sql}\n        where {table}.id >= low and {table}.id < low + 10000;\n        commit;\n"
        "        low := low + 10000;\n    end loop;\nend\n$$;"
    )


def enum_values(view: View) -> Iterator[Hit]:
    """ALTER TYPE … ADD VALUE, and the value further down."""
    from pglast import ast

    if not view.source.transactional:
        return
    added: dict[str, tuple[str, str]] = {}
    made: set[str] = set()
    for statement in view.source.statements:
        tree = statement.tree
        if isinstance(tree, ast.CreateEnumStmt):
            made.add(joined(tree.typeName))  # the values of a type that is not committed either may be used
        if (
            isinstance(tree, ast.AlterEnumStmt)
            and tree.newVal
            and not tree.oldVal
            and joined(tree.typeName) not in made
        ):
            added[tree.newVal] = joined(tree.typeName), statement.sql.strip()
            continue
        if not added or isinstance(tree, ast.CommentStmt):
            continue
        for node in walk(tree):
            value = getattr(getattr(node, "val", None), "sval", None) if isinstance(node, ast.A_Const) else None
            if value in added:
                type_, how = added[value]
                yield Hit(
                    "PL033",
                    statement.start,
                    f"{value!r} was added to {type_} further up, and is not committed yet",
                    migrations(f"{how};", f"{statement.sql.strip()};"),
                )
                break


def rewrites(view: View) -> Iterator[Hit]:
    """What copies a table under its strongest lock, beside squawk's ALTER COLUMN TYPE."""
    from pglast import ast, enums

    kinds = enums.AlterTableType
    what = {
        kinds.AT_SetLogged: "SET LOGGED",
        kinds.AT_SetUnLogged: "SET UNLOGGED",
        kinds.AT_SetTableSpace: "SET TABLESPACE",
        kinds.AT_SetAccessMethod: "SET ACCESS METHOD",
    }
    for statement in view.source.statements:
        tree = statement.tree
        named = getattr(tree, "relation", None)
        if named is not None and name_of(named) in view.created:
            continue
        if isinstance(tree, ast.AlterTableStmt) and tree.objtype == enums.ObjectType.OBJECT_TABLE:
            for command in tree.cmds or ():
                if command.subtype in what:
                    logged = command.subtype in (kinds.AT_SetLogged, kinds.AT_SetUnLogged)
                    safe = "-- on a small table, or in a maintenance window" if logged else _REPACK
                    yield Hit("PL034", statement.start, f"{what[command.subtype]} copies {name_of(named)}", safe)
        elif isinstance(tree, ast.ClusterStmt) and named is not None:
            yield Hit("PL034", statement.start, f"CLUSTER copies {name_of(named)}", _REPACK)
        elif isinstance(tree, ast.VacuumStmt) and option(tree.options, "full"):
            yield Hit("PL034", statement.start, "VACUUM FULL copies the table", _REPACK)


_REPACK = "-- in a maintenance window, or online from a shell:\n-- pg_repack --table=… (or pg_squeeze)"


def refreshed_views(view: View) -> Iterator[Hit]:
    """REFRESH without CONCURRENTLY."""
    from pglast import ast

    for statement in view.source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.RefreshMatViewStmt) or tree.concurrent or tree.skipData:
            continue
        name = name_of(tree.relation)
        if name not in view.created:
            yield Hit(
                "PL035",
                statement.start,
                f"nobody reads {name} until it is refreshed",
                f"-- needs a unique index on the view's plain columns, without WHERE\n"
                f"refresh materialized view concurrently {quoted(name)};",
            )


def locked_tables(view: View) -> Iterator[Hit]:
    """LOCK TABLE in a mode that stops writes."""
    from pglast import ast

    for statement in view.source.statements:
        tree = statement.tree
        if isinstance(tree, ast.LockStmt) and (tree.mode or 0) >= Lock.SHARE:
            names = ", ".join(name_of(r) for r in tree.relations or ())
            mode = Lock(tree.mode or 0)
            yield Hit(
                "PL036",
                statement.start,
                f"LOCK TABLE … IN {mode} MODE on {names}: {mode.stops} wait until the migration ends",
                "-- leave it to the statements: each takes the lock that it needs",
            )


def attached_partitions(view: View) -> Iterator[Hit]:
    """ATTACH PARTITION of a table that was there, without a CHECK to lean on."""
    from pglast import ast, enums

    for statement in view.source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.AlterTableStmt):
            continue
        for command in tree.cmds or ():
            if command.subtype != enums.AlterTableType.AT_AttachPartition or command.def_.bound is None:
                continue
            child = name_of(command.def_.name)
            checked = any(c.validated for c in view.before.table(child).checks.values())
            if child in view.created or checked:
                continue
            name = f"{child.rpartition('.')[2]}_bounds"
            yield Hit(
                "PL037",
                statement.start,
                f"{child} is read from end to end under ACCESS EXCLUSIVE, to see that its rows fit",
                migrations(
                    f"alter table {quoted(child)} add constraint {name} "
                    "check (… the bounds, and the key is not null …) not valid;",
                    f"alter table {quoted(child)} validate constraint {name};",
                    f"{statement.sql.strip()};\nalter table {quoted(child)} drop constraint {name};",
                ),
            )


def partitioned_indexes(view: View) -> Iterator[Hit]:
    """CREATE INDEX on a partitioned table that has partitions."""
    from pglast import ast

    for statement in view.source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.IndexStmt):
            continue
        table = name_of(tree.relation)
        if table in view.created or not view.before.table(table).partitioned or not getattr(tree.relation, "inh", True):
            continue
        name = tree.idxname or index_name(tree)
        what = "CONCURRENTLY is refused on" if tree.concurrent else "every partition is locked against writes: index on"
        plain = statement.sql.strip()
        head, _, rest = plain.partition(plain[plain.lower().index(" on ") : plain.lower().index(" on ") + 4])
        head = head.replace(" concurrently", "").replace(" CONCURRENTLY", "")
        if not tree.idxname:
            head += f" {name}"
        body = rest[rest.index("(") :]
        build = "create unique index" if tree.unique else "create index"
        yield Hit(
            "PL038",
            statement.start,
            f"{what} the partitioned table {table}",
            migrations(
                f"{head} on only {quoted(table)} {body}; -- INVALID until all its parts are there",
                alone(
                    f"{build} concurrently {name}_p1 on PARTITION {body}",
                    f"alter index {name} attach partition {name}_p1",
                    "-- … and so for each partition; the last one makes the index valid",
                ),
            ),
        )


def unnamed_indexes(view: View) -> Iterator[Hit]:
    """CONCURRENTLY with IF NOT EXISTS, or without a name."""
    from pglast import ast

    for statement in view.source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.IndexStmt) or not tree.concurrent:
            continue
        table = name_of(tree.relation)
        if not tree.idxname:
            text = statement.sql.strip()
            at = text.lower().index("concurrently") + len("concurrently")
            yield Hit(
                "PL039",
                statement.start,
                f"the index on {table} has no name",
                alone(f"{text[:at]} {index_name(tree)}{text[at:]}"),
            )
        elif tree.if_not_exists:
            text = " ".join(statement.sql.split())
            at = text.lower().index(" if not exists")
            yield Hit(
                "PL039",
                statement.start,
                f"IF NOT EXISTS takes an INVALID {tree.idxname} for done",
                alone(text[:at] + text[at + len(" if not exists") :]) + " -- `migrate up` drops an INVALID one first",
            )


def checked_columns(view: View) -> Iterator[Hit]:
    """ADD COLUMN with a CHECK of its own."""
    from pglast import ast, enums

    for statement in view.source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.AlterTableStmt) or tree.relation is None or name_of(tree.relation) in view.created:
            continue
        table = name_of(tree.relation)
        for command in tree.cmds or ():
            column = command.def_
            if (
                command.subtype != enums.AlterTableType.AT_AddColumn
                or not isinstance(column, ast.ColumnDef)
                or not column.colname
            ):
                continue
            for constraint in column.constraints or ():
                if constraint.contype == enums.ConstrType.CONSTR_CHECK:
                    name = constraint.conname or f"{table.rpartition('.')[2]}_{column.colname}_check"
                    yield Hit(
                        "PL046",
                        statement.start,
                        f"{table} is read from end to end to check {column.colname}, which has one value in all rows",
                        migrations(
                            f"alter table {quoted(table)} add column {quoted(column.colname)} …;\n"
                            f"alter table {quoted(table)} add constraint {name} check (…) not valid;",
                            f"alter table {quoted(table)} validate constraint {name};",
                        ),
                    )


def exclusions(view: View) -> Iterator[Hit]:
    """ADD CONSTRAINT … EXCLUDE on a table that was there."""
    from pglast import ast, enums

    for statement in view.source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.AlterTableStmt) or tree.relation is None or name_of(tree.relation) in view.created:
            continue
        for command in tree.cmds or ():
            if getattr(command.def_, "contype", None) == enums.ConstrType.CONSTR_EXCLUSION:
                table = name_of(tree.relation)
                yield Hit(
                    "PL047",
                    statement.start,
                    f"nobody reads or writes {table} while the index of the constraint is built",
                    f"-- small table: say so. -- lint: ignore PL047 {table} has some hundred rows\n"
                    "-- large one: a new table with the constraint, filled by a trigger and in batches, then renamed",
                )


CHECKS = (
    several_tables,
    work_under_lock,
    every_row,
    enum_values,
    rewrites,
    refreshed_views,
    locked_tables,
    attached_partitions,
    partitioned_indexes,
    unnamed_indexes,
    checked_columns,
    exclusions,
)
