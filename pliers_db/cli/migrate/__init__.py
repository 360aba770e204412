"""``pliers-db migrate``: apply, roll back and inspect migrations."""

from __future__ import annotations

import typer

from pliers_db.cli.migrate import record, run, tenants
from pliers_db.cli.migrate.adopt import baseline, dump_schema
from pliers_db.cli.migrate.draft import diff
from pliers_db.cli.migrate.drift import drift
from pliers_db.cli.migrate.importing import import_
from pliers_db.cli.migrate.lint import lint
from pliers_db.cli.migrate.plan import plan
from pliers_db.cli.migrate.squash import squash
from pliers_db.cli.migrate.trace import trace
from pliers_db.cli.migrate.verify import verify

app = typer.Typer(help="Apply, roll back and inspect migrations.", no_args_is_help=True)

for command in (run.new, run.status, run.up, run.down, run.redo, record.history, record.repair, record.unlock):
    app.command()(command)
app.command()(drift)
app.command()(baseline)
app.command()(diff)
app.command()(dump_schema)
app.command()(squash)
app.command()(verify)
app.command("import")(import_)
app.command()(lint)
app.command()(trace)
app.command()(plan)
app.add_typer(tenants.app, name="tenants")
