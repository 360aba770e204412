"""Another tool's migrations as ours: checked as if they were to be run, then written in our way. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from pliers_db.errors import InputError
from pliers_db.migrate.files import parse_directives
from pliers_db.migrate.importing.source import GONE, Foreign, Problem, Source, Text, Tool, problem
from pliers_db.migrate.parser import Statement, check, is_empty, needs_no_transaction, place_of, split, syntax_error

_SEMICOLON = re.compile(r"\s*;")
_CONTROL = {"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare"}
# What a file holds that is not SQL yet, by the sign at which the parser stumbles.
_STRANGE = {
    ":": ("a variable of psql", "Write its value."),
    "{": ("a template", "Write what it expands to."),
    "$": ("a placeholder", "Write its value."),
    "%": ("a placeholder", "Write its value."),
}


@dataclass(frozen=True, slots=True)
class Converted:
    """One migration, ready to be written."""

    id: str
    version: str
    path: Path
    """Where it comes from."""
    text: str
    rollback: str | None
    transactional: bool
    rollback_transactional: bool
    checksum: str | None


@dataclass(frozen=True, slots=True)
class Conversion:
    """A whole folder."""

    migrations: tuple[Converted, ...]
    hooks: tuple[Converted, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def convert(source: Source) -> Conversion:
    """Turn a folder into ours, or say what stands against it."""
    problems, notes = list(source.problems), list(source.notes)
    migrations: list[Converted] = []
    for each in source.migrations:
        depends = each.depends
        if depends is None:
            depends = (migrations[-1].id,) if migrations else ()
        migrations.append(_convert(each, depends, source.tool, problems, notes))
    hooks = [_convert(each, (), source.tool, problems, notes) for each in source.hooks]
    seen: dict[str, Path] = {}
    for hook in hooks:  # a migration's id begins with its version, which `Findings.twice` has looked at
        other = seen.setdefault(hook.id, hook.path)
        if other != hook.path:
            problems.append(problem(hook.path, 1, f"would have the name of {other}", "Rename one of them."))
    return Conversion(tuple(migrations), tuple(hooks), tuple(problems), tuple(notes))


def _convert(
    each: Foreign, depends: tuple[str, ...], tool: Tool, problems: list[Problem], notes: list[str]
) -> Converted:
    if each.id.endswith(".rollback"):
        problems.append(problem(each.up.path, 1, "its name ends with .rollback", "Rename it."))
    up, transactional = _settle(each.up, each.transactional, tool, problems, notes)
    text = up.plain
    if is_empty(up.numbered):
        notes.append(f"{each.up.path} holds no SQL; {each.id} does `select 1;`")
        text = "\n".join(filter(None, [text, "select 1;"]))
    else:
        _check(up, transactional, problems, notes)
    head = [] if transactional else ["-- transactional: false"]
    if depends:
        head.append(f"-- depends: {' '.join(depends)}")
    rollback, back_transactional = None, transactional
    if each.down is not None and not is_empty(each.down.numbered):
        down, back_transactional = _settle(each.down, each.down_transactional, tool, problems, notes)
        _check(down, back_transactional, problems, notes)
        own = [] if back_transactional == transactional else [f"-- transactional: {str(back_transactional).lower()}"]
        rollback = "\n".join([*own, down.plain, ""])
    return Converted(
        each.id,
        each.version,
        each.up.path,
        "\n".join([*head, text, ""]),
        rollback,
        transactional,
        back_transactional,
        each.checksum,
    )


def _settle(text: Text, told: bool | None, tool: Tool, problems: list[Problem], notes: list[str]) -> tuple[Text, bool]:
    """A text without the BEGIN and COMMIT around it, and whether it runs in a transaction."""
    statements = split(text.numbered)
    unwrapped = _unwrap(text, statements)
    if unwrapped is not None:
        return unwrapped, True
    if told is not None:
        return text, told
    if any(_refuses_transaction(s) for s in statements):
        return text, False
    if tool is Tool.SQITCH and len(statements) > 1:
        notes.append(f"{text.path} has no BEGIN and COMMIT: statement by statement, as psql ran it")
        return text, False
    return text, True


def _unwrap(text: Text, statements: list[Statement]) -> Text | None:
    """The text without the transaction that encloses all of it; None if none does."""
    from pglast import enums

    kinds = [_transaction(s) for s in statements]
    begin = (enums.TransactionStmtKind.TRANS_STMT_BEGIN, enums.TransactionStmtKind.TRANS_STMT_START)
    ends = len(kinds) > 2 and kinds[0] in begin and kinds[-1] == enums.TransactionStmtKind.TRANS_STMT_COMMIT
    if not ends or any(kind is not None for kind in kinds[1:-1]):
        return None
    aligned = text.numbered
    for statement in (statements[0], statements[-1]):
        end = statement.start + len(statement.sql)
        if semicolon := _SEMICOLON.match(aligned, end):
            end = semicolon.end()
        blank = re.sub(r"[^\n]", " ", aligned[statement.start : end])
        aligned = f"{aligned[: statement.start]}{blank}{aligned[end:]}"
    lines = [
        GONE if GONE in before or (not after.strip() and before.strip()) else after
        for before, after in zip(text.aligned.split("\n"), aligned.split("\n"), strict=True)
    ]
    for number, line in enumerate(lines[:-1]):
        if line == GONE and not lines[number + 1].strip():  # one of two empty lines that would meet
            lines[number + 1] = GONE
            break
    return replace(text, aligned="\n".join(lines))


def _transaction(statement: Statement) -> object | None:
    """Which statement of transaction control it is."""
    from pglast import ast, parser

    words = statement.sql.split(maxsplit=1)
    if not words or words[0].strip(";").lower() not in _CONTROL:
        return None
    try:
        tree = parser.parse_sql(statement.sql)[0].stmt
    except parser.ParseError:
        return None
    return tree.kind if isinstance(tree, ast.TransactionStmt) else None


def _refuses_transaction(statement: Statement) -> bool:
    from pglast import parser

    try:
        return needs_no_transaction(parser.parse_sql(statement.sql)[0].stmt) is not None
    except (parser.ParseError, IndexError):
        return False


def _check(text: Text, transactional: bool, problems: list[Problem], notes: list[str]) -> None:
    """Judge a text as `up` would, with the lines of the file that it comes from."""
    body = text.numbered
    try:
        for name, (_, line) in parse_directives(body, text.path).items():
            problems.append(problem(text.path, line, f"-- {name}: would be a directive of ours", "Reword that line."))
        check(text.path, body, transactional=transactional)
    except InputError as error:
        problems.append(Problem(error.message, error.fix))
        return
    found = syntax_error(body)
    if found is None:
        return
    offset, message = found
    place = place_of(body, offset)
    sign = body[offset : offset + 1]
    if any(p.text.startswith(f"{text.path}:{place.line}: ") for p in problems):
        return  # its reader has named it
    if sign in _STRANGE:
        what, fix = _STRANGE[sign]
        problems.append(problem(text.path, place.line, f"{what}: {place.source.strip()[:80]}", fix))
    else:
        notes.append(f"{text.path}:{place.line}: {message}: left to the server to judge")  # it may be newer
