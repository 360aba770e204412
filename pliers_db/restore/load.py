"""Loading an archive into an empty database by pg_restore."""

from __future__ import annotations

from pliers_db.backup import find_clients
from pliers_db.config import Target
from pliers_db.errors import RestoreFailed
from pliers_db.postgres import start_program
from pliers_db.progress import Reporter
from pliers_db.restore.material import Material
from pliers_db.restore.noise import Noise
from pliers_db.restore.plan import Place, RestorePlan

APPLICATION = "pliers-db/restore"


def load(target: Target, material: Material, plan: RestorePlan, place: Place, reporter: Reporter) -> None:
    """Have pg_restore fill the database of ``target``.

    :raises RestoreFailed: at the first error that matters.
    """
    binaries = find_clients(material.client_major, best=place.server_version_num // 10000)
    noise = Noise()
    with (
        start_program(
            binaries,
            "pg_restore",
            [*plan.arguments, f"--dbname={target.dbname}", material.dump],
            target=target,
            settings=plan.settings,
            application_name=APPLICATION,
            on_line=noise.feed,
        ) as program,
        reporter.task(f"Restoring {plan.database}"),
    ):
        finished = program.wait(lambda: _raise_for(noise, plan))
    noise.close()
    _raise_for(noise, plan)
    if finished.returncode not in (0, 1) or (
        finished.returncode and "errors ignored on restore" not in finished.stderr
    ):
        last = finished.stderr.strip().splitlines()[-1:] or [f"It ended with {finished.returncode}."]
        raise RestoreFailed(f"pg_restore failed; {unchanged(plan)}", why=last[0])
    for notice in noise.notices:
        reporter.info(notice)


def _raise_for(noise: Noise, plan: RestorePlan) -> None:
    """End at the first error that matters: pg_restore itself would go on for hours."""
    if noise.errors:
        raise RestoreFailed(f"pg_restore failed; {unchanged(plan)}", why="\n".join(noise.errors[:3]))


def unchanged(plan: RestorePlan) -> str:
    """The end of a message about a restore that failed."""
    return f"{plan.database} is as it was" if plan.replaces else f"there is still no {plan.database}"
