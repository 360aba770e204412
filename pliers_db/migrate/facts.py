"""What a preview asks the target. Reads only: no lock on any table, no right beyond SELECT, also on a standby."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

from pliers_db.db import Connection, Database, load_queries
from pliers_db.db.locks import LockName, lock_holders
from pliers_db.errors import LintToolFailed, RefusedError
from pliers_db.migrate.engine import DEFAULTS, Options, session_settings
from pliers_db.migrate.files import Folder, MigrationFile
from pliers_db.migrate.history import History, read_history
from pliers_db.migrate.lint import Finding, LintSettings, lint
from pliers_db.migrate.plan import check_history, compare, plan_up
from pliers_db.migrate.preview import Facts, Preview, Relation, Session, preview, sources_of, wanted_relations

QUERIES = load_queries("pliers_db.migrate", "sql/preview.sql")


def look_ahead(
    database: Database,
    folder: Folder,
    *,
    to: str | None = None,
    steps: int | None = None,
    options: Options = DEFAULTS,
    lint_settings: LintSettings | None = None,
) -> Preview:
    """What `up` would do, without doing any of it.

    :param to: the last migration to apply.
    :param steps: how many at most.
    :param options: those that `up` would be given.
    :param lint_settings: default: the defaults of lint.
    :raises PliersError: InputError for an unknown id; MissingPrivilege if yoyo's tables may not be read.
    """
    with database.connection(autocommit=True) as conn:
        history = read_history(conn, folder)
        status = compare(folder, history)
        planned = plan_up(status, to, steps)
        refusal: RefusedError | None = None
        try:
            check_history(status, planned, allow_out_of_order=options.allow_out_of_order)
        except RefusedError as error:
            refusal = error
        sources = sources_of(planned)
        facts = read_facts(conn, history, wanted_relations(sources), options)
    findings, notes = _lint(folder.path, planned, lint_settings or LintSettings())
    if facts.standby:
        notes.append("this is a standby: `up` runs on the primary, whose sessions are not seen from here")
    return preview(
        sources,
        facts,
        findings=findings,
        done={p.id: p.finished for p in history.progress},
        notes=notes,
        refusal=refusal,
        hooks=[hook.id for hook in folder.hooks] if planned else (),
    )


def read_facts(conn: Connection, history: History, names: Sequence[str], options: Options = DEFAULTS) -> Facts:
    """What the target says about these relations, and who is dumping it.

    :param names: as statements write them.
    """
    dumps = [
        Session(pid, name, since.astimezone(UTC) if since else None)
        for pid, name, since in conn.execute(QUERIES["running_dumps"]).fetchall()
    ]
    return Facts(
        relations=_relations(conn, names),
        settings=session_settings(conn, options),
        dumps=tuple(dumps),
        holders=tuple(lock_holders(conn, LockName.SCHEMA)),
        standby=history.standby,
    )


def _relations(conn: Connection, names: Sequence[str]) -> dict[str, Relation]:
    split = [name.rpartition(".") for name in names]
    rows = conn.execute(
        QUERIES["relations"],
        {"names": [part[2] for part in split], "schemas": [part[0] or None for part in split]},
    ).fetchall()
    found = {}
    for number, schema, name, kind, size, estimate, table_schema, table, leaves in rows:
        on = f"{table_schema}.{table}" if table else None
        found[names[number - 1]] = Relation(f"{schema}.{name}", kind, size, estimate, on, leaves)
    return found


def _lint(
    path: Path, planned: Sequence[MigrationFile], settings: LintSettings
) -> tuple[tuple[Finding, ...], list[str]]:
    if not planned:
        return (), []
    try:
        return lint(path, settings, lambda known: {m.id for m in planned}).findings, []
    except LintToolFailed as error:
        return (), [f"not linted: {error.message} ({error.fix})"]
