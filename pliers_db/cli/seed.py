"""``pliers-db seed``: fill a database with the data of its environment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pliers_db.cli.confirm import ConfirmOption, with_confirmation
from pliers_db.cli.console import Console, emit, emit_json, emit_table
from pliers_db.cli.context import (
    DebugOption,
    EnvOption,
    JsonOption,
    QuietOption,
    UrlOption,
    announce,
    open_database,
    resolve,
)
from pliers_db.units import format_count, format_duration

if TYPE_CHECKING:
    from pliers_db.seed import Options, Outcome

app = typer.Typer(help="Fill a database with the data of its environment.")

UpdateOption = Annotated[bool, typer.Option("--update", help="Bring rows that were changed since back to the seeds.")]

ModeOption = Annotated[
    str, typer.Option("--mode", help="ensure: add what is missing; append: make as many again; reset: delete first.")
]
ScaleOption = Annotated[str, typer.Option("--scale", help="small, medium, large, or a number to multiply with.")]
RowsOption = Annotated[
    list[str] | None,
    typer.Option("--rows", metavar="TABLE=N", help="Make so many rows of a table.", show_default=False),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="TABLE", help="Only this table (several times).", show_default=False),
]
SkipOption = Annotated[
    list[str] | None,
    typer.Option("--skip", metavar="TABLE", help="Not this table (several times).", show_default=False),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Instead of seed.toml's: other values.")]
AsOfOption = Annotated[datetime | None, typer.Option("--as-of", help="The seeds' present, instead of seed.toml's.")]


@app.callback(invoke_without_command=True)
def _seed(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    update: UpdateOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Fill a database with the data of its environment.

    Without a subcommand: the same as `run`.
    """
    if ctx.invoked_subcommand is None:
        _run(ctx, dry_run=False)


@app.command()
def run(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    update: UpdateOption = False,
    mode: ModeOption = "ensure",
    scale: ScaleOption = "small",
    rows: RowsOption = None,
    only: OnlyOption = None,
    skip: SkipOption = None,
    seed: SeedOption = None,
    as_of: AsOfOption = None,
    confirm_db: ConfirmOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Add the rows that are missing, all or none; run again, it changes nothing."""
    _run(ctx, dry_run=False)


@app.command()
def plan(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    scale: ScaleOption = "small",
    rows: RowsOption = None,
    only: OnlyOption = None,
    skip: SkipOption = None,
    seed: SeedOption = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare the seeds with the database and say what `run` would do; write nothing."""
    _run(ctx, dry_run=True)


@app.command()
def check(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    scale: ScaleOption = "small",
    rows: RowsOption = None,
    only: OnlyOption = None,
    skip: SkipOption = None,
    seed: SeedOption = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Load everything, up to 1,000 made rows a table, and undo it: what `run` would stumble over is named."""
    _run(ctx, dry_run=False, trial=True)


@app.command()
def init(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of each table.")] = 20,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a spec that fills every table of this database, one commented line per column."""
    from pliers_db import seed

    settings = resolve(_given(ctx, "env"), _given(ctx, "database_url"))
    with open_database(settings, "seed") as database:
        written = seed.init(database, settings, rows=rows)
    if as_json:
        files = [str(file) for file in written.files]
        emit_json({"files": files, "tables": written.tables, "problems": list(written.problems)})
    elif not quiet:
        for file in written.files:
            emit(f"Wrote {file}")
        for problem in written.problems:
            emit(f"Cannot be filled: {problem}")
        emit(f"{format_count(written.tables, 'table')} to fill: pliers-db seed check, then pliers-db seed run")


@app.command()
def status(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Say which rows were made here: how many, when, from which seed."""
    from pliers_db import seed

    settings = resolve(_given(ctx, "env"), _given(ctx, "database_url"))
    with open_database(settings, "seed") as database:
        entries = seed.status(database)
    if as_json or _given(ctx, "as_json"):
        emit_json({"tables": [entry.as_dict() for entry in entries]})
    elif not quiet:
        cells = [(e.table, e.rows, e.seed, f"{e.as_of:%Y-%m-%d}", f"{e.made_at:%Y-%m-%d %H:%M}") for e in entries]
        if cells:
            emit_table(["TABLE", "MADE", "SEED", "AS OF", "WHEN"], cells, right=(1, 2))
        emit(f"{format_count(sum(e.rows for e in entries), 'row')} made in {format_count(len(entries), 'table')}")


@app.command()
def verify(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare every seeded row with what is there now; exit 1 if one is gone or changed."""
    from pliers_db import seed

    console = Console(quiet=quiet or as_json)
    settings = resolve(_given(ctx, "env"), _given(ctx, "database_url"))
    with open_database(settings, "seed") as database:
        verified = seed.verify(database, settings, reporter=console)
    if as_json or _given(ctx, "as_json"):
        emit_json(verified.as_dict())
    elif not quiet:
        for table in verified.written:
            if table.present < table.planned or table.differing:
                emit(f"{table.table}: {table.planned - table.present} of {table.planned} gone, {table.kept} changed")
        for finding in verified.made:
            if not finding.good:
                emit(f"{finding.table}: {finding.gone} of {finding.made} gone, {finding.differing} changed")
                for key in finding.changed[:5]:
                    emit(f"  changed: {key}")
        count = sum(t.planned for t in verified.written) + sum(f.made for f in verified.made)
        answer = "are as they were seeded" if verified.good else "were compared: not all are as they were seeded"
        emit(f"{format_count(count, 'row')} {answer}")
    if not verified.good:
        raise typer.Exit(1)


@app.command()
def clean(
    ctx: typer.Context,
    env: EnvOption = None,
    database_url: UrlOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the rows, delete nothing.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Delete the seeded rows and no others, all or none."""
    from pliers_db import seed

    console = Console(quiet=quiet or as_json)
    settings = resolve(_given(ctx, "env"), _given(ctx, "database_url"))
    if not dry_run:
        announce(console, settings)
    with open_database(settings, "seed") as database:
        gone = seed.clean(database, settings, dry_run=dry_run, reporter=console)
    if as_json or _given(ctx, "as_json"):
        emit_json({"dry_run": dry_run, "deleted": gone})
    elif not quiet:
        emit_table(["TABLE", "DELETED"], [(name, count) for name, count in gone.items() if count], right=(1,))
        emit(f"{format_count(sum(gone.values()), 'row')} {'would be ' if dry_run else ''}deleted")


@app.command()
def export(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(help="The table, as orders or shop.orders.")],
    env: EnvOption = None,
    database_url: UrlOption = None,
    form: Annotated[str, typer.Option("--format", help="csv, copy (PostgreSQL's text format) or sql.")] = "csv",
    scale: ScaleOption = "small",
    rows: RowsOption = None,
    seed: SeedOption = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the seeded rows of a table to stdout, as a run would make them; the database stays as it is."""
    from pliers_db import seed as core
    from pliers_db.errors import InputError

    if form not in core.FORMATS:
        raise InputError(f"There is no format {form!r}", why="Formats: " + ", ".join(core.FORMATS), fix="--format csv")
    settings = resolve(_given(ctx, "env"), _given(ctx, "database_url"))
    pieces: list[bytes] = []
    with open_database(settings, "seed") as database:
        core.export(database, settings, table, pieces.append, form=form, options=_options(ctx))
    text = b"".join(pieces).decode()
    if as_json or _given(ctx, "as_json"):
        emit_json({"table": table, "format": form, "text": text})
    else:
        emit(text.removesuffix("\n"))


def _given(ctx: typer.Context, name: str) -> Any:
    """An option may stand before the subcommand, too: ``seed --env test plan``."""
    return ctx.params.get(name) or (ctx.parent.params.get(name) if ctx.parent else None)


def _options(ctx: typer.Context, *, trial: bool = False) -> Options:
    from pliers_db import seed
    from pliers_db.errors import InputError

    counts: dict[str, int] = {}
    for text in _given(ctx, "rows") or ():
        table, sign, number = text.rpartition("=")
        if not sign or not table or not number.isdigit():
            raise InputError(f"--rows {text} is not TABLE=NUMBER", fix="For example: --rows orders=500")
        counts[table] = int(number)
    mode = _given(ctx, "mode") or "ensure"
    if mode not in {one.value for one in seed.Mode}:
        raise InputError(f"There is no mode {mode!r}", why="Modes: ensure, append, reset.", fix="--mode ensure")
    moment = _given(ctx, "as_of")
    return seed.Options(
        update=bool(_given(ctx, "update")),
        mode=seed.Mode(mode),
        scale=_given(ctx, "scale") or "small",
        rows=counts,
        only=_given(ctx, "only") or (),
        skip=_given(ctx, "skip") or (),
        seed=_given(ctx, "seed"),
        as_of=moment.replace(tzinfo=UTC) if moment else None,
        trial=trial,
    )


def _run(ctx: typer.Context, *, dry_run: bool, trial: bool = False) -> None:
    from pliers_db import seed

    console = Console(quiet=bool(_given(ctx, "quiet") or _given(ctx, "as_json")))
    settings = resolve(_given(ctx, "env"), _given(ctx, "database_url"))
    options = _options(ctx, trial=trial)
    if not dry_run and not trial:
        announce(console, settings)

    def act(confirm: str | None) -> Outcome:
        confirmed = replace(options, confirm=confirm)
        return seed.run(database, settings, dry_run=dry_run, options=confirmed, reporter=console)

    with open_database(settings, "seed") as database:
        if settings.environment.protected and not (dry_run or trial or console.quiet):
            _show(seed.run(database, settings, dry_run=True, options=options, reporter=console))
        outcome = with_confirmation(_given(ctx, "confirm_db"), act)
    if _given(ctx, "as_json"):
        emit_json({**outcome.as_dict(), "trial": trial})
    elif not _given(ctx, "quiet"):
        _show(outcome, trial=trial)


def _show(outcome: Outcome, *, trial: bool = False) -> None:
    """What each table got, what differs, and what it comes to."""
    added = "to add" if outcome.dry_run else "added"
    columns = ("table", "planned", "present", added, "changed", "kept")
    rows = [(t.table, t.planned, t.present, t.added, t.changed, t.kept) for t in outcome.tables]
    emit_table([column.upper() for column in columns], rows, right=range(1, len(columns)))
    for script in outcome.scripts:
        written = ", ".join(f"{table} {count}" for table, count in script.written.items())
        emit(f"{script.file}: {written or 'nothing written'}")
    for table in outcome.tables:
        for difference in table.differing if table.kept else ():
            columns_ = f": {', '.join(difference.columns)}" if difference.columns else ""
            emit(f"differs: {table.table}/{difference.row}{columns_}")
    emit(_summary(outcome) if not trial else _tried(outcome))


def _tried(outcome: Outcome) -> str:
    took = format_duration(outcome.seconds)
    return f"Good: {format_count(outcome.added, 'row')} were taken by the database, and undone ({took})"


def _summary(outcome: Outcome) -> str:
    took = format_duration(outcome.seconds)
    if outcome.dry_run:
        return f"Plan: {format_count(outcome.added, 'row')} to add of {outcome.planned:,}; nothing was written ({took})"
    if not outcome.written:
        text = f"Nothing to do: all {format_count(outcome.planned, 'row')} are there ({took})"
    else:
        text = f"Added {format_count(outcome.added, 'row')}, changed {outcome.changed:,} ({took})"
    if outcome.kept == 1:
        text += "; 1 row differs from the seeds and was kept (--update brings it back)"
    elif outcome.kept:
        text += f"; {outcome.kept:,} rows differ from the seeds and were kept (--update brings them back)"
    return text
