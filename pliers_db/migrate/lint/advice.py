"""The safe way to write what squawk warns of, with the names of the statement in it; and when squawk need not worry.

squawk sees one file. What the migrations before it have built makes some of its warnings untrue: SET NOT NULL does not
scan below a validated CHECK, and CONCURRENTLY does not work on a partitioned table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pliers_db.migrate.lint.built import Built
from pliers_db.migrate.lint.checks.vectors import concurrently
from pliers_db.migrate.lint.source import Parsed
from pliers_db.migrate.lint.squawk import Remark
from pliers_db.migrate.lint.view import View, alone, batches, index_name, migrations
from pliers_db.migrate.sqltree import joined, name_of, quoted, type_modifiers, type_name

# What is no danger on a table that the same migration has made.
_ON_USED_TABLES = (
    "adding-field-with-default",
    "adding-foreign-key-constraint",
    "adding-not-nullable-field",
    "adding-required-field",
    "adding-serial-primary-key-field",
    "ban-drop-column",
    "ban-drop-constraint",
    "ban-drop-not-null",
    "ban-drop-table",
    "changing-column-type",
    "constraint-missing-not-valid",
    "disallowed-unique-constraint",
    "renaming-column",
    "renaming-table",
    "require-concurrent-index-creation",
    "require-concurrent-index-deletion",
)


def unfounded(remark: Remark, statement: Parsed | None, view: View) -> bool:
    """Whether what the other migrations say makes a warning untrue, or one of our rules says it better."""
    tree = statement.tree if statement else None
    if tree is None:
        return False
    table = _table(tree)
    if remark.rule in _ON_USED_TABLES and table in view.created:
        return True
    match remark.rule:
        case "adding-not-nullable-field":
            command = _command(statement, "AT_SetNotNull", remark)
            return command is not None and _proven(view.before, table, command.name)
        case "ban-drop-constraint":
            command = _command(statement, "AT_DropConstraint", remark)
            return command is not None and _served(view, table, command.name)
        case "require-concurrent-index-creation":
            # PL038 says how; ON ONLY is the first step of it.
            return view.before.table(table).partitioned or not tree.relation.inh
        case "constraint-missing-not-valid":
            # Of keys a rule of their own says it, and NOT VALID exists for CHECK and foreign keys only.
            constraint = _constraint(statement, remark)
            kind = getattr(getattr(constraint, "contype", None), "name", "")
            return kind in ("CONSTR_FOREIGN", "CONSTR_UNIQUE", "CONSTR_PRIMARY", "CONSTR_EXCLUSION")
        case "changing-column-type":
            command = _command(statement, "AT_AlterColumnType", remark)
            return command is not None and _widens(view.before, table, command)
    return False


def _proven(built: Built, table: str, column: str) -> bool:
    return any(c.validated and c.not_null == column for c in built.table(table).checks.values())


def _served(view: View, table: str, constraint: str) -> bool:
    """Whether it is the CHECK that only made SET NOT NULL cheap, and that is set in this file."""
    check = view.before.table(table).checks.get(constraint)
    if check is None or check.not_null is None:
        return False
    return any(
        command.subtype.name == "AT_SetNotNull" and command.name == check.not_null
        for statement in view.source.statements
        if _table(statement.tree) == table
        for command in getattr(statement.tree, "cmds", None) or ()
    )


def _widens(built: Built, table: str, command: Any) -> bool:
    """Whether PostgreSQL only changes the catalog: varchar(n) to a longer one or to text."""
    old = built.table(table).columns.get(command.name)
    if old is None or old.type not in ("varchar", "text") or command.def_.raw_default is not None:
        return False
    new, size = type_name(command.def_.typeName), type_modifiers(command.def_.typeName)
    if new == "text" or (new == "varchar" and not size):
        return True
    return new == "varchar" and bool(old.modifiers) and size >= old.modifiers


def message_of(remark: Remark, statement: Parsed | None) -> str:
    """What squawk says, or what it means where it says something else: a default is not a generated column."""
    column = _command(statement, "AT_AddColumn", remark) if remark.rule == "adding-field-with-default" else None
    if column is None or statement is None:
        return remark.message
    kinds = {c.contype.name for c in column.def_.constraints or ()}
    what = (
        "its default is computed for each row"
        if "CONSTR_DEFAULT" in kinds
        else "each row gets a number"
        if "CONSTR_IDENTITY" in kinds
        else "it is computed and stored for each row"
    )
    return f"{_table(statement.tree)} is rewritten to add {column.def_.colname}: {what}"


# ── the safe way ────────────────────────────────────────────────────────────────────────────────────────────
def safe_way(remark: Remark, statement: Parsed | None, view: View) -> str:
    """SQL to paste; empty where there is none."""
    if statement is None or statement.tree is None:
        return remark.help
    write = _SAFE.get(remark.rule) or (_drop if remark.rule.startswith("ban-drop-") else None)
    return write(remark, statement, view) if write else remark.help


def _index(remark: Remark, statement: Parsed, view: View) -> str:
    tree = statement.tree
    text = concurrently(statement.sql, tree)
    if not tree.idxname:
        text = text.replace("concurrently on", f"concurrently {index_name(tree)} on")
    return alone(text.replace(" if not exists", ""))


def _drop_index(remark: Remark, statement: Parsed, view: View) -> str:
    return alone(*(f"drop index concurrently {quoted(joined(parts))}" for parts in statement.tree.objects))


def _not_valid(remark: Remark, statement: Parsed, view: View) -> str:
    from pglast.stream import RawStream

    constraint, column = _constraint(statement, remark), _new_column(statement, remark)
    bare = _table(statement.tree)
    table = quoted(bare)
    if constraint is None:  # VALIDATE beside the ADD
        command = _command(statement, "AT_ValidateConstraint", remark)
        if command is None:
            return remark.help
        return migrations(
            f"-- add constraint {command.name} … not valid",
            f"alter table {table} validate constraint {quoted(command.name)};",
        )
    foreign = constraint.contype.name == "CONSTR_FOREIGN"
    word = "fkey" if foreign else "check"
    parts = [bare.rpartition(".")[2], column.colname if column is not None else "", word]
    name = quoted(constraint.conname or "_".join(filter(None, parts)))
    if column is not None and foreign:
        keys = ", ".join(quoted(str(a.sval)) for a in constraint.pk_attrs or ())
        target = quoted(name_of(constraint.pktable)) + (f" ({keys})" if keys else "")
        rest = f"foreign key ({quoted(column.colname)}) references {target}"
        first = f"alter table {table} add column {quoted(column.colname)} {_written_type(column)};\n"
    else:
        written = RawStream()(constraint)
        rest = written.removeprefix(f"CONSTRAINT {name} ") if constraint.conname else written
        first = ""
    return migrations(
        f"{first}alter table {table} add constraint {name} {rest} not valid;",
        f"alter table {table} validate constraint {name}; -- reads it, and stops nobody",
    )


def _not_null(remark: Remark, statement: Parsed, view: View) -> str:
    command = _command(statement, "AT_SetNotNull", remark)
    bare = _table(statement.tree)
    table, column = quoted(bare), quoted(command.name)
    name = quoted(f"{bare.rpartition('.')[2]}_{command.name}_not_null")
    return migrations(
        f"alter table {table} add constraint {name} check ({column} is not null) not valid;",
        f"alter table {table} validate constraint {name};",
        f"alter table {table} alter {column} set not null; -- believes the constraint, reads nothing\n"
        f"alter table {table} drop constraint {name};",
    )


def _required(remark: Remark, statement: Parsed, view: View) -> str:
    column = _command(statement, "AT_AddColumn", remark).def_
    table, name = quoted(_table(statement.tree)), quoted(column.colname)
    type_ = _written_type(column)
    return (
        f"alter table {table} add column {name} {type_} not null default …; -- a constant: no rewrite\n"
        f"-- or without a default: add it nullable, fill it in batches, then see adding-not-nullable-field"
    )


def _default(remark: Remark, statement: Parsed, view: View) -> str:
    column = _command(statement, "AT_AddColumn", remark).def_
    table, name = quoted(_table(statement.tree)), quoted(column.colname)
    type_ = _written_type(column)
    kinds = {c.contype.name for c in column.constraints or ()}
    if "CONSTR_DEFAULT" in kinds:
        from pglast.stream import RawStream

        default = next(c for c in column.constraints if c.contype.name == "CONSTR_DEFAULT")
        value = RawStream()(default.raw_expr)
        return migrations(
            f"alter table {table} add column {name} {type_};\n"
            f"alter table {table} alter {name} set default {value}; -- for new rows",
            batches(table, f"update {table} set {name} = {value}", f"{name} is null"),
        )
    if "CONSTR_IDENTITY" in kinds:
        return (
            f"-- add it nullable, fill it in batches, then:\n"
            f"alter table {table} alter {name} add generated always as identity;"
        )
    if view.postgres >= 18:
        return f"alter table {table} add column {name} {type_} generated always as (…) virtual; -- computed when read"
    return f"alter table {table} add column {name} {type_};\n-- a trigger fills it on write; old rows in batches"


def _unique(remark: Remark, statement: Parsed, view: View) -> str:
    table, bare = quoted(_table(statement.tree)), _table(statement.tree).rpartition(".")[2]
    constraint, column = _constraint(statement, remark), _new_column(statement, remark)
    if constraint is None:
        return remark.help
    primary = constraint.contype.name == "CONSTR_PRIMARY"
    keys = [column.colname] if column is not None else [str(k.sval) for k in constraint.keys or ()]
    default = f"{bare}_pkey" if primary else "_".join([bare, *keys, "key"])
    name = quoted(constraint.conname or default)
    build = alone(f"create unique index concurrently {name} on {table} ({', '.join(quoted(k) for k in keys)})")
    use = f"alter table {table} add constraint {name} {'primary key' if primary else 'unique'} using index {name};"
    if column is None:
        return migrations(build, use)
    add = f"alter table {table} add column {quoted(column.colname)} {_written_type(column)}; -- and fill it, in batches"
    return migrations(add, build, use)


def _type(remark: Remark, statement: Parsed, view: View) -> str:
    command = _command(statement, "AT_AlterColumnType", remark)
    table, old = quoted(_table(statement.tree)), command.name
    new = quoted(f"{old}_new")
    return migrations(
        f"alter table {table} add column {new} {_written_type(command.def_)}; -- and a trigger that fills it on write",
        batches(table, f"update {table} set {new} = {quoted(old)}", f"{new} is null and {quoted(old)} is not null"),
        f"-- lint: ignore ban-drop-column no version of the application reads {old} any more\n"
        f"alter table {table} drop column {quoted(old)};",
    )


def _rename_column(remark: Remark, statement: Parsed, view: View) -> str:
    tree = statement.tree
    table, old, new = quoted(_table(tree)), quoted(tree.subname), quoted(tree.newname)
    return (
        f"-- add {new}, let a trigger keep both alike, fill old rows in batches, move clients, drop {old};\n"
        f"-- or keep the column and let a view show the new name:\n"
        f"create view {table}_v as select *, {old} as {new} from {table};"
    )


def _rename_table(remark: Remark, statement: Parsed, view: View) -> str:
    tree = statement.tree
    old, bare = _table(tree), quoted(tree.newname)
    schema, _, _ = old.rpartition(".")
    old, new = quoted(old), f"{quoted(schema)}.{bare}" if schema else bare
    return (
        f"alter table {old} rename to {bare};\ncreate view {old} as select * from {new}; -- in the same migration: "
        "the old name goes on working\n-- drop the view when nobody uses it"
    )


def _drop_column(remark: Remark, statement: Parsed, view: View) -> str:
    command = _command(statement, "AT_DropColumn", remark)
    table, column = quoted(_table(statement.tree)), quoted(command.name)
    return (
        f"-- first release an application that does not name {column} (an INSERT must do without it, too), then:\n"
        f"-- lint: ignore ban-drop-column unused since release …\nalter table {table} drop column {column};"
    )


def _drop_table(remark: Remark, statement: Parsed, view: View) -> str:
    names = [joined(parts) for parts in statement.tree.objects]
    unused = {name: quoted(name.rpartition(".")[2] + "_unused") for name in names}
    renames = "\n".join(f"alter table {quoted(name)} rename to {unused[name]};" for name in names)
    drops = ", ".join(quoted(f"{name}_unused") for name in names)
    return (
        f"{renames} -- comes back in a second\n-- a release later, and after a backup:\n"
        f"-- lint: ignore ban-drop-table unused since release …\ndrop table {drops};"
    )


def _drop(remark: Remark, statement: Parsed, view: View) -> str:
    return (
        "-- when no version of the application needs it any more:\n"
        f"-- lint: ignore {remark.rule} unused since release …\n{statement.sql.strip()};"
    )


def _detach(remark: Remark, statement: Parsed, view: View) -> str:
    command = _command(statement, "AT_DetachPartition", remark)
    table = quoted(_table(statement.tree))
    return alone(f"alter table {table} detach partition {quoted(name_of(command.def_.name))} concurrently")


def _reindex(remark: Remark, statement: Parsed, view: View) -> str:
    text = " ".join(statement.sql.split())
    return alone(re.sub(r"\b(index|table|schema|database|system)\b", r"\1 concurrently", text, count=1, flags=re.I))


def _enum(remark: Remark, statement: Parsed, view: View) -> str:
    return f"{statement.sql.strip()} after '…';"


_SAFE: dict[str, Callable[[Remark, Parsed, View], str]] = {
    "adding-field-with-default": _default,
    "adding-foreign-key-constraint": _not_valid,
    "adding-not-nullable-field": _not_null,
    "adding-required-field": _required,
    "adding-serial-primary-key-field": _unique,
    "ban-drop-column": _drop_column,
    "ban-drop-table": _drop_table,
    "changing-column-type": _type,
    "constraint-missing-not-valid": _not_valid,
    "disallowed-unique-constraint": _unique,
    "renaming-column": _rename_column,
    "renaming-table": _rename_table,
    "require-concurrent-index-creation": _index,
    "require-concurrent-index-deletion": _drop_index,
    "require-concurrent-partition-detach": _detach,
    "require-concurrent-reindex": _reindex,
    "require-enum-value-ordering": _enum,
    "ban-char-field": lambda *_: "text",
    "prefer-bigint-over-int": lambda *_: "bigint",
    "prefer-bigint-over-smallint": lambda *_: "bigint",
    "prefer-identity": lambda *_: "bigint generated always as identity",
    "prefer-text-field": lambda *_: "text, and a constraint: check (length(…) <= 200)",
    "prefer-timestamp-tz": lambda *_: "timestamptz",
    "ban-truncate-cascade": lambda _, statement, __: (
        statement.sql.strip().lower().replace(" cascade", "") + "; -- and each table that refers to it, by name"
    ),
}


# ── the statement ───────────────────────────────────────────────────────────────────────────────────────────
def _table(tree: Any) -> str:
    relation = getattr(tree, "relation", None)
    return name_of(relation) if relation is not None and hasattr(relation, "relname") else ""


def _command(statement: Parsed | None, kind: str, remark: Remark) -> Any:
    """The subcommand of ALTER TABLE that a warning stands at, if it is of this kind."""
    found = _subcommand(statement, remark)
    return found if found is not None and found.subtype.name == kind else None


def _subcommand(statement: Parsed | None, remark: Remark) -> Any:
    """The subcommand of ALTER TABLE that a warning stands at: they are separated by commas outside parentheses."""
    commands = getattr(statement.tree, "cmds", None) or () if statement is not None else ()
    if len(commands) < 2 or statement is None:
        return commands[0] if commands else None
    from pglast import parser

    number = depth = 0
    for token in parser.scan(statement.sql):
        if token.start >= remark.offset - statement.start:
            break
        character = statement.sql[token.start : token.end + 1]
        depth += (character in ("(", "[")) - (character in (")", "]"))
        number += character == "," and depth == 0
    return commands[min(number, len(commands) - 1)]


def _constraint(statement: Parsed | None, remark: Remark) -> Any:
    """The constraint that is added where a warning stands, by itself or beside a column."""
    command = _subcommand(statement, remark)
    if command is None or command.subtype.name not in ("AT_AddConstraint", "AT_AddColumn"):
        return None
    if command.subtype.name == "AT_AddConstraint":
        return command.def_
    kinds = ("CONSTR_FOREIGN", "CONSTR_UNIQUE", "CONSTR_PRIMARY", "CONSTR_CHECK")
    return next((c for c in command.def_.constraints or () if c.contype.name in kinds), None)


def _new_column(statement: Parsed, remark: Remark) -> Any:
    """The column that is added where a warning stands; None if it is another subcommand."""
    command = _subcommand(statement, remark)
    return command.def_ if command is not None and command.subtype.name == "AT_AddColumn" else None


def _written_type(column: Any) -> str:
    from pglast.stream import RawStream

    return str(RawStream()(column.typeName))
