"""``pliers-db pool``: the connection pool, its limits and what it costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pliers_db.cli.console import emit, emit_json, emit_table
from pliers_db.cli.context import DebugOption, EnvOption, JsonOption, UrlOption, open_database, resolve
from pliers_db.cli.group import COMMANDS
from pliers_db.units import format_count, format_duration

app = typer.Typer(help=COMMANDS["pool"], no_args_is_help=True)


@app.command()
def status(
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the pool's limits, one checkout, and who is connected to the database."""
    from pliers_db.config.pool import POOL_FIELDS
    from pliers_db.db import behind_pooler, read_sessions

    settings = resolve(env, database_url)
    with open_database(settings, "pool") as database:
        with database.connection(autocommit=True) as conn:
            sessions, pooler = read_sessions(conn), behind_pooler(conn)
        stats = database.stats()
    limits = {name: (getattr(settings.pool, field), settings.sources[name]) for name, field in POOL_FIELDS.items()}
    if json:
        emit_json(
            {
                "target": str(settings.target),
                "pooler": pooler,
                "limits": {name: {"value": value, "source": source} for name, (value, source) in limits.items()},
                "stats": stats.as_dict(),
                "server": asdict(sessions),
            }
        )
        return
    emit(f"{settings.target} ({settings.environment}){', behind a pooler' if pooler else ''}")
    emit_table(("LIMIT", "VALUE", "FROM"), [(name, value, source) for name, (value, source) in limits.items()])
    emit()
    emit(f"breaker: {stats.breaker.state}; first checkout after {format_duration(stats.wait.longest)}")
    emit(f"server: {sessions.taken} of {format_count(sessions.slots, 'session')} taken, in all databases")
    emit_table(
        ("PROGRAM", "STATE", "SESSIONS"), [(g.application, g.state, g.count) for g in sessions.groups], right=(2,)
    )


@app.command()
def bench(
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each way is measured.")] = 15,
    calls: Annotated[int, typer.Option("--calls", min=1, help="Calls in one measurement.")] = 300,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure checkout, query and transaction beside a bare connection. Runs only `select 1`."""
    from pliers_db.db.bench import measure_pool

    settings = resolve(env, database_url)
    with open_database(settings, "pool bench") as database:
        costs = measure_pool(database, rounds=rounds, calls_per_round=calls)
    if json:
        emit_json({"target": str(settings.target), "rounds": rounds, "costs": [asdict(c) for c in costs]})
        return
    rows = [
        (
            c.name,
            f"{c.seconds * 1e6:.0f} us",
            f"{c.ratio:.2f}",
            f"{c.lowest:.2f}..{c.highest:.2f}",
            f"{c.best:.2f}",
            f"{c.cpu:.2f}",
            c.baseline,
        )
        for c in costs
    ]
    emit_table(("", "MEDIAN", "RATIO", "RANGE", "BEST", "CPU", "TO"), rows, right=(1, 2, 4, 5))
