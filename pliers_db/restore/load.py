"""Loading an archive into an empty database by pg_restore."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pliers_db.backup import Unpacked, find_clients
from pliers_db.config import Target
from pliers_db.errors import RestoreFailed
from pliers_db.postgres import Program, start_program
from pliers_db.postgres.programs import DEVNULL, PIPE
from pliers_db.progress import Reporter
from pliers_db.restore.material import Material
from pliers_db.restore.noise import Noise
from pliers_db.restore.plan import Place, RestorePlan
from pliers_db.restore.unpack import unpacked

APPLICATION = "pliers-db/restore"


def load(target: Target, material: Material, root: Path, plan: RestorePlan, place: Place, reporter: Reporter) -> None:
    """Have pg_restore fill the database of ``target``.

    :param root: the folder with the backups, where there is room to unpack.
    :raises RestoreFailed: at the first error that matters.
    """
    binaries = find_clients(material.client_major, best=place.server_version_num // 10000)
    noise = Noise()
    with unpacked(material, root, reporter) as archive:
        arguments = [*plan.arguments, f"--dbname={target.dbname}"]
        if archive is None:
            arguments = [each for each in arguments if not each.startswith("--jobs")]
        with (
            start_program(
                binaries,
                "pg_restore",
                [*arguments, *([archive] if archive else [])],
                target=target,
                settings=plan.settings,
                application_name=APPLICATION,
                stdin=DEVNULL if archive else PIPE,
                on_line=noise.feed,
            ) as program,
            reporter.task(f"Restoring {plan.database}"),
        ):
            if archive is None:
                _feed(program, material, noise, plan)
            finished = program.wait(lambda: _raise_for(noise, plan))
    noise.close()
    _raise_for(noise, plan)
    survived = finished.returncode == 1 and "errors ignored on restore" in finished.stderr  # all of them tolerated
    if finished.returncode and not survived:
        last = finished.stderr.strip().splitlines()[-1:] or [f"It ended with {finished.returncode}."]
        raise RestoreFailed(f"pg_restore failed; {unchanged(plan)}", why=last[0])
    for notice in noise.notices:
        reporter.info(notice)


def _feed(program: Program, material: Material, noise: Noise, plan: RestorePlan) -> None:
    with Unpacked(material.dump) as pieces, suppress(BrokenPipeError):  # it has ended: its own words tell why
        for piece in pieces:
            program.stdin.write(piece)
            _raise_for(noise, plan)


def _raise_for(noise: Noise, plan: RestorePlan) -> None:
    """End at the first error that matters: pg_restore itself would go on for hours."""
    if noise.errors:
        raise RestoreFailed(f"pg_restore failed; {unchanged(plan)}", why="\n".join(noise.errors[:3]))


def unchanged(plan: RestorePlan) -> str:
    """The end of a message about a restore that failed."""
    return f"{plan.database} is as it was" if plan.replaces else f"there is still no {plan.database}"
