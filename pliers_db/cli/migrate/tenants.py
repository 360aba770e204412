"""``pliers-db migrate tenants``: many schemas of one database, each with its own tables and record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from pliers_db.cli.migrate.options import (
    DirOption,
    LockTimeoutOption,
    RetriesOption,
    StatementTimeoutOption,
    WaitOption,
    folder_of,
)
from pliers_db.units import format_count

if TYPE_CHECKING:
    from pliers_db.migrate.tenants import Tenant

app = typer.Typer(help="Migrate many schemas of one database, each by itself.", no_args_is_help=True)
SchemasOption = Annotated[
    list[str],
    typer.Option("--schemas", metavar="PATTERN", help="Which schemas: 'tenant_*'; may be given several times."),
]


@app.command()
def status(
    schemas: SchemasOption,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if a schema is not up to date.")] = False,
    directory: DirOption = None,
    env: EnvOption = None,
    database_url: UrlOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show how each schema stands. Reads only: no lock, works on a standby."""
    from pliers_db.migrate.tenants import read_tenants

    settings = resolve(env, database_url)
    folder = folder_of(settings, directory)
    with open_database(settings, "migrate tenants status") as database:
        tenants = read_tenants(database, folder, schemas)
    behind = [t for t in tenants if t.status is None or not t.status.clean]
    if json:
        emit_json({"target": str(settings.target), "schemas": [_row(t) for t in tenants]})
    else:
        emit_table(
            ("SCHEMA", "APPLIED", "PENDING", "STATE"),
            [(t.schema, _count(t, "applied"), _count(t, "pending"), _state(t)) for t in tenants],
            right=[1, 2],
        )
        emit(f"{format_count(len(tenants), 'schema')}, {len(tenants) - len(behind)} up to date")
    if check and behind:
        raise typer.Exit(1)


@app.command()
def up(
    schemas: SchemasOption,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="How many schemas at once.")] = 4,
    allow_out_of_order: Annotated[
        bool, typer.Option("--allow-out-of-order", help="Apply what is older than an applied migration.")
    ] = False,
    directory: DirOption = None,
    wait: WaitOption = 60.0,
    lock_timeout: LockTimeoutOption = 2.0,
    statement_timeout: StatementTimeoutOption = 0.0,
    retries: RetriesOption = 10,
    env: EnvOption = None,
    database_url: UrlOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Apply the pending migrations in each schema. One that fails does not stop the others.

    Exit code 6 if one failed, 7 if one stands part-way, 5 if all that is left to do is locked by another run.
    """
    from pliers_db.migrate import Options
    from pliers_db.migrate.tenants import exit_code, up_tenants

    settings, console = resolve(env, database_url), Console(quiet=quiet)
    folder = folder_of(settings, directory)
    announce(console, settings)
    with open_database(settings, "migrate tenants up") as database:
        tenants = up_tenants(
            database,
            folder,
            schemas,
            environment=settings.environment,
            jobs=jobs,
            options=Options(wait, lock_timeout, statement_timeout, retries, allow_out_of_order),
            reporter=console,
        )
    failed = [t for t in tenants if t.error is not None]
    if json:
        emit_json({"target": str(settings.target), "failed": len(failed), "schemas": [_row(t) for t in tenants]})
    else:
        for each in failed:
            assert each.error is not None
            emit(f"{each.schema}: {each.error.message}\n  why: {each.error.why}\n  fix: {each.error.fix}")
        applied = [t for t in tenants if t.applied]
        total = sum(len(t.applied) for t in applied)
        parts = [f"{format_count(total, 'migration')} applied in {len(applied)}"]
        parts += [f"{len(failed)} failed"] if failed else []
        clean = sum(t.status is not None and t.status.clean for t in tenants)
        emit(f"{format_count(len(tenants), 'schema')}: {', '.join(parts)}, {clean} up to date")
    if code := exit_code(tenants):
        raise typer.Exit(code)


def _count(tenant: Tenant, what: str) -> int | str:
    return "" if tenant.status is None else len(getattr(tenant.status, what))


def _state(tenant: Tenant) -> str:
    if tenant.status is None:
        return tenant.error.message if tenant.error else ""
    if tenant.status.clean:
        return "up to date"
    states = dict.fromkeys(e.state for e in tenant.status.entries if e.state not in ("applied", "unverified"))
    return ", ".join(f"{len(tenant.status.of(state))} {state}" for state in states)


def _row(tenant: Tenant) -> dict[str, Any]:
    return {
        "schema": tenant.schema,
        "up_to_date": tenant.status is not None and tenant.status.clean,
        "applied": [e.id for e in tenant.status.applied] if tenant.status else None,
        "pending": [m.id for m in tenant.status.pending] if tenant.status else None,
        "applied_now": list(tenant.applied),
        "seconds": round(tenant.seconds, 3),
        "error": tenant.error.as_dict() if tenant.error else None,
    }
