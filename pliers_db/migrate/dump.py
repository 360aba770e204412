"""What pg_dump says of a schema, made into SQL that a migration can hold and that is the same on every machine.

Out go the lines that tell when, by which version and how it was dumped: comments, psql's ``\\restrict`` with its random
key, SET, ``set_config``; the tables of migrating itself; and owners, where they are those that a plain run gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pliers_db.catalog import Snapshot
from pliers_db.catalog.model import quoted
from pliers_db.config import Target
from pliers_db.errors import BinariesMissing
from pliers_db.migrate.parser import split
from pliers_db.migrate.rebuild import BOOKKEEPING
from pliers_db.postgres import Binaries, find_binaries, read_program

_RESTRICT = re.compile(r"^\\(?:un)?restrict \w+\n", re.MULTILINE)
_PLUMBING = re.compile(r"set\s+\w+\s*=|select\s+pg_catalog\.set_config\(", re.IGNORECASE)
_EXTENSION_COMMENT = re.compile(r"comment\s+on\s+extension\b", re.IGNORECASE)
# These hold for what follows them; pg_dump says them again when they change.
_STATEFUL = re.compile(r"set\s+(default_tablespace|default_table_access_method)\s*=\s*(.*)", re.IGNORECASE | re.DOTALL)
_USUAL = {"default_tablespace": "''", "default_table_access_method": "heap"}


def dump_program(major: int) -> Binaries:
    """pg_dump of this major version, else the newest there is: the text differs between versions."""
    try:
        return find_binaries(major)
    except BinariesMissing:
        return find_binaries()


def dump(binaries: Binaries, target: Target, arguments: Sequence[str]) -> str:
    """Run pg_dump in plain text, without the tables of migrating itself.

    :raises ProgramFailed: it did not work.
    """
    excluded = [f"--exclude-table=*.{name}" for name in BOOKKEEPING]
    return read_program(binaries, "pg_dump", ["--format=plain", *excluded, *arguments], target=target)


def clean(text: str, owner: str = "") -> tuple[str, ...]:
    """The statements of a dump that make something, in their order, without a final semicolon.

    :param owner: ``ALTER … OWNER TO`` this role is left out: who runs the statements owns what they make.
    """
    plain = _RESTRICT.sub("", text)
    own = re.compile(rf"alter\b.*\bowner\s+to\s+{re.escape(quoted(owner))}\Z", re.IGNORECASE | re.DOTALL)
    return tuple(
        statement
        for statement in _kept(s.sql.strip() for s in split(plain))
        if not _EXTENSION_COMMENT.match(statement) and not (owner and own.match(statement))
    )


def _kept(statements: Iterator[str]) -> Iterator[str]:
    unusual: set[str] = set()
    for statement in statements:
        stateful = _STATEFUL.match(statement)
        if stateful is None:
            if statement and not _PLUMBING.match(statement):
                yield statement
            continue
        name, value = stateful[1].lower(), stateful[2].strip()
        if value != _USUAL[name] or name in unusual:
            unusual.add(name)
            yield statement


def refreshes(catalog: Snapshot, statements: Sequence[str]) -> tuple[str, ...]:
    """What fills the materialized views that come empty out of a dump without rows, none before what it reads.

    :param statements: of the dump, which are in such an order.
    """

    def place(path: str) -> int:
        made = (n for n, s in enumerate(statements) if s.startswith(f"CREATE MATERIALIZED VIEW {path} "))
        return next(made, len(statements))

    filled = [t.path for t in catalog.tables if t.kind == "materialized view" and t.populated]
    return tuple(f"REFRESH MATERIALIZED VIEW {path}" for path in sorted(filled, key=place))


def join(statements: Sequence[str]) -> str:
    """The statements as the text of a file."""
    return "".join(f"{statement};\n\n" for statement in statements)
