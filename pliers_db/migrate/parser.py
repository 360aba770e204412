"""What stands in a file of SQL, asked of PostgreSQL's own parser.

The parser (pglast) is imported only for files that may need it: those with a word that could be a problem, those
that run statement by statement, and those with an error to point at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pliers_db.errors import BadMigration

_TRANSACTION = re.compile(
    r"\b(?:begin|start\s+transaction|commit|end|rollback|abort|savepoint|release|prepare)\b", re.I
)
_OUTSIDE = re.compile(r"\b(?:concurrently|vacuum|alter\s+system|(?:create|drop)\s+(?:database|tablespace))\b", re.I)
_UNLOCKING = re.compile(r"\b(?:discard\s+all|pg_advisory_unlock_all)\b", re.I)
_META = re.compile(r"^[ \t]*\\[a-z!?]", re.I | re.M)
_COPY = re.compile(r"\bcopy\b[^;]*?\b(?:from\s+stdin|to\s+stdout)\b[^;\n]*", re.I)
_CODE = re.compile(r"(?:\s+|--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/|;)*")


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line and column count from 1."""

    line: int
    column: int
    source: str
    """The text of that line."""

    def caret(self) -> str:
        """The line with a caret below the position, as psql shows it."""
        number = f"{self.line} | "
        # Tabs stay tabs, so that the caret stands where the terminal puts them.
        before = "".join(c if c == "\t" else " " for c in self.source[: self.column - 1])
        return f"{number}{self.source}\n{' ' * (len(number) - 2)}| {before}^"


def place_of(text: str, offset: int) -> Place:
    """The line and column of an offset (in characters) into a text."""
    offset = min(max(offset, 0), len(text))
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    source = text[start : len(text) if end < 0 else end].rstrip("\r")
    return Place(text.count("\n", 0, offset) + 1, offset - start + 1, source)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a file."""

    sql: str
    start: int
    """Its offset in the file, in characters."""


def split(text: str) -> list[Statement]:
    """The statements of a file. What the parser does not understand is split by its scanner."""
    from pglast import parser

    try:
        slices = parser.split(text, only_slices=True)
    except parser.ParseError:
        try:
            slices = parser.split(text, with_parser=False, only_slices=True)
        except parser.ParseError:
            return []
    statements = []
    for piece in slices:
        # A statement begins behind the comments above it.
        lead = _CODE.match(text, piece.start, piece.stop)
        start = lead.end() if lead else piece.start
        statements.append(Statement(text[start : piece.stop], start))
    return statements


def syntax_error(text: str) -> tuple[int, str] | None:
    """Where the parser stumbles (an offset in characters) and what it says; None if all is well."""
    from pglast import parser

    try:
        parser.split(text)
    except parser.ParseError as error:
        message, offset = (*error.args, None)[:2]
        return len(text.rstrip()) if offset is None else offset, str(message)
    return None


def is_empty(text: str) -> bool:
    """Whether a file holds nothing but blanks and comments."""
    found = _CODE.match(text)
    end = found.end() if found else 0
    if end == len(text) or "/*" not in text[:end]:
        return end == len(text)
    from pglast import parser  # comments may be nested

    try:
        return not parser.split(text, only_slices=True)
    except parser.ParseError:
        return False


def check(path: Path, text: str, *, transactional: bool) -> None:
    """Refuse what cannot work, before anything is run.

    What the parser does not understand is left to the server, which may be newer.

    :raises BadMigration: with file, line and the way to write it.
    """
    if is_empty(text):
        raise BadMigration(
            f"{path} holds no SQL",
            why="It would be recorded as applied and never run again.",
            fix="Write its SQL, or remove the file (`select 1;` if nothing is to be done).",
        )
    _check_copy(path, text)
    _check_meta(path, text)
    if _UNLOCKING.search(text):
        _check_lock(path, text)
    if _TRANSACTION.search(text) or (transactional and _OUTSIDE.search(text)):
        _check_statements(path, text, transactional)


def _error(path: Path, text: str, offset: int, what: str, why: str, fix: str) -> BadMigration:
    place = place_of(text, offset)
    return BadMigration(f"{path}:{place.line}: {what}", why=f"{why}\n{place.caret()}", fix=fix)


def _check_meta(path: Path, text: str) -> None:
    if not _META.search(text):
        return
    offset, _ = syntax_error(text) or (-1, "")  # a backslash inside a string or a function body is none
    if offset >= 0 and text[offset : offset + 1] == "\\":
        raise _error(
            path,
            text,
            offset,
            f"{text[offset:].split(maxsplit=1)[0]} is a command of psql",
            "Migrations are sent to the server, which does not know psql's backslash commands.",
            "Remove the line (pg_dump's \\restrict is not needed), or write it in SQL.",
        )


def _check_copy(path: Path, text: str) -> None:
    for found in _COPY.finditer(text):
        from pglast import ast, parser

        # The data below it are no SQL: judge what stands up to here.
        try:
            parsed = parser.parse_sql(text[: found.end()])
        except parser.ParseError:
            continue  # inside a string or a comment
        statement = parsed[-1].stmt if parsed else None
        if isinstance(statement, ast.CopyStmt) and statement.filename is None and not statement.is_program:
            direction = "FROM stdin" if statement.is_from else "TO stdout"
            raise _error(
                path,
                text,
                found.start(),
                f"COPY … {direction} does not work in a migration",
                "Its data would have to come from the client.",
                "Write INSERT … VALUES, or load the data with pliers-db seed.",
            )


def _check_lock(path: Path, text: str) -> None:
    """The session that runs the file holds the lock of migrations."""
    from pglast import parser

    for statement in split(text):
        try:
            words = [t for t in parser.scan(statement.sql) if t.name not in ("SQL_COMMENT", "C_COMMENT")]
        except parser.ParseError:
            continue  # the server will say so
        names = [statement.sql[t.start : t.end + 1].lower() for t in words]
        if names[:2] == ["discard", "all"] or "pg_advisory_unlock_all" in names:
            raise _error(
                path,
                text,
                statement.start,
                f"{'DISCARD ALL' if names[0] == 'discard' else 'pg_advisory_unlock_all()'} would free the lock of"
                " migrations",
                "The session that runs the file holds it; another run could begin meanwhile.",
                "Name what is to be discarded (DISCARD TEMP, RESET ALL), or the lock that is to be freed.",
            )


def _check_statements(path: Path, text: str, transactional: bool) -> None:
    from pglast import ast, parser

    for statement in split(text):
        if not (_TRANSACTION.match(statement.sql) or _OUTSIDE.search(statement.sql)):
            continue
        try:
            tree = parser.parse_sql(statement.sql)[0].stmt
        except parser.ParseError:
            continue  # the server will say so, or is newer
        first = " ".join(statement.sql.split()[:3])
        if isinstance(tree, ast.TransactionStmt):
            raise _error(
                path,
                text,
                statement.start,
                f"{statement.sql.split()[0].rstrip(';').upper()} does not belong into a migration",
                "pliers-db opens and ends the transaction, so that the file and its record stand or fall together."
                if transactional
                else "With -- transactional: false each statement is committed by itself.",
                "Remove it." if transactional else "Remove it, or put what belongs together into a file of its own.",
            )
        if transactional and (what := needs_no_transaction(tree)):
            raise _error(
                path,
                text,
                statement.start,
                f"{what} cannot run inside a transaction",
                f"PostgreSQL refuses it there: {first} …",
                "Put it into a migration of its own that begins with the line: -- transactional: false",
            )


def needs_no_transaction(tree: object) -> str | None:
    """What PostgreSQL runs only outside a transaction block (PreventInTransactionBlock in its source)."""
    from pglast import ast

    def option(options: object, name: str) -> bool:
        return any(getattr(o, "defname", None) == name for o in options or ())  # type: ignore[attr-defined]

    match tree:
        case ast.IndexStmt(concurrent=True):
            return "CREATE INDEX CONCURRENTLY"
        case ast.DropStmt(concurrent=True):
            return "DROP INDEX CONCURRENTLY"
        case ast.ReindexStmt(params=params) if option(params, "concurrently"):
            return "REINDEX CONCURRENTLY"
        case ast.VacuumStmt(is_vacuumcmd=True):
            return "VACUUM"
        case ast.AlterSystemStmt():
            return "ALTER SYSTEM"
        case ast.CreatedbStmt() | ast.DropdbStmt():
            return "CREATE and DROP DATABASE"
        case ast.CreateTableSpaceStmt() | ast.DropTableSpaceStmt():
            return "CREATE and DROP TABLESPACE"
        case ast.AlterTableStmt(cmds=commands) if any(
            getattr(getattr(c, "def_", None), "concurrent", False) for c in commands or ()
        ):
            return "DETACH PARTITION CONCURRENTLY"
    return None
