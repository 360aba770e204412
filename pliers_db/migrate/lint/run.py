"""A run of lint: read the folder, ask our checks and squawk, leave out what is excused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from pliers_db.errors import InputError
from pliers_db.migrate.files import MigrationFile, read_rollback
from pliers_db.migrate.lint import squawk
from pliers_db.migrate.lint.advice import message_of, safe_way, unfounded
from pliers_db.migrate.lint.built import Built
from pliers_db.migrate.lint.checks import CHECKS, rollback
from pliers_db.migrate.lint.checks.sql import unusable
from pliers_db.migrate.lint.finding import Finding, LintReport
from pliers_db.migrate.lint.folder import Trouble, read_loosely, trouble_of
from pliers_db.migrate.lint.ignores import Ignore, foreign_ignores, read_ignores
from pliers_db.migrate.lint.rules import RULES, Rule
from pliers_db.migrate.lint.settings import LintSettings
from pliers_db.migrate.lint.source import Source
from pliers_db.migrate.lint.squawk import Remark
from pliers_db.migrate.lint.view import Hit, View
from pliers_db.migrate.plan import find_id

Choose = Callable[[tuple[MigrationFile, ...]], Collection[str]]
_HOOK = "post-apply"


def lint(path: Path, settings: LintSettings, choose: Choose | None = None) -> LintReport:
    """Examine migrations. Reads files only.

    :param path: the migrations folder.
    :param choose: which of its migrations, by id; default: all behind ``settings.start_after``.
    :raises InputError: no folder, or a ``-- lint:`` comment or a rule that does not exist.
    :raises LintToolFailed: squawk could not be asked, so that a clean result would say nothing.
    """
    program = squawk.find_squawk()
    loose = read_loosely(path)
    asked = set(choose(loose.migrations)) if choose is not None else _default(loose.migrations, settings)
    sources = {m.id: Source(m.path, m.text, m.transactional, m.id) for m in loose.migrations}
    remarks: dict[Path, list[Remark]] = defaultdict(list)
    chosen = [source for source in sources.values() if source.migration in asked]
    for source, remark in squawk.ask(program, chosen, postgres=settings.postgres, include=_included(settings)):
        remarks[source.path].append(remark)
    named = choose is None
    trouble = [t for t in loose.trouble if named or t.migration is None or t.migration in asked]
    whole, before = Built(), Built()
    for source in sources.values():
        whole.take(s.tree for s in source.statements)
    desk = _Desk(settings)
    for migration in loose.migrations:
        source = sources[migration.id]
        if migration.id in asked:
            view = View(source, before, whole, settings.postgres)
            back = _rollback_of(migration, trouble)
            desk.take(source, _hits(migration, view, back, remarks[source.path]), _hits_of_rollback(source, back), back)
        before.take(s.tree for s in source.statements)
    desk.findings += [f for t in trouble if (f := desk.of_trouble(t)) is not None]
    return LintReport(
        tuple(sorted(dict.fromkeys(desk.findings), key=lambda f: (str(f.path), f.line, f.column, f.rule))),
        tuple(sorted({*desk.examined, *(t.path for t in trouble if t.path.is_file())})),
        desk.ignored,
        settings.fail_on,
        settings.postgres,
        squawk.version(program),
    )


def _default(migrations: tuple[MigrationFile, ...], settings: LintSettings) -> set[str]:
    ids = [m.id for m in migrations]
    if settings.start_after is None:
        return set(ids)
    return set(ids[ids.index(find_id(settings.start_after, ids)) + 1 :])


def _included(settings: LintSettings) -> list[str]:
    """squawk's opt-in rules that the project wants."""
    return [name for name, rule in RULES.items() if rule.off and not rule.ours and settings.severity(name) is not None]


def _rollback_of(migration: MigrationFile, trouble: list[Trouble]) -> Source | None:
    try:
        undo = read_rollback(migration)
    except InputError as error:
        assert migration.rollback_path is not None
        trouble.append(trouble_of(error, migration.rollback_path))
        return None
    return Source(undo.path, undo.text, undo.transactional, migration.id) if undo else None


def _hits(migration: MigrationFile, view: View, back: Source | None, remarks: Iterable[Remark]) -> Iterator[Hit]:
    """What is wrong with a migration's own file."""
    source = view.source
    broken = list(unusable(source))
    yield from broken
    for check in CHECKS:
        yield from check(view)
    unreadable = any(h.rule in ("PL011", "PL014", "PL015") for h in broken)
    for remark in remarks:
        statement = source.statement_at(remark.offset)
        if not (unreadable and remark.rule == "syntax-error") and not unfounded(remark, statement, view):
            yield Hit(remark.rule, remark.offset, message_of(remark, statement), safe_way(remark, statement, view))
    if migration.rollback_path is None and not migration.id.startswith(_HOOK):
        yield rollback.missing(migration.id, source)
    elif back is not None:
        yield from rollback.leftovers(source, back)


def _hits_of_rollback(forward: Source, back: Source | None) -> Iterator[Hit]:
    """What is wrong with its rollback file."""
    if back is None:
        return
    for hit in unusable(back):
        empty = Hit("PL021", None, "holds no SQL", "select 1; -- if nothing is to be undone")
        yield empty if hit.rule == "PL010" else hit
    yield from rollback.order(forward, back)


class _Desk:
    """Where hits become findings, or are excused."""

    def __init__(self, settings: LintSettings) -> None:
        self.settings = settings
        self.findings: list[Finding] = []
        self.examined: list[Path] = []
        self.ignored = 0

    def take(self, source: Source, hits: Iterable[Hit], hits_of_rollback: Iterable[Hit], back: Source | None) -> None:
        """Judge one migration and its rollback file."""
        for file, found in ((source, hits), (back, hits_of_rollback)):
            if file is not None:
                self.examined.append(file.path)
                self._judge(file, list(found))

    def of_trouble(self, trouble: Trouble) -> Finding | None:
        """The finding about a file that cannot be read as a migration."""
        return self._finding(trouble.hit, trouble.path, trouble.line, 1, trouble.migration)

    def _judge(self, source: Source, hits: list[Hit]) -> None:
        ignores = read_ignores(source)
        used: set[Ignore] = set()
        for hit in hits:
            excuses = [i for i in ignores if i.excuses(hit.rule, hit.offset)]
            used.update(excuses)
            if excuses:
                self.ignored += 1
            else:
                self._add(source, hit)
        for ignore in ignores:
            if not ignore.reason:
                fix = f"-- lint: ignore {ignore.rule} why it does no harm here"
                self._add(source, Hit("PL002", ignore.offset, f"{ignore.rule} is ignored without a reason", fix))
            if ignore not in used and self.settings.severity(ignore.rule) is not None:
                self._add(source, Hit("PL003", ignore.offset, f"there is no finding of {ignore.rule} to ignore here"))
        for offset in foreign_ignores(source):
            fix = "-- lint: ignore RULE why it does no harm here"
            self._add(source, Hit("PL002", offset, "squawk-ignore has no room for a reason", fix))

    def _add(self, source: Source, hit: Hit) -> None:
        place = source.at(hit.offset)
        found = self._finding(hit, source.path, place.line, place.column, source.migration)
        if found is not None:
            self.findings.append(found)

    def _finding(self, hit: Hit, path: Path, line: int, column: int, migration: str | None) -> Finding | None:
        severity = self.settings.severity(hit.rule)
        if severity is None:
            return None
        rule = RULES.get(hit.rule) or Rule(hit.rule, hit.rule.replace("-", " "), severity, "")
        return Finding(
            rule.id, rule.title, severity, path, line, column, hit.message, rule.why, hit.safe, rule.docs, migration
        )
