"""``pliers-db migrate lint``: what is dangerous about migrations, before they are run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pliers_db.cli.console import Console, emit, emit_json, emit_table, paint
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, QuietOption, UrlOption, open_database, resolve
from pliers_db.cli.migrate.choice import IdsArgument, PendingOption, SinceOption
from pliers_db.cli.migrate.options import DirOption
from pliers_db.errors import InputError

if TYPE_CHECKING:
    from pliers_db.migrate import MigrationFile
    from pliers_db.migrate.lint import LintReport, Severity

_FORMATS = ("text", "json", "github", "gitlab", "sarif", "junit")


def lint(
    ids: IdsArgument = None,
    pending: PendingOption = False,
    since: SinceOption = None,
    output: Annotated[
        str, typer.Option("--format", help="text, json, github, gitlab, sarif or junit.", show_default=False)
    ] = "text",
    fail_on: Annotated[
        str | None,
        typer.Option("--fail-on", help="Exit 1 from this severity on: notice, warning, error.", show_default=False),
    ] = None,
    off: Annotated[
        list[str] | None, typer.Option("--off", metavar="RULE", help="Without this rule; may be given again.")
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules and their severities.")] = False,
    directory: DirOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find what is dangerous about migrations, and say the safe way to write it.

    Reads files only; with --pending it asks the database which are pending. Exit code 1 with findings at or above
    --fail-on (default: warning).
    """
    from dataclasses import replace

    from pliers_db.config import find_project
    from pliers_db.migrate.lint import lint as examine
    from pliers_db.migrate.lint import read_settings, read_severity

    wanted = _format(output, json)
    project = find_project(Path.cwd())
    settings = read_settings(project).without(off or ())
    if fail_on is not None:
        settings = replace(settings, fail_on=read_severity(fail_on, "--fail-on"))
    if rules:
        _tell_rules(settings.severity, json=wanted == "json")
        return
    folder = directory or project.migrations
    foreign = project.root / ".squawk.toml"
    if foreign.exists():
        Console(quiet=quiet).warn(f"{foreign} is not read: what it says belongs into [tool.pliers-db.lint]")
    waiting: set[str] = set()
    if pending:
        waiting = _pending(folder, env, database_url)

    def choose(known: tuple[MigrationFile, ...]) -> Collection[str]:
        from pliers_db.migrate.changed import changed_since
        from pliers_db.migrate.files import Folder
        from pliers_db.migrate.plan import find_id

        names = [m.id for m in known]
        chosen = {find_id(each, names) for each in ids or ()} | waiting
        if since is not None:
            chosen.update(changed_since(Folder(folder, known), since))
        return chosen

    named = bool(ids or pending or since is not None)
    _tell(examine(folder, settings, choose if named else None), wanted, project.root, quiet)


def _format(output: str, json: bool) -> str:
    if output not in _FORMATS:
        raise InputError(f"--format {output!r} is unknown", why=f"Known are {', '.join(_FORMATS)}.")
    if json and output not in ("text", "json"):
        raise InputError(f"--json and --format {output} are two formats", fix="Give one of them.")
    return "json" if json else output


def _pending(folder: Path, env: str | None, database_url: str | None) -> set[str]:
    from pliers_db.migrate import read_folder, read_status

    settings = resolve(env, database_url)
    with open_database(settings, "migrate lint") as database:
        return {m.id for m in read_status(database, read_folder(folder)).pending}


def _tell(report: LintReport, wanted: str, root: Path, quiet: bool) -> None:
    from pliers_db.migrate.lint import formats

    if wanted == "json":
        emit_json(
            {
                "passed": report.passed,
                "fail_on": report.fail_on,
                "postgres": report.postgres,
                "squawk": report.squawk,
                "examined": [str(path) for path in report.examined],
                "ignored": report.ignored,
                "counts": report.counts,
                "findings": [finding.as_dict() for finding in report.findings],
            }
        )
    elif wanted == "text":
        if not (quiet and report.passed):
            emit(formats.render_text(report, paint))
    else:
        render = {
            "github": formats.render_github,
            "gitlab": formats.render_gitlab,
            "sarif": formats.render_sarif,
            "junit": formats.render_junit,
        }[wanted]
        emit(render(report, root=root))
    if not report.passed:
        raise typer.Exit(1)


def _tell_rules(severity: Callable[[str], Severity | None], *, json: bool) -> None:
    from pliers_db.migrate.lint import RULES

    rows = [(rule.id, severity(rule.id) or "off", rule.title, rule.why) for rule in RULES.values()]
    if json:
        emit_json({"rules": [dict(zip(("rule", "severity", "title", "why"), row, strict=True)) for row in rows]})
    else:
        emit_table(("RULE", "SEVERITY", "TITLE"), [row[:3] for row in rows])
