"""SQL that cannot work in a migration: what `migrate up` would refuse, and what the server would."""

from __future__ import annotations

from collections.abc import Iterator

from pliers_db.errors import BadMigration
from pliers_db.migrate.lint.source import Source
from pliers_db.migrate.lint.view import NO_TRANSACTION, Hit, View
from pliers_db.migrate.parser import check, is_empty, needs_no_transaction, syntax_error

_TIMEOUTS = ("lock_timeout", "statement_timeout", "transaction_timeout")


def unusable(source: Source) -> Iterator[Hit]:
    """What keeps a file, forward or rollback, from running at all."""
    if is_empty(source.text):
        yield Hit("PL010", None, "holds no SQL", "select 1; -- nothing to be done")
        return
    yield from _unparsable(source)
    yield from _transactions(source)


def _unparsable(source: Source) -> Iterator[Hit]:
    found = syntax_error(source.text)
    if found is None:
        yield from _copies(source)
        return
    offset, message = found
    if source.text[offset : offset + 1] == "\\":
        word = source.text[offset:].split(maxsplit=1)[0]
        safe = (
            "-- remove the line"
            if word in ("\\restrict", "\\unrestrict")
            else "-- write it in SQL; data: pliers-db seed"
        )
        yield Hit("PL015", offset, f"{word} is a command of psql", safe)
        return
    try:  # data below COPY … FROM stdin are no SQL either
        check(source.path, source.text, transactional=source.transactional)
    except BadMigration as error:
        if error.message.partition(": ")[2].startswith("COPY"):
            yield Hit("PL014", _line_offset(source, error), "COPY … FROM stdin reads data of the client", _INSERT)
            return
    yield Hit("PL011", offset, message)


_INSERT = "insert into … values (…), (…); -- large data: pliers-db seed"


def _line_offset(source: Source, error: BadMigration) -> int:
    line = int(error.message.removeprefix(f"{source.path}:").partition(":")[0])
    return source.offset(line - 1, 0)


def _copies(source: Source) -> Iterator[Hit]:
    from pglast import ast

    for statement in source.statements:
        tree = statement.tree
        if isinstance(tree, ast.CopyStmt) and tree.filename is None and not tree.is_program:
            way = "FROM stdin reads data of" if tree.is_from else "TO stdout sends data to"
            yield Hit("PL014", statement.start, f"COPY … {way} the client", _INSERT if tree.is_from else "")


def _transactions(source: Source) -> Iterator[Hit]:
    from pglast import ast

    for statement in source.statements:
        if isinstance(statement.tree, ast.TransactionStmt):
            word = statement.sql.split()[0].rstrip(";").upper()
            own = (
                "pliers-db opens and ends the transaction" if source.transactional else "each statement commits itself"
            )
            safe = "-- remove it; what is to be committed by itself is a migration of its own"
            yield Hit("PL013", statement.start, f"{word} does not belong into a migration: {own}", safe)
        elif source.transactional and (what := needs_no_transaction(statement.tree)):
            yield Hit(
                "PL012",
                statement.start,
                f"{what} cannot run inside a transaction",
                f"{NO_TRANSACTION}\n{statement.sql.strip()};",
            )


def timeouts(view: View) -> Iterator[Hit]:
    """A lock_timeout that the file switches off."""
    from pglast import ast

    for statement in view.source.statements:
        tree = statement.tree
        if not isinstance(tree, ast.VariableSetStmt) or tree.name not in _TIMEOUTS or not tree.args:
            continue
        value = getattr(tree.args[0], "val", None)
        text = str(getattr(value, "ival", getattr(value, "sval", ""))).strip()
        if text.rstrip("smind").strip() == "0" and tree.name == "lock_timeout" and view.source.transactional:
            yield Hit(
                "PL016",
                statement.start,
                "lock_timeout = 0 waits for ever, and everybody else behind it",
                "-- remove the line: `migrate up` sets 2 s and tries again (--lock-timeout, --retries)",
            )


CHECKS = (timeouts,)
