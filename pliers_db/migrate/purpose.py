"""What a statement reads tables for, and what it does where that cannot be watched; asked of the parser. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pliers_db.migrate.impact import ACCESS_EXCLUSIVE, Kind


@dataclass(frozen=True, slots=True)
class Known:
    """What PostgreSQL's documentation says about a statement that runs outside a transaction."""

    relation: str | None
    """Table or index, as the statement names it; None: the whole database."""
    effects: tuple[tuple[Kind, str, str], ...]
    """Kind, mode of the lock, and what it means."""


_LIGHT = (Kind.LOCK, "SHARE UPDATE EXCLUSIVE", "reads and writes go on; VACUUM and other changes of the schema wait")
_HEAVY = (Kind.LOCK, ACCESS_EXCLUSIVE, "every query on it waits, reads too")


def purpose_of(sql: str) -> str:
    """What a statement reads whole tables for; empty if that is not clear."""
    from pglast import ast, enums

    sub = enums.AlterTableType
    contype = enums.ConstrType
    match _tree(sql):
        case ast.IndexStmt() | ast.ReindexStmt():
            return "to build the index"
        case ast.UpdateStmt() | ast.DeleteStmt() | ast.MergeStmt():
            return "to find the rows that it changes"
        case ast.InsertStmt() | ast.CreateTableAsStmt() | ast.SelectStmt():
            return "its query reads it"
        case ast.RefreshMatViewStmt():
            return "to compute the view"
        case ast.AlterTableStmt(cmds=commands):
            for command in commands or ():
                constraint = getattr(command, "def_", None)
                kind = getattr(constraint, "contype", None)
                if command.subtype == sub.AT_SetNotNull or kind == contype.CONSTR_NOTNULL:
                    return "to prove that no value is NULL"
                if command.subtype == sub.AT_ValidateConstraint:
                    return "to check each row against the constraint"
                if command.subtype == sub.AT_AttachPartition:
                    return "to prove that its rows belong into the partition"
                if kind == contype.CONSTR_FOREIGN:
                    return "to check each reference"
                if kind in (contype.CONSTR_UNIQUE, contype.CONSTR_PRIMARY, contype.CONSTR_EXCLUSION):
                    return "to build the index"
                if kind == contype.CONSTR_CHECK:
                    return "to check each row against the constraint"
            return "to check each row"
    return ""


def truncates(sql: str) -> bool:
    """Whether a statement is a TRUNCATE."""
    from pglast import ast

    return isinstance(_tree(sql), ast.TruncateStmt)


def known_of(sql: str) -> Known | None:
    """What is known about a statement that cannot run in a transaction; None: nothing."""
    from pglast import ast

    match _tree(sql):
        case ast.IndexStmt(concurrent=True, relation=relation):
            return Known(_name(relation), (_LIGHT, (Kind.SCAN, "", "twice, to build the index")))
        case ast.DropStmt(concurrent=True, objects=objects):
            names = [part.sval for part in objects[0]] if objects else []
            return Known(".".join(names), (_LIGHT,))
        case ast.ReindexStmt(relation=relation, params=params):
            concurrently = any(p.defname == "concurrently" for p in params or ())
            name = _name(relation) if relation else None
            return Known(name, (_LIGHT,)) if concurrently else None
        case ast.VacuumStmt(is_vacuumcmd=True, rels=rels, options=options):
            full = any(o.defname == "full" for o in options or ())
            name = _name(rels[0].relation) if rels and len(rels) == 1 else None
            return Known(name, (_HEAVY, (Kind.REWRITE, "", "VACUUM FULL")) if full else (_LIGHT,))
    return None


def _tree(sql: str) -> object:
    from pglast import parser

    try:
        return parser.parse_sql(sql)[0].stmt
    except (parser.ParseError, IndexError):  # the server's grammar may be newer
        return None


def _name(relation: object) -> str:
    parts = (getattr(relation, "schemaname", None), getattr(relation, "relname", None))
    return ".".join(part for part in parts if part)
